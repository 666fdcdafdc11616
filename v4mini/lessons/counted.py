"""The course in numbers, counted from the notebooks as they stand: cells, exercises, cases, museum bugs, explorers, seconds.

Not here: printing (__main__.py), running a notebook (notebooks.py).
"""

import dataclasses
import re
from dataclasses import dataclass

from v4mini.lessons.cells import read_cells, tasks
from v4mini.lessons.course import COURSE, GRADES, file_names, grade_of
from v4mini.lessons.kinds import kinds_of_mistakes
from v4mini.lessons.museum import DEFECTS
from v4mini.lessons.notebooks import run_notebook
from v4mini.lessons.places import notebook_folder
from v4mini.lessons.registry import find
from v4mini.lessons.verdict import cases_of

EXPLORER = re.compile(r"\b(\w+Explorer|StreamMixer|NumberDial)(?:\.of)?\(")


@dataclass(frozen=True)
class Count:
    """One lesson. seconds and slowest are None where it was not run; fault is "" or what went wrong."""

    lesson: str
    title: str
    cells: int              # code cells
    exercises: dict         # {grade: how many}
    cases: int              # inputs that its checks try
    wrong: int              # planted wrong answers that its checks are tested with
    museum: int             # true defects of others, each planted in the package by lessons museum
    explorers: int
    seconds: float | None = None
    slowest: float | None = None
    fault: str = ""


def counted(lesson, is_run=True):           # Lesson -> Count
    """Count one notebook, and run it in a fresh kernel without writing it."""
    path = notebook_folder() / file_names()[lesson.number]
    code = [cell["source"] for cell in read_cells(path) if cell["cell_type"] == "code"]
    exercises = [find(name) for name in dict.fromkeys(task.exercise for task in tasks(path))]
    cases = {exercise.name: [arguments for _, arguments in cases_of(exercise)] for exercise in exercises}
    grades = {grade: sum(grade_of(exercise.name) == grade for exercise in exercises) for grade in GRADES}
    count = Count(lesson.number, lesson.title, len(code), grades, sum(map(len, cases.values())),
                  sum(len(one.wrong) + len(kinds_of_mistakes(one, cases[one.name])) for one in exercises),
                  len(DEFECTS) if any(one.name.startswith("museum.") for one in exercises) else 0,
                  len({name for source in code for name in EXPLORER.findall(source)}))
    if not is_run:
        return count
    report = run_notebook(path, write=False)
    return dataclasses.replace(count, seconds=report.seconds, slowest=report.slowest_seconds, fault=report.fault)


def summed(counts):                         # [Count] -> Count of the whole course; the slowest is the slowest of all
    """Lessons that were not run add no seconds; fault names those that failed."""
    seconds = [count.seconds for count in counts if count.seconds is not None]
    grades = {grade: sum(count.exercises[grade] for count in counts) for grade in GRADES}
    totals = {name: sum(getattr(count, name) for count in counts) for name in ("cells", "cases", "wrong", "museum", "explorers")}
    return Count("all", f"{len(counts)} lessons", exercises=grades, seconds=sum(seconds) if seconds else None,
                 slowest=max((count.slowest for count in counts if count.slowest is not None), default=None),
                 fault=", ".join(count.lesson for count in counts if count.fault), **totals)


def row_of(count):                          # Count -> [value], for a table
    """As wide as COLUMNS."""
    shown = [None if value is None else round(value, 1) for value in (count.seconds, count.slowest)]
    return [count.lesson, count.title, count.cells, *(count.exercises[grade] for grade in GRADES), count.cases, count.wrong,
            count.museum, count.explorers, *shown]


COLUMNS = ("", "lesson", "cells", *GRADES, "cases", "wrong", "museum", "explorers", "seconds", "slowest")


def course(names=()):                       # -> [Lesson]: all, or those with these numbers
    return [lesson for lesson in COURSE if not names or lesson.number in names]

