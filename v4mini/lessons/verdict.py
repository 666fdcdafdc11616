"""Verdict: run a reader's function beside ours and say, in words, where they first differ.

Nothing here raises for what the reader wrote: a mistake, a wrong shape, an exception all become a sentence.
Not here: printing it (api.py), the sentence about two values (compare.py).
"""

import copy
import inspect
import linecache
import traceback
import warnings
import zlib
from dataclasses import dataclass

import numpy as np

from v4mini.lessons.compare import difference
from v4mini.lessons.written import argument

NOTHING = "nothing"


@dataclass(frozen=True)
class Verdict:
    passed: bool
    text: str


def judge(mine, exercise):                  # -> Verdict
    """Every case in order, up to the first that fails."""
    if not callable(mine):
        return Verdict(False, f"{exercise.label}: expected a function, got {type(mine).__name__}. Pass it without brackets.")
    cases = cases_of(exercise)
    answers = [_answer(exercise, arguments) for _, arguments in cases]
    label, count = exercise.label, len(cases)
    for number, ((title, arguments), expected) in enumerate(zip(cases, answers), 1):
        fault = _try(mine, exercise, arguments, expected)
        if fault == NOTHING and not any(answer is None for answer in answers):
            name = getattr(mine, "__name__", "your function")
            return Verdict(False, f'{label}: not solved yet: {name} returns nothing. For a start: hint("{exercise.name}")')
        if fault == NOTHING:                # here None is an answer, the right one of another case
            fault = difference(None, expected, exercise.tolerance)
        if fault:
            lines = [f"{label}: case {number} of {count}, {title}", f"with {_given(exercise, arguments)}", *fault.split("\n")]
            return Verdict(False, "\n  ".join(lines))
    near = "exactly" if exercise.tolerance == 0 else f"largest difference below {exercise.tolerance:.0e}".replace("e-0", "e-")
    return Verdict(True, f"{label}: {count} of {count} cases agree, {near}")


def cases_of(exercise):                     # -> [(title, arguments)], the same at every call
    return list(exercise.cases(np.random.default_rng(zlib.crc32(exercise.name.encode()))))


def _answer(exercise, arguments):           # -> what the library gives; its warnings are not the reader's
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return exercise.answer(*copy.deepcopy(arguments))


def _try(mine, exercise, arguments, expected):          # -> "" if this case agrees, else what to tell the reader
    given = copy.deepcopy(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            got = mine(*given)
        except NotImplementedError:
            return NOTHING
        except Exception as error:          # whatever a reader's function raises is shown, without our frames
            return _explained(error, mine, exercise)
    if (got is None or got is ...) and expected is not None:
        return NOTHING
    changed = _changed(exercise, arguments, given)
    if changed:
        return f"your function changed its argument {changed}. The caller still needs it: work on a copy."
    return difference(got, expected, exercise.tolerance)


def _explained(error, mine, exercise):      # -> "ValueError: ...\nin line 3 of your function: y = x * w"
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    code = inspect.unwrap(mine).__code__ if hasattr(inspect.unwrap(mine), "__code__") else None
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if code and frame.filename == code.co_filename]
    if not frames:
        names = ", ".join(inspect.signature(exercise.answer).parameters)
        return f"{text}\nit was called with ({names})"
    line = linecache.getline(frames[-1].filename, frames[-1].lineno).strip()
    place = frames[-1].lineno - code.co_firstlineno + 1
    return f"{text}\nin line {place} of your function" + (f": {line}" if line else "")


def _changed(exercise, before, after):      # -> the name of the first argument that is no longer as it was, or ""
    for name, old, new in zip(_names(exercise, before), before, after):
        if not _is_same(old, new):
            return name
    return ""


def _is_same(old, new):                     # numbers and text, in arrays, lists, dicts of any depth; other objects are not judged
    if isinstance(old, np.ndarray):
        return isinstance(new, np.ndarray) and np.array_equal(old, new, equal_nan=old.dtype.kind == "f")
    if isinstance(old, dict):
        return list(old) == list(new) and all(_is_same(old[key], new[key]) for key in old)
    if isinstance(old, list | tuple):
        return len(old) == len(new) and all(map(_is_same, old, new))
    return old == new if isinstance(old, str | bytes | int) else True


def _given(exercise, arguments):            # -> "x [2, 8], weight = [1, 1], eps = 1e-06": small ones in full, to redo by hand
    shown = [argument(name, value) for name, value in zip(_names(exercise, arguments), arguments)]
    return ", ".join(filter(None, shown))


def _names(exercise, arguments):
    names = list(inspect.signature(exercise.answer).parameters)
    return names + [f"argument {i + 1}" for i in range(len(names), len(arguments))]
