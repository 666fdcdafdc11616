"""The group that all commands of `python -m accel` belong to, and their common options. Not here: any command."""

import platform
import sys
from pathlib import Path

import click

from v4mini.shapes import Refused

EVIDENCE = Path(__file__).parents[2] / "data/accel/evidence.json"


class Plain(click.Group):
    """Turns refusals into one sentence on stderr and exit status 2."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except Refused as error:
            click.echo(f"accel: {error}", err=True)
            sys.exit(2)


@click.group(cls=Plain, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main():
    """The same model on CUDA and on Ascend: what is here, what is proven, and how to prove more."""


def json_option(command):
    """--json, for whoever is not a person."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")(command)


def evidence_option(command):
    """Where the record lies."""
    return click.option("--evidence", "evidence_file", type=click.Path(path_type=Path), default=EVIDENCE,
                        help="The record of what was proven.  [default: data/accel/evidence.json]")(command)


def progress(text):
    """Something for the person who waits."""
    click.echo(text, err=True)


def machine():
    """Where a number comes from."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
