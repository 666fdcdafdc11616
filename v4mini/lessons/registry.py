"""Every exercise by name, found in exercises/l*.py. Not here: what an exercise holds (exercise.py)."""

import dataclasses
import difflib
import pkgutil
from functools import cache
from importlib import import_module

from v4mini.lessons import exercises
from v4mini.shapes import Refused


@cache
def all_exercises():                        # -> {name: Exercise}, in the order of the lessons
    """Import each file of exercises/ and collect its EXERCISES; l02_rope.py belongs to notebooks/02_*.ipynb."""
    found = {}
    for file in sorted(module.name for module in pkgutil.iter_modules(exercises.__path__)):
        for exercise in import_module(f"{exercises.__name__}.{file}").EXERCISES:
            if exercise.name in found:
                raise Refused(f"exercise {exercise.name}: two files define it, the second is {file}.py. Choose another name.")
            found[exercise.name] = dataclasses.replace(exercise, lesson=file[1:3])
    return found


def find(name):                             # -> Exercise
    """The exercise of that name. Raises Refused, with the nearest names."""
    known = all_exercises()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(str(name), known, n=2, cutoff=0.4)
    advice = f"Did you mean {' or '.join(near)}?" if near else "Look in lessons/exercises."
    raise Refused(f"no exercise is called {name!r}. {advice}")
