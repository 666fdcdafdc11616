"""lab: the course, in JupyterLab. Not here: the lessons (notebooks/)."""

import os
import sys

import click

from v4mini import Refused
from v4mini.cli.main import data_folder, main


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab(arguments):
    """Open JupyterLab at lesson 00. ARGUMENTS go to jupyter lab, options too: v4mini lab --no-browser --port 9999."""
    import importlib.util
    import subprocess

    if importlib.util.find_spec("jupyterlab") is None:
        raise Refused('lab: JupyterLab is not installed. Run: python -m pip install -e ".[lab]"')
    folder = data_folder().parent / "notebooks"
    if not (folder / "00_start_here.ipynb").exists():
        raise Refused(f"lab: no lessons in {folder}. They lie beside data/ in a checkout, and come with a wheel.")
    if not os.access(folder, os.W_OK):
        click.echo(f"v4mini: lessons in {folder} cannot be saved there; in JupyterLab, save yours under another name.", err=True)
    sys.exit(subprocess.call([sys.executable, "-m", "jupyterlab", "00_start_here.ipynb", *arguments], cwd=folder))
