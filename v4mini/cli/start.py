"""tour, lab, doctor: the first things typed. Not here: what they do (tour.py, machine.py)."""

import json
import sys

import click

from v4mini import Refused
from v4mini.cli.front import data_folder, json_option, main
from v4mini.viz.tables import text_table


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
@click.option("--warm", is_flag=True, help="Compile all kernels now; without it each is compiled at its first use.")
@json_option
def doctor(warm, as_json):
    """Is this machine ready? Python, packages, cores, memory, disk, engines."""
    from v4mini.machine import report

    facts = report(data_folder())
    if warm:
        facts += _warm_up()
    if as_json:
        click.echo(json.dumps(facts, indent=1))
    else:
        click.echo(text_table(["what", "found", "verdict"], [[f["what"], f["found"], f["verdict"]] for f in facts]))
    sys.exit(0 if all(f["verdict"] != "missing" for f in facts) else 1)


def _warm_up():                                         # -> facts, as machine.report gives them
    from v4mini.bench.warm import steps, warm

    facts = []
    with click.progressbar(warm(), length=len(steps()), label="compiling kernels", file=sys.stderr) as bar:
        for what, seconds in bar:
            facts.append({"what": f"kernels: {what}", "found": f"ready, took {seconds:.1f} s", "verdict": "ok"})
    return facts
