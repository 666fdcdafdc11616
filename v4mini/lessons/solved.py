"""What a reader has solved, kept over sessions: one line of JSON for each exercise, behind the others.

    {"exercise": "ops.rope.rope", "solved": "2026-11-29"}

It lies in $V4MINI_PROGRESS, or in the reader's own data folder; `v4mini lab --work DIR` keeps it in DIR. Never in a checkout.
Not here: judging (verdict.py).
"""

import json
import os
import sys
from datetime import date
from pathlib import Path

from v4mini.lessons.course import COURSE, GRADES, grade_of, lesson_of
from v4mini.lessons.registry import all_exercises
from v4mini.shapes import Refused
from v4mini.untrusted import parse_json, read_file
from v4mini.viz.tables import text_table
from v4mini.writing import append, make_folder

NAME = "progress.jsonl"
MOST_BYTES = 1 << 20                        # 15,000 lines; an exercise is written once


def place():                                # -> Path, which need not be there yet
    """Where progress is kept. Raises Refused if there is no home folder either."""
    chosen = os.environ.get("V4MINI_PROGRESS")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        folder = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        folder = os.path.expanduser("~/Library/Application Support")
    else:
        folder = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    if not os.path.isabs(folder):
        raise Refused("progress: expected a home folder, got none. Set V4MINI_PROGRESS to the name of a file.")
    return Path(folder, "v4mini", NAME)


def keep(name):                             # -> "", or why it is not kept
    """Note that an exercise is solved, once."""
    try:
        if name not in solved():
            path = place()
            make_folder(path.parent)
            append(path, json.dumps({"exercise": name, "solved": date.today().isoformat()}) + "\n")
    except Refused as error:
        return str(error)
    return ""


def solved(path=None):                      # -> {name of an exercise of today's course: day}
    """Read what was kept; exercises that the course no longer has do not count. Refused: a file that is none of ours."""
    path = path or place()
    if not path.exists():
        return {}
    found = {}
    advice = "Move it away, or set V4MINI_PROGRESS to another file."
    for number, line in enumerate(read_file(path, MOST_BYTES, "progress", advice).splitlines(), 1):
        try:
            fields = parse_json(line, "progress")
        except Refused:
            fields = {}
        name, day = (fields.get(key) for key in ("exercise", "solved"))
        if not isinstance(name, str) or not isinstance(day, str):
            raise Refused(f"progress: expected a solved exercise in line {number} of {path}, got something else. {advice}")
        if name in all_exercises():
            found.setdefault(name, day)
    return found


def table(done):                            # -> [lesson, title, warm-up, core, stretch], ...: "2 of 3", or ""
    """What is solved of each lesson, in the order of reading."""
    rows = []
    for lesson in COURSE:
        names = [exercise.name for exercise in all_exercises().values() if exercise.lesson == lesson.number]
        cells = []
        for grade in GRADES:
            of_grade = [name for name in names if grade_of(name) == grade]
            cells.append(f"{sum(name in done for name in of_grade)} of {len(of_grade)}" if of_grade else "")
        rows.append([lesson.number, lesson.title, *cells])
    return rows


def progress(folder=None):
    """Print which exercises are solved, lesson by lesson, and which one comes next. folder: one of v4mini lab --work."""
    path = Path(folder, NAME) if folder else place()
    done = solved(path)
    print(text_table(["lesson", "", *GRADES], table(done)))
    print(f"{len(done)} of {len(all_exercises())} exercises solved; kept in {path}")
    order = {lesson.number: position for position, lesson in enumerate(COURSE)}
    left = sorted((e for e in all_exercises().values() if e.name not in done), key=lambda e: order[e.lesson])
    if left:
        print(f"next: {left[0].name}, in lesson {left[0].lesson} ({lesson_of(left[0].lesson).title})")
