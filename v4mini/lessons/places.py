"""Where the notebooks and their data lie. Not here: what is in the files."""

import os
from pathlib import Path

import v4mini
from v4mini.shapes import Refused

MARK = Path("golden", "README.md")          # what makes a folder the project's data folder


def data_folder():                          # -> Path
    """The project's data/: $V4MINI_DATA, or data/ in this folder or one above it, or beside the package: in a checkout, or
    in v4mini_course/, which a wheel brings along.

    JupyterLab may start anywhere, and a reader may keep his own copy of a notebook anywhere. Raises Refused.
    """
    named = os.environ.get("V4MINI_DATA")
    here, package = Path.cwd(), Path(v4mini.__file__).parents[1]
    tried = [Path(named)] if named else [folder / "data" for folder in (here, *here.parents, package, package / "v4mini_course")]
    for folder in tried:
        if (folder / MARK).is_file():
            return folder
    where = f"$V4MINI_DATA = {named}" if named else f"{here} and above, and beside the package"
    raise Refused(f"data: no folder with {MARK.as_posix()} ({where}). Set V4MINI_DATA to the data folder of a checkout.")


def notebook_folder():                      # -> Path
    return data_folder().resolve().parent / "notebooks"


def own_folder():                           # -> Path
    """Where the reader works: this folder, if the lessons lie in it, as they do for a running notebook; else the course's own."""
    return Path.cwd() if list(Path.cwd().glob("00_start_here.ipynb")) else notebook_folder()


def notebooks(names=(), folder=None):       # -> [Path], in order
    """All lessons, or those whose file name begins with one of `names` (00, 09_the). Raises Refused for one that is none."""
    found = sorted((folder or notebook_folder()).glob("[0-9][0-9]_*.ipynb"))
    names = [Path(name).name for name in names]
    for name in names:
        if not any(path.name.startswith(name) for path in found):
            raise Refused(f"notebooks: none begins with {name!r}; there are {', '.join(path.stem for path in found) or 'none'}.")
    return [path for path in found if not names or any(path.name.startswith(name) for name in names)]
