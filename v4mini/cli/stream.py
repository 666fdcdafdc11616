"""synth, replay, and what generate needs to run a model larger than memory. Not here: the streaming (inference/streaming.py)."""

import json
import re
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click

from v4mini import Config, Refused
from v4mini.cli.front import json_option, main
from v4mini.viz.tables import human_bytes, text_table

UNITS = {"": 1, **{f"{letter}{kind}": base**power for power, letter in enumerate("KMGT", 1)
                   for kind, base in (("B", 1000), ("IB", 1024), ("", 1000))}, "B": 1}


class Bytes(click.ParamType):
    """8GiB, 3.5GB, 500MB or a plain number; GB is a power of 1000, GiB of 1024. Also bytes a second, with or without /s."""

    name = "size"

    def convert(self, value, param, ctx):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*(?:/s)?\s*", str(value))
        if not found or found[2].upper() not in UNITS or float(found[1]) == 0:
            raise Refused(f"{param.opts[-1].lstrip('-')}: expected a size such as 8GiB or 3.5GB, got {str(value)[:40]!r}.")
        return round(float(found[1]) * UNITS[found[2].upper()])


# ---- what generate adds ----

def streaming_options(command):
    """--memory, --policy, --trace and --json of generate."""
    for option in (
            click.option("--memory", type=Bytes(), help="Run within so much, e.g. 8GiB: weights are read as they are needed."),
            click.option("--policy", type=click.Choice(["known", "lru"]), default="known", show_default=True,
                         help="With --memory: which experts stay."),
            click.option("--trace", "trace_file", type=click.Path(dir_okay=False, path_type=Path),
                         help="Record the routing in this file, for v4mini replay and the explorer.")):
        command = option(command)
    return json_option(command)


def opened_model(path, backend, simulate, memory, policy):      # -> a context that gives the model
    """v4mini.load, or, where memory is limited, a streaming model that is closed at the end."""
    import v4mini as v4
    from v4mini.inference.streaming import open_streaming

    if memory is None:
        return nullcontext(v4.load(path, backend=backend, simulate=simulate))
    return open_streaming(path, memory, backend, simulate, policy)


@contextmanager
def watched(model, trace_file, prompt):                 # gives the model to run
    """Where a trace is asked for: its twin that is watched; the file is written at the end, of an interrupted run too."""
    if trace_file is None:
        yield model
        return
    from v4mini.inference.streaming_trace import recorded

    model, recorder = recorded(model)
    try:
        yield model
    finally:
        recorder.trace(prompt).save(trace_file)


def streaming_report(model):                            # -> dict, or None for a model that is in memory
    """What a streaming model read, and the most memory this process took."""
    from v4mini.bench.worker import peak_bytes

    return {**model.report(), "peak_resident_bytes": peak_bytes()} if hasattr(model, "report") else None


def streaming_text(report):                             # -> lines
    """The same, to read."""
    read, uses = report["read_bytes"], report["expert_uses"]
    hits = "" if report["hit_rate"] is None else f" of {uses:,}, {report['hit_rate']:.1%} hits"
    disk = "" if report["from_disk_bytes"] is None else f", {human_bytes(report['from_disk_bytes'])} of it from the disk"
    return (f"[memory: peak {human_bytes(report['peak_resident_bytes'])} of {human_bytes(report['limit'])}; "
            f"{report['expert_places']:,} places for experts of {human_bytes(report['expert_bytes'])}]\n"
            f"[experts: {report['expert_reads']:,} read{hits}; {human_bytes(read['experts'])}, other weights "
            f"{human_bytes(read['others'])}]\n"
            f"[read {human_bytes(sum(read.values()))}{disk}; stood waiting for {report['waited_seconds']:.1f} s]")


# ---- synth ----

@main.command()
@click.option("--model", type=click.Choice(["flash", "pro", "mini"]), default="flash", show_default=True, help="Whose shape.")
@click.option("--layers", default="auto", show_default=True, help="How many, or auto: as many as the disk holds.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder, new or begun by an earlier run.")
@click.option("--mtp", is_flag=True, help="Also the MTP block, for --speculate.")
@click.option("--reserve", type=Bytes(), default="8GiB", show_default=True, help="Bytes of the disk to leave free.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@json_option
def synth(model, layers, out, mtp, reserve, seed, as_json):
    """Write a checkpoint of a real shape with random weights, in the released format and files.

    It answers nonsense at the real model's speed: for trying out and timing what needs the real sizes. There is no tokenizer:
    generate takes --ids. Interrupted, the same command goes on behind the files that are complete.
    """
    from v4mini.weights.synth import free_bytes, most_layers, total_bytes
    from v4mini.weights.synth import synth as write

    config = getattr(Config, model)()
    config = config.replace(n_mtp_layers=int(mtp))
    if layers == "auto":
        config = most_layers(config, free_bytes(out) - reserve)
    else:
        config = config.replace(n_layers=_count(layers, config.n_layers))
    total = total_bytes(config)
    with _bar(total) as progress:
        write(out, config, seed, reserve, progress)
    facts = {"path": str(out), "layers": config.n_layers, "of": getattr(Config, model)().n_layers, "bytes": total, "seed": seed}
    click.echo(json.dumps(facts) if as_json else
               f"{out}: {facts['layers']} of {facts['of']} layers of {model}, {human_bytes(total)}, random weights, seed {seed}")


def _count(text, most):
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise Refused(f"layers: expected auto, or 1 to {most}, got {text[:40]!r}.")
    return int(text)


@contextmanager
def _bar(total):                                        # gives progress(bytes done), or None where nobody looks
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=total, label="writing", file=sys.stderr) as bar:
        yield lambda done: bar.update(done - bar.pos)


# ---- replay ----

POLICIES = ("lru", "fifo", "lfu", "aged", "belady")


@main.command()
@click.argument("trace", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--capacity", "capacities", multiple=True, metavar="SIZE",
              help="Room for experts: a size such as 9.6GB, or 700x for so many experts; may be repeated.  "
                   "[default: an eighth, a quarter and a half of those used]")
@click.option("--policy", type=click.Choice([*POLICIES, "all"]), default="all", show_default=True)
@click.option("--disk", default="2GB/s", show_default=True,
              help="Bytes a second in reads as large as an expert; or a checkpoint, to measure with.")
@click.option("--memory-rate", default="10GB/s", show_default=True, help="Bytes a second, or measure.")
@json_option
def replay(trace, capacities, policy, disk, memory_rate, as_json):
    """What would a cache of experts have made of a recorded routing? Hit rates, reads and seconds per token.

    TRACE comes from generate --trace. belady knows the future: no policy can read less.
    """
    from v4mini.inference.streaming_trace import read_trace
    from v4mini.planning import replay as planning

    recorded = read_trace(trace)
    config, steps, decoding = recorded.config, recorded.steps(), recorded.decoding()
    used = [key for step in steps for key in step.keys]
    some = sorted({max(1, len(set(used)) // share) for share in (8, 4, 2)})
    facts = {"trace": str(trace), "tokens": len(recorded.ids), "decoded": len(decoding), "uses": len(used),
             "experts_used": len(set(used)), "expert_bytes": planning.expert_bytes(config),
             "dense_bytes": planning.dense_bytes(config), "reuse_ceiling": planning.reuse_ceiling(steps),
             "disk_bytes_per_second": _disk_rate(disk), "memory_bytes_per_second": _memory_rate(memory_rate)}
    machine = planning.Machine(facts["disk_bytes_per_second"], facts["memory_bytes_per_second"])
    places = [_places(text, facts["expert_bytes"]) for text in capacities] or some
    laps = list(planning.laps(config, steps, decoding, places, POLICIES if policy == "all" else [policy], machine))
    click.echo(json.dumps({**facts, "laps": laps}, indent=1) if as_json else _replay_text(facts, laps))


def _replay_text(facts, laps):
    header = ["experts", "room", "policy", "hits", "decoding", "read a token", "s/token, read first", "s/token, read ahead"]
    rows = [[lap["experts"], human_bytes(lap["bytes"]), lap["policy"], f"{lap['hit_rate']:.1%}",
             *(["", "", None, None] if lap["decoding_hit_rate"] is None else
               [f"{lap['decoding_hit_rate']:.1%}", human_bytes(lap["decoding_read_bytes"]), lap["seconds_one_after_other"],
                lap["seconds_overlapped"]])] for lap in laps]
    size, disk, memory = (human_bytes(facts[name])
                          for name in ("expert_bytes", "disk_bytes_per_second", "memory_bytes_per_second"))
    return (f"{facts['tokens']:,} tokens, {facts['decoded']:,} of them decoded one by one; {facts['uses']:,} uses of "
            f"{facts['experts_used']:,} experts of {size}: at most {facts['reuse_ceiling']:.1%} hits\n"
            f"disk {disk}/s, memory {memory}/s\n\n{text_table(header, rows)}\n\n"
            "The last two: a decoded token whose reads all precede its work, or all hide behind it.")


def _places(text, expert_bytes):                        # "700x" or "9.6GB" -> how many experts
    if re.fullmatch(r"[1-9]\d{0,8}x", text):
        return int(text[:-1])
    places = _size("capacity", text) // expert_bytes
    if places < 1:
        raise Refused(f"capacity: expected room for one expert, {expert_bytes:,} bytes, or more, got {text!r}.")
    return places


def _disk_rate(text):
    if not Path(text).exists():
        return _size("disk", text)
    from v4mini.inference.streaming import disk_rate

    return round(disk_rate(text))


def _memory_rate(text):
    if text != "measure":
        return _size("memory-rate", text)
    from v4mini.bench.roof import read_bytes_per_second

    return round(read_bytes_per_second())


def _size(name, text):
    return Bytes().convert(text, click.Option([f"--{name}"]), None)
