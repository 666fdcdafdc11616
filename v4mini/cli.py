"""The command line: reads arguments, prints. A user's mistake is one sentence and exit 2; a check that fails is exit 1.

Not here: the work itself.
"""

import json
import sys
import time
from pathlib import Path

import click

from v4mini import Config, Refused, __version__
from v4mini.viz.tables import human_bytes, human_count, text_table

PRESETS = ("flash", "pro", "mini", "bench", "tiny")


class Plain(click.Group):
    """Turns refusals into one sentence on stderr."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except Refused as error:
            _fail(str(error))
        except MemoryError:
            _fail("out of memory. Try a smaller model or a shorter text; v4mini doctor shows what is free.")
        except BrokenPipeError:
            sys.stderr.close()                          # the reader (head, less) has left: nothing to say
            sys.exit(0)
        except OSError as error:
            _fail(f"{error.filename or 'file'}: {error.strerror or error}.")


def _fail(sentence):
    click.echo(f"v4mini: {sentence}", err=True)
    sys.exit(2)


@click.group(cls=Plain, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="v4mini")
def main():
    """DeepSeek-V4 from an empty notebook cell to the real weights.

    Start with `v4mini tour`, then `v4mini lab`.
    """


def data_folder():
    """The project's data/, wherever the command runs."""
    from v4mini.lessons.places import data_folder

    return data_folder()


def json_option(command):
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def backend_option(command):
    return click.option("--backend", default="auto", show_default=True, help="Engine: auto, numba or numpy.")(command)


@main.command()
@click.option("--backend", default="numpy", show_default=True, help="Engine: numpy (nothing to compile), numba or auto.")
def tour(backend):
    """Half a minute: what V4 is, shown on the bundled model."""
    from v4mini.tour import tour as walk

    for paragraph in walk(data_folder() / "mini", backend):
        click.echo(paragraph)


@main.command()
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab(arguments):
    """Open JupyterLab at lesson 00. Extra ARGUMENTS go to jupyter lab."""
    import importlib.util
    import subprocess

    if importlib.util.find_spec("jupyterlab") is None:
        raise Refused('lab: JupyterLab is not installed. Run: python -m pip install -e ".[lab]"')
    folder = data_folder().parent / "notebooks"
    if not (folder / "00_start_here.ipynb").exists():
        raise Refused(f"lab: no lessons in {folder}. Run it from an installation made with pip install -e in a checkout.")
    sys.exit(subprocess.call([sys.executable, "-m", "jupyterlab", "00_start_here.ipynb", *arguments], cwd=folder))


@main.command()
@click.option("--hf", is_flag=True, help="Also sweep random configs against Hugging Face (needs the extra [parity]).")
@click.option("--configs", default=5, show_default=True, type=click.IntRange(1, 1000), help="Random configs of that sweep.")
@click.option("--backend", default="numpy", show_default=True, help="Engine: numpy, numba or auto.")
@click.option("--golden", type=click.Path(path_type=Path), help="Folder of the golden cases.  [default: data/golden]")
@json_option
def verify(hf, configs, golden, backend, as_json):
    """Prove that this installation computes V4; exit 1 if it does not.

    Compares with numbers that DeepSeek's own inference script gave, and with --hf with Hugging Face transformers.
    """
    from itertools import chain

    from v4mini.proof.golden import verify_golden
    from v4mini.proof.huggingface import verify_huggingface

    verdicts, started = [], time.perf_counter()
    golden = golden or data_folder() / "golden"
    for verdict in chain(verify_golden(golden, backend), verify_huggingface(configs, backend=backend) if hf else ()):
        verdicts.append(verdict)
        if sys.stderr.isatty():
            click.echo(f"\r{len(verdicts)} comparisons, {time.perf_counter() - started:.0f} s", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    failed = sum(not verdict.passed for verdict in verdicts)
    if as_json:
        click.echo(json.dumps([{**vars(verdict), "passed": verdict.passed} for verdict in verdicts], indent=1))
    else:
        click.echo(text_table(["case", "tokens", "measure", "difference", "bound", "verdict"],
                              [[v.case, v.length, v.measure, f"{v.difference:.2g}", f"{v.bound:.2g}",
                                "ok" if v.passed else "FAIL"] for v in verdicts]))
        click.echo(f"\n{len(verdicts) - failed} of {len(verdicts)} hold.")
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("what")
@click.option("--tensors", "list_tensors", is_flag=True, help="List every tensor.")
@json_option
def inspect(what, list_tensors, as_json):
    """What a checkpoint holds, and what it lacks.

    WHAT is a folder, a .safetensors file, or flash, pro, mini, bench, tiny: then the same from the config alone. Reads
    headers only. Exit 1 if the checkpoint does not fit its config.
    """
    from v4mini.inspection import inspect_checkpoint, inspect_config

    if what in PRESETS and not Path(what).exists():
        report = inspect_config(what, getattr(Config, what)())
    else:
        report = inspect_checkpoint(what)
    if as_json:
        click.echo(json.dumps(report, indent=1))
    else:
        _print_inspection(report, list_tensors)
    sys.exit(1 if report["problems"] else 0)


def _print_inspection(report, list_tensors):
    click.echo(f"{report['name']}: {report['layers']}")
    click.echo(f"{human_count(report['parameters'])} parameters, {human_count(report['active'])} active per token; "
               f"MTP block: {human_count(report['mtp_parameters']) + ' more' if report['mtp_parameters'] else 'none'}")
    click.echo(f"{report['bytes']:,} bytes ({human_bytes(report['bytes'])}) in {report['tensors_stored']:,} stored tensors\n")
    click.echo(text_table(["group", "parameters", "active", "bytes"],
                          [[g["group"], g["parameters"], round(g["active"]), g["bytes"]] for g in report["groups"]]))
    click.echo("\n" + text_table(["format", "bytes", "of all"],
                                 [[f, n, f"{n / report['bytes']:.1%}"] for f, n in report["formats"].items()]))
    if list_tensors:
        rows = [[t["name"], t["dtype"], str(t["shape"])] for t in report["tensors"]]
        click.echo("\n" + text_table(["tensor", "dtype", "shape"], rows))
    if report["problems"]:
        click.echo(f"\n{len(report['problems'])} problems:\n  " + "\n  ".join(report["problems"]))
    elif report["checked"]:
        click.echo("\nWhole: every tensor of its config is there, in the right shape and format.")


@main.command()
@click.argument("prompt")
@click.option("--model", type=click.Path(path_type=Path), help="Checkpoint.  [default: the bundled mini]")
@click.option("-n", "--max-new-tokens", default=64, show_default=True, type=click.IntRange(1))
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(0), help="0 takes the best token each time.")
@click.option("--top-p", default=1.0, show_default=True, type=float)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--ids", is_flag=True, help="PROMPT is token ids, and ids are printed: no tokenizer needed.")
@click.option("--simulate", type=click.Choice(["released"]), help="Round as DeepSeek's inference script does.")
@backend_option
def generate(prompt, model, max_new_tokens, temperature, top_p, seed, ids, simulate, backend):
    """Continue PROMPT, token by token."""
    import v4mini as v4
    from v4mini.text.tokenizer import StreamDecoder

    model = model or data_folder() / "mini"
    opened = v4.load(model, backend=backend, simulate=simulate)
    tokenizer = None if ids else v4.Tokenizer.load(model)
    prompt_ids = _read_ids(prompt) if ids else [opened.config.bos_id, *tokenizer.encode(_not_empty(prompt))]
    stream, started, count = None if ids else StreamDecoder(tokenizer), time.perf_counter(), 0
    for token in v4.generate(opened, prompt_ids, max_new_tokens, temperature, top_p, seed):
        click.echo(f"{token} " if ids else stream.put(token), nl=False)
        count += 1
    click.echo("" if ids else stream.end())
    seconds = time.perf_counter() - started
    click.echo(f"[{len(prompt_ids)} tokens read, {count} generated, {seconds:.1f} s]", err=True)


def _not_empty(prompt):
    if not prompt:
        raise Refused("prompt: expected some text, got none. Write a word or two.")
    return prompt


def _read_ids(prompt):
    try:
        return [int(word) for word in prompt.replace(",", " ").split()]
    except ValueError:
        raise Refused(f"prompt: expected token ids such as '0 17 4', got {prompt[:60]!r}. Leave out --ids for text.") from None


@main.command()
@json_option
def doctor(as_json):
    """Is this machine ready? Python, packages, cores, memory, disk, engines."""
    from v4mini.machine import report

    facts = report(data_folder())
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(text_table(["what", "found", "verdict"], [[f["what"], f["found"], f["verdict"]] for f in facts]))
    sys.exit(0 if all(f["verdict"] != "missing" for f in facts) else 1)


@main.group()
def bench():
    """Measure this machine: prefill, decode, kernels, a million tokens.

    Every number stands beside what the FLOPs or bytes allow here; compare ratios of one run, not seconds of two machines.
    """


def bench_options(command):
    for option in (
            click.option("--lengths", default="512,2048,8192", show_default=True, help="Tokens, separated by commas."),
            click.option("--against", multiple=True, type=click.Choice(["numpy", "hf"]), help="Also run these, in the same run."),
            click.option("--repeats", default=3, show_default=True, type=click.IntRange(1, 100)),
            click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw the result into this file.")):
        command = option(command)
    return json_option(command)


@bench.command()
@bench_options
def prefill(lengths, against, repeats, plot, as_json):
    """Tokens per second of reading a text, 12M model, float32."""
    _race("prefill", lengths, against, repeats, plot, as_json)


@bench.command()
@bench_options
def decode(lengths, against, repeats, plot, as_json):
    """Milliseconds per new token behind a text, 12M model, float32."""
    _race("decode", lengths, against, repeats, plot, as_json)


def _race(what, lengths, against, repeats, plot, as_json):
    from v4mini.bench.race import race, ratios
    from v4mini.bench.roof import ceilings

    roof, laps = ceilings(), []
    engines = ["numba", *against]
    for lap in race(Config.bench(), what, _numbers(lengths), engines, roof, repeats):
        laps.append(lap)
        if not as_json:
            click.echo(f"{lap.tokens:>9,}  {lap.engine:<6}  {lap.failure or _lap_text(lap)}", err=True)
    faster = {name: ratios(laps, "numba", name) for name in against}
    if plot:
        from v4mini.viz.speed import save_race

        save_race(laps, plot)
    if as_json:
        click.echo(json.dumps({"ceilings": roof, "laps": [vars(lap) for lap in laps],
                               "ratios": [{"against": name, "what": w, "tokens": t, "times": r}
                                          for name, pairs in faster.items() for (w, t), r in pairs.items()]}, indent=1))
        return
    click.echo(f"ceilings here: {roof['gemm_flops'] / 1e9:.0f} GFLOP/s in float32 products, "
               f"{roof['read_bytes'] / 1e9:.1f} GB/s read\n")
    click.echo(text_table(["tokens", "engine", "seconds", "tokens/s", "GFLOP/s", "of ceiling", "peak memory"],
                          [[lap.tokens, lap.engine, lap.seconds, lap.tokens_per_second, lap.gflops,
                            "" if lap.share is None else f"{lap.share:.0%}",
                            lap.failure or human_bytes(lap.peak_bytes)] for lap in laps]))
    for name, pairs in faster.items():
        for (w, t), times in pairs.items():
            click.echo(f"{w} at {t:,} tokens: numba is {times:.1f} times as fast as {name}")


def _lap_text(lap):
    return f"{lap.tokens_per_second:,.0f} tokens/s, peak {human_bytes(lap.peak_bytes)}"


def _numbers(text):
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise Refused(f"--lengths: expected numbers such as 512,2048, got {text!r}. Separate them by commas.")
    return numbers


@bench.command(name="million")
@click.option("--tokens", default=1 << 20, show_default=True, type=click.IntRange(4096))
@click.option("--log", type=click.Path(dir_okay=False, path_type=Path), help="Append each line as JSON to this file.")
@backend_option
@json_option
def bench_million(tokens, log, backend, as_json):
    """Read a million tokens on this machine, then go on speaking: time and memory at every doubling."""
    from v4mini.bench.million import million
    from v4mini.inference.cached import CachedModel
    from v4mini.inference.load import choose_backend
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    config = Config.bench()
    model = CachedModel(config, build(config, random_tensors(config).get), choose_backend(backend))
    started = time.perf_counter()

    def progress(done):
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} of {tokens:,} tokens, {time.perf_counter() - started:.0f} s ", nl=False, err=True)
    for line in million(model, tokens, progress=progress):
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
        if log:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        click.echo(json.dumps(line) if as_json else _million_text(line))


def _million_text(line):
    if line["what"] == "start":
        return (f"{line['engine']} on {line['system']}: {line['flat_gflops']:.0f} GFLOP/s of work that does not grow, "
                f"{line['growing_gflops']:.0f} of work that does\n"
                "     tokens   tokens/s  predicted   total s      cache   resident")
    if line["what"] == "prefill":
        return (f"{line['to']:>11,}  {line['tokens_per_second']:>9,.0f}  {line['predicted_tokens_per_second']:>9,.0f}  "
                f"{line['total_seconds']:>8,.1f}  {human_bytes(line['cache_bytes']):>9}  "
                f"{human_bytes(line['resident_bytes']):>9}")
    return (f"then one token at a time: {line['median_ms']:.2f} ms each (median), cache {human_bytes(line['cache_bytes'])}, "
            f"resident {human_bytes(line['resident_bytes'])}")
