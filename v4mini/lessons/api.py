"""check, hint and show: what a reader calls. They print, and give nothing back.

Not here: how an attempt is judged (verdict.py), what was solved (solved.py).
"""

import inspect
import textwrap
from pathlib import Path

import v4mini
from v4mini.lessons.exercise import library_object
from v4mini.lessons.registry import find
from v4mini.lessons.solved import keep
from v4mini.lessons.verdict import judge
from v4mini.shapes import Refused

_given = {}                                 # exercise name -> hints given so far


def check(mine, name):
    """Run your function and ours on the same hard cases; print that they agree, or the first difference. Solved is kept."""
    exercise = find(name)
    verdict = judge(mine, exercise)
    print(verdict.text)
    if verdict.passed and not _is_ours(mine):
        fault = keep(exercise.name)
        if fault:
            print(f"(solved, but not kept for lessons.progress(). {fault})")


def _is_ours(function):                     # the library's own function, handed in to see what check says
    return str(getattr(inspect.unwrap(function), "__module__", "")).startswith("v4mini.")


def hint(name, n=None):
    """Print the next hint for an exercise; each call tells more. n: that one (1, 2, 3)."""
    hints = find(name).hints
    if n is not None and n not in range(1, len(hints) + 1):
        raise Refused(f"hint: expected n from 1 to {len(hints)}, got {n!r}. Leave n out for the next one.")
    number = n or min(_given.get(name, 0) + 1, len(hints))
    _given[name] = number
    print(textwrap.fill(f"hint {number} of {len(hints)}: {hints[number - 1]}", 100))
    if number == len(hints):
        print("That was the last one; a solution is folded up below the exercise.")


def show(*names):
    """Print the source of functions, classes or methods of the library, as it is today: show("ops.rope.rope")."""
    for position, name in enumerate(names):
        thing = library_object(name)
        thing = inspect.unwrap(getattr(thing, "py_func", thing))        # compiled or remembered: the function that is inside
        try:
            source, file = inspect.getsource(thing), inspect.getsourcefile(thing)
        except TypeError:
            raise Refused(f"show: {name} is {type(thing).__name__}, without source. Name a function, class or module.") from None
        path = Path(file).relative_to(Path(v4mini.__file__).parent.parent).as_posix()
        print(f"{chr(10) if position else ''}# {path}\n{textwrap.dedent(source).rstrip()}")
