"""Two values, and the first place where they differ, as a sentence or two for a reader.

Not here: whose they are (verdict.py).
"""

import numpy as np

from v4mini.lessons.written import is_plain, short
from v4mini.lessons.written import number as shown
from v4mini.shapes import Refused

SHOWN = 6               # numbers of the row around the first difference
_KINDS = {float: "a number", int: "a whole number", str: "text", list: "a list", tuple: "a tuple", dict: "a dict",
          bool: "True or False"}


def difference(got, expected, tolerance):   # -> "" if they agree
    """Compare arrays, numbers, text, and tuples or lists of these."""
    if isinstance(expected, tuple):
        return _parts(got, expected, tolerance)
    if isinstance(expected, list):
        return _items(got, expected, tolerance)
    if isinstance(expected, str) or not _is_numbers(expected):
        return "" if type(got) is type(expected) and got == expected else _plain(got, expected)
    return _numbers(got, expected, tolerance)


def relative(ours, theirs):                 # [...] twice, or numbers -> float
    """The largest difference, as a share of the largest number of `theirs`: 1e-5 says the same of small rows and of large ones.

    NaN if one of the two holds one, or where theirs is infinite. Raises Refused for unequal shapes, which NumPy would stretch.
    """
    a, b = (np.asarray(values, np.float64) for values in (ours, theirs))
    if a.shape != b.shape:
        raise Refused(f"relative: expected two of one shape, got {list(a.shape)} and {list(b.shape)}. Try [0] or [None] on one.")
    off, size = (float(np.abs(values).max(initial=0)) for values in (a - b, b))
    return off / size if size else off and np.inf


def _items(got, expected, tolerance):       # a list is one value: shown whole, not by its shape
    if not isinstance(got, tuple | list):
        return f"wrong type: expected {_kind(expected)}, yours is {_kind(got)}."
    if len(got) == len(expected) and not any(difference(*pair, tolerance) for pair in zip(got, expected)):
        return ""
    return f"yours     {short(list(got))}\nexpected  {short(expected)}"


def _parts(got, expected, tolerance):
    several = isinstance(got, tuple | list)
    if several and len(got) != len(expected) and is_plain(expected) and is_plain(got):
        return f"yours     {short(tuple(got))}\nexpected  {short(expected)}"
    if not several or len(got) != len(expected):
        came = f"{len(got)}" if several else f"one value, {_kind(got)}"
        return f"expected {len(expected)} results, yours gives {came}. Return them as `a, b`."
    for number, (mine, ours) in enumerate(zip(got, expected), 1):
        fault = difference(mine, ours, tolerance)
        if fault:
            return f"result {number} of {len(expected)}: {fault}"
    return ""


def _plain(got, expected):
    if isinstance(got, str) and isinstance(expected, str):
        place = next((i for i, (a, b) in enumerate(zip(got, expected)) if a != b), min(len(got), len(expected)))
        return (f"first difference at character {place}\n  yours     {got[max(0, place - 10): place + 30]!r}\n"
                f"  expected  {expected[max(0, place - 10): place + 30]!r}")
    if type(got) is not type(expected):
        return f"wrong type: expected {_kind(expected)}, yours is {_kind(got)}."
    return f"yours     {short(got)}\nexpected  {short(expected)}"


def _numbers(got, expected, tolerance):
    try:
        mine, ours = np.asarray(got), np.asarray(expected)
    except (ValueError, TypeError):
        mine, ours = None, np.asarray(expected)
    if mine is None or mine.dtype.kind not in "biuf" or (isinstance(expected, np.ndarray) and not hasattr(got, "dtype")):
        return f"wrong type: expected {_kind(expected)}, yours is {_kind(got)}."
    if mine.shape != ours.shape:
        return f"wrong shape: expected {list(ours.shape)}, yours is {list(mine.shape)}."
    if not _fits(mine.dtype.kind, ours.dtype.kind, ours.ndim):
        return f"wrong type: expected {_noun(ours)}, yours are {_noun(mine)} ({mine.dtype})."
    place = _first(mine, ours, tolerance)
    return "" if place is None else _told(mine, ours, place)


def _fits(mine, ours, ndim):                # a whole number may stand for one decimal; a mask is not 1 and 0
    if "b" in (mine, ours):
        return mine == ours
    return (mine == "f") == (ours == "f") or (ours == "f" and ndim == 0)


def _first(mine, ours, tolerance):          # -> index of the first number out of tolerance, or None
    with np.errstate(all="ignore"):
        a, b = (values.astype(np.float64) if values.dtype.kind == "f" else values for values in (mine, ours))
        near = a == b
        if ours.dtype.kind == "f":
            near |= (np.abs(a - b) <= tolerance * np.maximum(1, np.abs(b))) | (np.isnan(a) & np.isnan(b))
    if np.all(near):
        return None
    return tuple(int(axis[0]) for axis in np.nonzero(~np.atleast_1d(near)))[: mine.ndim]


def _told(mine, ours, place):
    at = f"first difference at {list(place)}: " if place else ""
    lines = [f"{at}yours {shown(mine[place])}, expected {shown(ours[place])}"]
    if shown(mine[place]) == shown(ours[place]):
        lines[0] += f" (they differ by {abs(float(mine[place]) - float(ours[place])):.1e})"
    if place and ours.shape[-1] > 1:
        start = max(0, min(place[-1] - SHOWN // 2, ours.shape[-1] - SHOWN))
        for name, values in (("yours   ", mine), ("expected", ours)):
            row = values[(*place[:-1], slice(start, start + SHOWN))]
            lines.append(f"{name} {' ...' if start else ''}{''.join(f'{shown(value):>10}' for value in row)}"
                         + (" ..." if start + SHOWN < ours.shape[-1] else ""))
    return "\n".join(lines)


def _is_numbers(value):
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:                      # a ragged list
        return False


def _noun(array):
    return {"f": "decimal numbers", "b": "True and False"}.get(array.dtype.kind, "whole numbers")


def _kind(value):
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype}"
    return _KINDS.get(type(value), f"a {type(value).__name__}")
