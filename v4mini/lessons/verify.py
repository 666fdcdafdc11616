"""verify_exercises: is every exercise solvable, solved by its folded solution, and not solved by mistakes?

Not here: one attempt's verdict (verdict.py), printing (__main__.py).
"""

from dataclasses import dataclass

from v4mini.lessons.cells import function_of, tasks
from v4mini.lessons.kinds import kinds_of_mistakes
from v4mini.lessons.places import notebooks
from v4mini.lessons.registry import all_exercises
from v4mini.lessons.verdict import cases_of, judge

WANTED = ("folded solution passes", "unsolved cell does not", "written differently passes", "its own mistakes fail",
          "kinds of mistakes fail")


@dataclass(frozen=True)
class Row:
    lesson: str             # "02"
    exercise: str
    results: tuple[bool | None, ...]        # in the order of WANTED; None: the lesson is not written yet
    mistakes: int = 0       # how many planted mistakes were judged
    missed: tuple[str, ...] = ()            # those of them that passed

    @property
    def passed(self):
        return all(result is not False for result in self.results)


def verify_exercises(folder=None):          # -> [Row]
    """One row for every exercise in exercises/ and every check in a notebook."""
    written = {path.name[:2] for path in notebooks(folder=folder)}
    placed = {}
    for task in (task for path in notebooks(folder=folder) for task in tasks(path)):
        placed.setdefault(task.exercise, task)          # a lesson may check a mistake of ours afterwards, to show what check says
    known = all_exercises()
    rows = [_row(exercise, placed.get(name), exercise.lesson in written) for name, exercise in known.items()]
    return rows + [Row(task.notebook[:2], f"{name} (unknown)", (False,) * len(WANTED))
                   for name, task in placed.items() if name not in known]


def _row(exercise, task, is_written):
    in_notebook = (False, False) if is_written else (None, None)
    if task:
        solved, unsolved = (_passes(function_of(task, code), exercise) for code in (task.solution, task.unsolved))
        in_notebook = (solved, not unsolved)
    cases = [arguments for _, arguments in cases_of(exercise)]
    kinds = kinds_of_mistakes(exercise, cases)
    missed = [mistake.__name__ for mistake in exercise.wrong if _passes(mistake, exercise)]
    missed_kinds = [kind for kind, mistake in kinds if _passes(mistake, exercise)]
    results = (*in_notebook, _passes(exercise.differently, exercise), not missed, not missed_kinds)
    return Row(exercise.lesson, exercise.name, results, len(exercise.wrong) + len(kinds), (*missed, *missed_kinds))


def _passes(function, exercise):
    return function is not None and judge(function, exercise).passed
