"""The group that all commands of `python -m accel` belong to, and their common options. Not here: any command."""

import platform
from pathlib import Path

import click

from v4mini.cli.main import Plain, note

EVIDENCE = Path(__file__).parents[2] / "data/accel/evidence.json"


class Accel(Plain):
    """As v4mini's own commands: refusals are one sentence on stderr and exit status 2."""

    tool = "accel"


@click.group(cls=Accel, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main():
    """The same model on CUDA and on Ascend: what is here, what is proven, and how to prove more."""


def evidence_option(command):
    """Where the record lies."""
    return click.option("--evidence", "evidence_file", type=click.Path(path_type=Path), default=EVIDENCE,
                        help="The record of what was proven.  [default: data/accel/evidence.json]")(command)


def progress(text):
    """Something for the person who waits."""
    note(text)


def machine():
    """Where a number comes from."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
