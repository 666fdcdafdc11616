"""replay: what a cache of experts would have made of a recorded routing. Not here: computing it (inference/streaming/)."""

import re
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import json_option, main, say, say_json
from v4mini.cli.streaming import Bytes
from v4mini.viz.tables import counted, human_bytes, text_table

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

    --json gives one object: tokens, decoded, uses, experts_used, expert_bytes, dense_bytes, reuse_ceiling, rates in bytes a
    second, and results: experts, bytes, policy, hit_rate, and of decoded tokens their hit rate, bytes read and seconds.
    """
    from v4mini.inference.routing_trace import read_trace
    from v4mini.inference.streaming import replay as simulation

    recorded = read_trace(trace)
    config = recorded.config
    steps = recorded.steps()
    decoding = recorded.decoding()
    used = [key for step in steps for key in step.keys]
    some = sorted({max(1, len(set(used)) // share) for share in (8, 4, 2)})
    facts = {"trace": str(trace), "tokens": len(recorded.ids), "decoded": len(decoding), "uses": len(used),
             "experts_used": len(set(used)), "expert_bytes": simulation.expert_bytes(config),
             "dense_bytes": simulation.dense_bytes(config), "reuse_ceiling": simulation.reuse_ceiling(steps),
             "disk_bytes_per_second": _disk_rate(disk), "memory_bytes_per_second": _memory_rate(memory_rate)}
    machine = simulation.Machine(facts["disk_bytes_per_second"], facts["memory_bytes_per_second"])
    places = [_places(text, facts["expert_bytes"]) for text in capacities] or some
    results = list(simulation.compare(config, steps, decoding, places, POLICIES if policy == "all" else [policy], machine))
    say_json({**facts, "results": results}) if as_json else say(_replay_text(facts, results))


def _replay_text(facts, results):
    header = ["experts", "capacity", "policy", "hits", "decoding", "read a token",
              "s/token, reads not overlapped", "s/token, reads overlapped"]
    rows = [[row["experts"], human_bytes(row["bytes"]), row["policy"], f"{row['hit_rate']:.1%}",
             *(["", "", None, None] if row["decoding_hit_rate"] is None else
               [f"{row['decoding_hit_rate']:.1%}", human_bytes(row["decoding_read_bytes"]), row["seconds_one_after_other"],
                row["seconds_overlapped"]])] for row in results]
    size, disk, memory = (human_bytes(facts[name])
                          for name in ("expert_bytes", "disk_bytes_per_second", "memory_bytes_per_second"))
    return (f"{counted(facts['tokens'], 'token')}, {facts['decoded']:,} of them decoded one by one; {facts['uses']:,} uses of "
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
    from v4mini.inference.streaming.model import disk_rate

    return round(disk_rate(text))


def _memory_rate(text):
    if text != "measure":
        return _size("memory-rate", text)
    from v4mini.bench.ceiling import read_bytes_per_second

    return round(read_bytes_per_second())


def _size(name, text):
    return Bytes().convert(text, click.Option([f"--{name}"]), None)
