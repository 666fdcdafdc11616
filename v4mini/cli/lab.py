"""lab: the course, in JupyterLab. Not here: the lessons (notebooks/)."""

import os
import sys
from pathlib import Path

import click

from v4mini import Refused
from v4mini.cli.main import data_folder, main, note
from v4mini.viz.tables import counted

FIRST = "00_start_here.ipynb"


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--work", type=click.Path(file_okay=False, path_type=Path),
              help="Work in a copy of the lessons in this folder: made if it is not there, never written over.")
@click.option("--reset", "to_reset", metavar="LESSON", help="With --work: bring back this lesson, as 05; yours goes to backups/.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def lab(work, to_reset, arguments):
    """Open JupyterLab at lesson 00. ARGUMENTS go to jupyter lab, options too: v4mini lab --no-browser --port 9999."""
    import importlib.util
    import subprocess

    if importlib.util.find_spec("jupyterlab") is None:
        raise Refused('lab: JupyterLab is not installed. Run: python -m pip install -e ".[lab]"')
    course = data_folder().parent / "notebooks"
    if not (course / FIRST).exists():
        raise Refused(f"lab: no lessons in {course}. They lie beside data/ in a checkout, and come with a wheel.")
    if to_reset and not work:
        raise Refused("lab: expected --work with --reset, since the course's own lessons are not to be changed. "
                      "Add --work FOLDER.")
    first = FIRST
    settings = dict(os.environ)
    if work:
        first = _prepared(work, to_reset)
        settings["V4MINI_PROGRESS"] = os.path.join(os.path.realpath(work), "progress.jsonl")
    elif not os.access(course, os.W_OK):
        note(f"v4mini: lessons in {course} cannot be saved there; v4mini lab --work FOLDER works in a copy.")
    sys.exit(subprocess.call([sys.executable, "-m", "jupyterlab", first, *arguments], cwd=work or course, env=settings))


def _prepared(work, to_reset):              # -> the lesson to open
    from v4mini.lessons.work import lay_out, reset

    copied = lay_out(work)
    if copied:
        note(f"v4mini: {counted(len(copied), 'lesson')} copied to {work}")
    if not to_reset:
        return FIRST
    name, old = reset(work, to_reset)
    note(f"v4mini: {name} is as the course has it" + (f"; yours is kept as {old}" if old else ""))
    return name
