"""bench: prefill, decode, train, kernels, million. Not here: the measuring (bench/)."""

import importlib.util
import json
import sys
import time

import click

from v4mini import Config, Refused
from v4mini.cli.main import FileToWrite, backend_option, before_numpy, json_option, main, note, say, say_json
from v4mini.viz.tables import counted, human_bytes, text_table
from v4mini.writing import append

MOST_TOKENS = 1 << 24                   # of one measurement


class Picture(FileToWrite):
    """The same for a picture: its kind must be one that can be drawn, and matplotlib must be there to draw it."""

    def convert(self, value, param, ctx):
        if importlib.util.find_spec("matplotlib") is None:
            raise Refused('--plot: expected matplotlib, got none. Run: python -m pip install -e ".[lab]"')
        from v4mini.viz.style import kind_of_picture

        kind_of_picture(value)
        return super().convert(value, param, ctx)


@main.group()
def bench():
    """Measure this machine: prefill, decode, training, kernels, a million tokens.

    Every number stands beside what the FLOPs or bytes allow here; compare ratios of one run, not seconds of two machines.
    """


def bench_options(command):
    for option in (
            click.option("--lengths", default="512,2048,8192", show_default=True, help="Tokens, separated by commas."),
            click.option("--against", multiple=True, metavar="numpy|hf|FOLDER",
                         help="Also run these, in turns: an engine, or numba of another checkout of v4mini."),
            click.option("--beside", type=click.Choice(["torch"]), help="Also run with PyTorch imported first."),
            click.option("--rounds", default=3, show_default=True, type=click.IntRange(1, 100), help="How often each runs."),
            click.option("--plot", type=Picture(), help="Also draw the result into this file.")):
        command = option(command)
    return json_option(command)


@bench.command()
@bench_options
def prefill(lengths, against, beside, rounds, plot, as_json):
    """Tokens per second of reading a text, 12M model, float32.

    --json gives one object: ceilings (gemm_flops and read_bytes a second), results (tokens, engine, seconds, tokens_per_second,
    gflops, share of the ceiling, peak_bytes, failure or "", rounds: seconds of each), ratios (against, what, tokens, times:
    the median over rounds).
    """
    _compare("prefill", lengths, against, beside, rounds, plot, as_json)


@bench.command()
@bench_options
def decode(lengths, against, beside, rounds, plot, as_json):
    """Milliseconds per new token behind a text, 12M model, float32.

    --json gives one object: ceilings (gemm_flops and read_bytes a second), results (tokens, engine, seconds, tokens_per_second,
    gflops, share of the ceiling, peak_bytes, failure or "", rounds: seconds of each), ratios (against, what, tokens, times:
    the median over rounds).
    """
    _compare("decode", lengths, against, beside, rounds, plot, as_json)


def _compare(what, lengths, against, beside, rounds, plot, as_json):
    from v4mini.bench.ceiling import ceilings
    from v4mini.bench.compare import BESIDE_TORCH, OURS, check_engine, compare, ratios

    for name in against:
        check_engine(name)
    others = [*against, *([BESIDE_TORCH] if beside else [])]
    ceiling = ceilings()
    results = []

    def progress(engine, tokens, seconds):
        note(f"{tokens:>9,}  {engine}  {'did not finish' if seconds is None else f'{seconds:.4g} s'}")
    results += compare(Config.bench(), what, _numbers(lengths), [OURS, *others], ceiling, rounds,
                       progress=None if as_json else progress)
    faster = {name: ratios(results, OURS, name) for name in others}
    if plot:
        from v4mini.viz.speed import save_comparison

        save_comparison(results, plot)
    if as_json:
        say_json({"ceilings": ceiling, "results": [vars(result) for result in results],
                  "ratios": [{"against": name, "what": w, "tokens": t, "times": r}
                             for name, pairs in faster.items() for (w, t), r in pairs.items()]})
        return
    _say_ceilings(ceiling)
    say(text_table(["tokens", "engine", "seconds", "tokens/s", "GFLOP/s", "of ceiling", "peak memory"],
                   [[result.tokens, result.engine, result.seconds, result.tokens_per_second, result.gflops,
                     "" if result.share is None else f"{result.share:.0%}",
                     result.failure or human_bytes(result.peak_bytes)] for result in results]))
    for name, pairs in faster.items():
        for (w, t), times in pairs.items():
            say(f"{w} at {t:,} tokens: {times:.2f} times as fast as {name} (median of {counted(rounds, 'round')})")


@bench.command(name="train")
@click.option("--model", "models", multiple=True, type=click.Choice(["bench", "mini"]),
              help="12M or the bundled one.  [default: both]")
@click.option("--batches", default="4x512,2x1024", show_default=True, help="Rows x tokens, separated by commas.")
@click.option("--against", multiple=True, type=click.Choice(["numpy", "hf"]), help="Also run these, in the same run.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="How many steps of each, in turns.")
@json_option
def bench_train(models, batches, against, rounds, as_json):
    """Seconds of a training step: forward, backward, update; float32, next-token loss.

    Ours updates with Muon, as V4 does, and in another process with AdamW, as Hugging Face's model here. All take turns, step by
    step: seconds are medians, ratios the medians of each round's.

    --json gives one object: results (model, rows, length, engine, how, seconds, of these update_seconds, tokens_per_second, loss,
    peak_bytes, failure or "", rounds: seconds of each), ratios (ours, against, model, rows, length, times).
    """
    before_numpy(is_training=True)
    from v4mini.bench.train import compare_training, ratios, train_configs

    ours = ["numba", "numba+adamw"]
    configs = {name: config for name, config in train_configs().items() if not models or name in models}
    results = []
    for result in compare_training(configs, _batches(batches), [*ours, *against], rounds):
        results.append(result)
        if sys.stderr.isatty():
            end = result.failure or f"{result.seconds:.2f} s"
            note(f"{result.model}  {result.rows} x {result.length}  {result.engine}: {end}")
    faster = {(mine, name): ratios(results, mine, name) for name in against for mine in ours}
    if as_json:
        say_json({"results": [vars(result) for result in results],
                  "ratios": [{"ours": mine, "against": name, "model": m, "rows": r, "length": n, "times": times}
                             for (mine, name), cases in faster.items()
                             for (m, r, n), times in cases.items()]})
        return
    say(text_table(["model", "batch", "engine", "seconds", "of these update", "tokens/s", "first loss", "peak memory"],
                   [[result.model, f"{result.rows} x {result.length}", f"{result.engine} {result.how}".strip(),
                     result.seconds, result.update_seconds, result.tokens_per_second, result.loss,
                     result.failure or human_bytes(result.peak_bytes)] for result in results]))
    for (mine, name), cases in faster.items():
        for (m, r, n), times in cases.items():
            say(f"training {m} on {r} x {n} tokens: {mine} is {times:.1f} times as fast as {name} "
                f"(median of {counted(rounds, 'round')})")


def _batches(text):                                     # "4x512,2x1024" -> [(4, 512), (2, 1024)]
    try:
        pairs = [tuple(int(number) for number in batch.split("x")) for batch in text.split(",")]
    except ValueError:
        pairs = []
    if not pairs or any(len(pair) != 2 or pair[0] < 1 or pair[1] < 2 or pair[0] * pair[1] > MOST_TOKENS for pair in pairs):
        raise Refused(f"--batches: expected rows x tokens such as 4x512,2x1024, got {text[:60]!r}. A row has 2 tokens or more, "
                      f"a batch {MOST_TOKENS:,} at most.")
    return pairs


def _numbers(text):
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or max(numbers) > MOST_TOKENS:
        raise Refused(f"--lengths: expected numbers such as 512,2048, {MOST_TOKENS:,} at most, got {text[:60]!r}. "
                      "Separate them by commas.")
    return numbers


@bench.command(name="kernels")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1, 100), help="How often each runs.")
@click.option("--plot", type=Picture(), help="Also draw the result into this file.")
@json_option
def bench_kernels(rounds, plot, as_json):
    """Each kernel beside NumPy's formula and beside this machine's ceilings. Needs about 3 GB of memory.

    A kernel and its ceiling are measured in turns, since a machine's pace changes within minutes: seconds are medians, shares and
    times the medians of each round's.

    --json gives one object: ceilings, as bench prefill has them, and kernels: name, shape, seconds, times_numpy (how many times
    as fast as NumPy), bound (what limits it), share of that ceiling, rounds (the share in each).
    """
    before_numpy(is_training=True)                      # after a product BLAS's threads soon sleep
    from v4mini.bench.ceiling import ceilings
    from v4mini.bench.kernels import kernel_times

    ceiling = ceilings()
    timings = []
    for timing in kernel_times(ceiling, rounds):
        timings.append(timing)
        if sys.stderr.isatty():
            click.echo(f"\r\033[K{timing.name}: {timing.share:.0%} of its ceiling", nl=False, err=True)
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    if plot:
        from v4mini.viz.speed import save_kernels

        save_kernels(timings, plot)
    if as_json:
        say_json({"ceilings": ceiling, "kernels": [vars(timing) for timing in timings]})
        return
    _say_ceilings(ceiling)
    say(text_table(["operation", "size", "ms", "times NumPy", "bound by", "of ceiling"],
                   [[t.name, t.shape, f"{t.seconds * 1e3:.3f}",
                     f"{t.times_numpy:.1f}" if t.times_numpy else "", t.bound, f"{t.share:.0%}"]
                    for t in timings]))


def _say_ceilings(ceiling):
    say(f"ceilings here: {ceiling['gemm_flops'] / 1e9:.0f} GFLOP/s in float32 products, "
        f"{ceiling['read_bytes'] / 1e9:.1f} GB/s read\n")


@bench.command(name="million")
@click.option("--tokens", default=1 << 20, show_default=True, type=click.IntRange(4096))
@click.option("--log", type=FileToWrite(), help="Append each line as JSON to this file.")
@backend_option
@json_option
def bench_million(tokens, log, backend, as_json):
    """Read a million tokens on this machine, then decode: time and memory at every doubling.

    --json gives an object a line: what is start, prefill or decode; to (tokens so far), tokens_per_second and what was
    predicted, total_seconds, cache_bytes, resident_bytes; at the end median_ms of a token.
    """
    from v4mini.bench.million import million
    from v4mini.engines import choose_backend
    from v4mini.inference.cached import CachedModel
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    config = Config.bench().replace(max_seq_len=max(2 * tokens, 1 << 20))   # space to decode, and for the probe
    model = CachedModel(config, build(config, random_tensors(config).get), choose_backend(backend))
    started = time.perf_counter()

    def progress(done):
        if sys.stderr.isatty():
            click.echo(f"\r{done:,} of {tokens:,} tokens, {time.perf_counter() - started:.0f} s ", nl=False, err=True)
    for line in million(model, tokens, progress=progress):
        if sys.stderr.isatty():
            click.echo("\r\033[K", nl=False, err=True)
        if log:
            append(log, json.dumps(line) + "\n")
        say_json(line, indent=None) if as_json else say(_million_text(line))


def _million_text(line):
    if line["what"] == "start":
        return (f"{line['engine']} on {line['system']}: {line['flat_gflops']:.0f} GFLOP/s of work that does not grow, "
                f"{line['growing_gflops']:.0f} of work that does, {line['choosing_ns']:.0f} ns for an entry chosen\n"
                "     tokens   tokens/s  predicted   total s      cache   resident")
    if line["what"] == "prefill":
        return (f"{line['to']:>11,}  {line['tokens_per_second']:>9,.0f}  {line['predicted_tokens_per_second']:>9,.0f}  "
                f"{line['total_seconds']:>8,.1f}  {human_bytes(line['cache_bytes']):>9}  "
                f"{human_bytes(line['resident_bytes']):>9}")
    return (f"then one token at a time: {line['median_ms']:.2f} ms each (median), cache {human_bytes(line['cache_bytes'])}, "
            f"resident {human_bytes(line['resident_bytes'])}")
