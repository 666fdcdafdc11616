"""A folder that a command writes: new or empty before, so that nothing of anybody else's is touched.

Not here: single files (writing.py), folders of weights (weights/ours.py).
"""

from pathlib import Path

from v4mini.shapes import Refused
from v4mini.weights.ours import expect_folder
from v4mini.writing import make_folder, shown, write_whole


def expect_new(path):                       # -> path
    """Refused if something lies there, or the name is no folder's."""
    path = Path(path)
    expect_folder(path)
    if path.is_symlink() or (path.exists() and any(path.iterdir())):
        raise Refused(f"{shown(path)}: expected a new or an empty folder, got one with files in it. Choose another name, or "
                      "remove it yourself.")
    return path


def copy_into(work, target):                # two folders
    """What was made in `work`, file by file, each whole. Refused unless `target` is still new."""
    expect_new(target)
    for path in sorted(Path(work).rglob("*")):
        if path.is_file():
            into = Path(target, path.relative_to(work))
            make_folder(into.parent)
            write_whole(into, path.read_bytes())
