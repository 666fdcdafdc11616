"""A reader's own copy of the course: `v4mini lab --work DIR`. What lies in DIR already is the reader's, and stays.

    DIR/05_heavy_compression.ipynb          copied once
    DIR/backups/05_heavy_compression.1.ipynb    what --reset 05 found there
    DIR/progress.jsonl                      what is solved

Not here: starting JupyterLab (cli/lab.py), progress (solved.py).
"""

import os
from itertools import count
from pathlib import Path

from v4mini.lessons.places import notebook_folder, notebooks
from v4mini.shapes import Refused
from v4mini.writing import make_folder, put_in_place, write_whole


def lay_out(folder):                        # -> [names copied now]
    """Copy those lessons into `folder` that are not there. Raises Refused for a folder inside the course's own checkout."""
    folder, course = Path(os.path.realpath(folder)), notebook_folder().resolve().parent      # a link in a circle is refused below
    if folder == course or course in folder.parents:
        raise Refused(f"lab: expected a folder of your own, got {folder}, inside {course}. Choose one outside of it.")
    make_folder(folder)
    missing = [path for path in notebooks() if not (folder / path.name).exists()]
    for path in missing:
        write_whole(folder / path.name, path.read_bytes())
    return [path.name for path in missing]


def reset(folder, name):                    # "05" -> (name of the lesson, where the old one lies now or None)
    """Bring back the course's own text of one lesson; what was there goes to backups/. Refused: no lesson, or several."""
    found = notebooks([name])
    if len(found) != 1:
        raise Refused(f"lab: expected one lesson, got {len(found)} that begin with {name!r}. Try two digits, as in 05.")
    mine, old = Path(folder, found[0].name), None
    if mine.exists():
        backups = Path(make_folder(Path(folder, "backups")))
        free = (backups / f"{mine.stem}.{number}.ipynb" for number in count(1))
        old = next(path for path in free if not os.path.lexists(path))
        put_in_place(mine, old)
    write_whole(mine, found[0].read_bytes())
    return mine.name, old
