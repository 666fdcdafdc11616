"""tour: half a minute around the bundled model. Not here: what it shows (v4mini/tour.py)."""

import click

from v4mini.cli.main import data_folder, main, say


@main.command()
@click.option("--backend", default="numpy", show_default=True, help="Engine: numpy (nothing to compile), numba or auto.")
def tour(backend):
    """Half a minute: what V4 is, shown on the bundled model."""
    from v4mini.tour import tour as walk

    for paragraph in walk(data_folder() / "mini", backend):
        say(paragraph)
