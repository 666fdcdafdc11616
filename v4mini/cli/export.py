"""export: a folder for other programs, and whether they take one. Not here: the writing and the rules (weights/export.py)."""

import sys
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import json_option, main, say, say_json

TARGETS = ("transformers", "vllm", "sglang", "vllm-ascend")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The new folder.")
@click.option("--dtype", type=click.Choice(["bf16", "f32"]), default="bf16", show_default=True,
              help="What weights are decoded to.")
@click.option("--check", "target", type=click.Choice(TARGETS),
              help="Would this program take FOLDER? Reads headers, writes nothing.")
@json_option
def export(folder, out, dtype, target, as_json):
    """Write FOLDER decoded, as Hugging Face transformers loads it, or say which program takes it as it is.

    \b
    v4mini export data/mini --out mini-bf16
    v4mini export mini-bf16 --check transformers
    v4mini export DeepSeek-V4-Flash --check vllm

    --json gives one object: path, dtype and launch with --out; target, problems, launch and source with --check.
    With --check: exit 1 if the program would not take the folder, with each reason.
    """
    from v4mini.weights.export import TARGETS, problems
    from v4mini.weights.export import export as write

    if (out is None) == (target is None):
        got = "neither" if out is None else "both"
        raise Refused(f"export: expected --out DIR or --check PROGRAM, got {got}. Try one of them.")
    if out is not None:
        path = write(folder, out, dtype)
        launch = TARGETS["transformers"].launch.format(folder=str(path))
        if as_json:
            return say_json({"path": str(path), "dtype": dtype, "launch": launch}, indent=None)
        return say(f"{path}: {folder} in {dtype}, under the released names. {launch}")
    found = problems(folder, target)
    known = TARGETS[target]
    launch = known.launch.format(folder=str(folder))
    if as_json:
        say_json({"target": target, "problems": found, "launch": launch, "source": known.source})
    else:
        for problem in found:
            say(problem)
        say(f"{'It would not take this folder' if found else 'It takes this folder'} ({known.title}; {known.source}).")
        say(f"launch: {launch}")
    sys.exit(1 if found else 0)
