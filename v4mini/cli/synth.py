"""synth: a checkpoint of a real shape with random weights. Not here: the writing (weights/synth.py)."""

import sys
from contextlib import contextmanager
from pathlib import Path

import click

from v4mini import Config, Refused
from v4mini.cli.main import json_option, main, say, say_json
from v4mini.cli.streaming import Bytes
from v4mini.viz.tables import human_bytes


@main.command()
@click.option("--model", type=click.Choice(["flash", "pro", "mini"]), default="flash", show_default=True, help="Whose shape.")
@click.option("--layers", default="auto", show_default=True, help="How many, or auto: as many as the disk holds.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder, new or begun by an earlier run.")
@click.option("--mtp", is_flag=True, help="Also the MTP block, for --speculate.")
@click.option("--dspark", is_flag=True, help="DSpark's three blocks instead, as in the release of 31 July 2026.")
@click.option("--reserve", type=Bytes(), default="8GiB", show_default=True, help="Bytes of the disk to leave free.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@json_option
def synth(model, layers, out, mtp, dspark, reserve, seed, as_json):
    """Write a checkpoint of a real shape with random weights, in the released format and files.

    It answers nonsense at the real model's speed: for trying out and timing what needs the real sizes. There is no tokenizer:
    generate takes --ids. Interrupted, the same command goes on behind the files that are complete.

    --json gives one object: path, layers, of (how many the real one has), bytes, seed.
    """
    from v4mini.weights.synth import free_bytes, most_layers, total_bytes
    from v4mini.weights.synth import synth as write

    config = getattr(Config, model)()
    if mtp and dspark:
        raise Refused("synth: expected --mtp or --dspark, got both. A checkpoint has one kind of drafter.")
    config = config.replace(n_mtp_layers=int(mtp))
    if layers == "auto":
        config = most_layers(config.with_dspark() if dspark else config, free_bytes(out) - reserve)
    else:
        config = config.replace(n_layers=_count(layers, config.n_layers))
    config = config.with_dspark() if dspark else config         # its blocks read the last layers there are
    total = total_bytes(config)
    with _bar(total) as progress:
        write(out, config, seed, reserve, progress)
    facts = {"path": str(out), "layers": config.n_layers, "of": getattr(Config, model)().n_layers, "bytes": total, "seed": seed}
    if as_json:
        return say_json(facts, indent=None)
    return say(f"{out}: {facts['layers']} of {facts['of']} layers of {model}, {human_bytes(total)}, random weights, seed {seed}")


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
