"""Verdict: run a reader's function beside ours and say, in words, where they first differ.

Nothing here raises for what the reader wrote: a mistake, a wrong shape, an exception all become a sentence.
Not here: printing it (desk.py), the sentence about two values (compare.py).
"""

import copy
import inspect
import linecache
import traceback
import warnings
import zlib
from dataclasses import dataclass

import numpy as np

from v4mini.lessons.compare import difference, written_out

WRITTEN_OUT = 4         # numbers of an argument
NOTHING = "nothing"


@dataclass(frozen=True)
class Verdict:
    passed: bool
    text: str


def judge(mine, exercise):                  # -> Verdict
    """Every case in order, up to the first that fails."""
    if not callable(mine):
        return Verdict(False, f"{exercise.label}: expected a function, got {type(mine).__name__}. Pass it without brackets.")
    rng = np.random.default_rng(zlib.crc32(exercise.name.encode()))
    cases = list(exercise.cases(rng))
    label, count = exercise.label, len(cases)
    for number, (title, arguments) in enumerate(cases, 1):
        fault = _try(mine, exercise, arguments)
        if fault == NOTHING:
            name = getattr(mine, "__name__", "your function")
            return Verdict(False, f'{label}: not solved yet: {name} returns nothing. For a start: hint("{exercise.name}")')
        if fault:
            lines = [f"{label}: case {number} of {count}, {title}", f"with {_sizes(exercise, arguments)}", *fault.split("\n")]
            return Verdict(False, "\n  ".join(lines))
    near = "exactly" if exercise.tolerance == 0 else f"largest difference below {exercise.tolerance:.0e}".replace("e-0", "e-")
    return Verdict(True, f"{label}: {count} of {count} cases agree, {near}")


def _try(mine, exercise, arguments):        # -> "" if this case agrees, else what to tell the reader
    given = copy.deepcopy(arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = exercise.answer(*copy.deepcopy(arguments))
        try:
            got = mine(*given)
        except NotImplementedError:
            return NOTHING
        except Exception as error:          # whatever a reader's function may raise is his to see, without our frames
            return _explained(error, mine, exercise)
    if (got is None or got is ...) and expected is not None:
        return NOTHING
    changed = _changed(exercise, arguments, given)
    if changed:
        return f"your function changed its argument {changed}. Others still need it: work on a copy."
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


def _changed(exercise, before, after):      # -> the name of the first array argument that is no longer as it was, or ""
    for name, old, new in zip(_names(exercise, before), before, after):
        if isinstance(old, np.ndarray) and not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
            return name
    return ""


def _sizes(exercise, arguments):            # -> "x [2, 8], weight = [1, 1], eps = 1e-06": small ones in full, to redo by hand
    shown = []
    for name, value in zip(_names(exercise, arguments), arguments):
        if isinstance(value, np.ndarray) and value.size <= WRITTEN_OUT:
            shown.append(f"{name} = {written_out(value)}")
        elif isinstance(value, np.ndarray):
            shown.append(f"{name} {list(value.shape)}")
        elif isinstance(value, int | float | str | bool) or value is None:
            shown.append(f"{name} = {value!r:.60}")
    return ", ".join(shown)


def _names(exercise, arguments):
    names = list(inspect.signature(exercise.answer).parameters)
    return names + [f"argument {i + 1}" for i in range(len(names), len(arguments))]

