"""A value as a few words: the arguments of a case, so that a reader can redo it by hand.

Not here: which case failed (verdict.py), two values beside each other (compare.py).
"""

import reprlib

import numpy as np

WRITTEN_OUT = 4         # numbers of an array that are shown in full


def written_out(array):                     # -> "[[3, 4]]", whatever the reader's print options are
    if array.ndim == 0:
        return number(array)
    return f"[{', '.join(map(written_out, array))}]"


def number(value):                          # one number of an array -> "0.8485"
    return f"{value:.4g}" if np.asarray(value).dtype.kind == "f" else str(value)


class _Short(reprlib.Repr):
    """repr with limits; an array inside a list is shown by its numbers, or by dtype and shape."""

    def __init__(self):
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = 8
        self.maxstring = self.maxlong = self.maxother = 80
        self.maxlevel = 4

    def repr_ndarray(self, array, level):
        return written_out(array) if array.size <= WRITTEN_OUT else f"{array.dtype} {list(array.shape)}"

    def repr_float(self, value, level):
        return min(repr(value), f"{value:.6g}", key=len) if np.isfinite(value) and value % 1 else repr(value)


short = _Short().repr                       # any plain value -> text


def is_plain(value):                        # numbers, text, bytes, None, and lists, tuples, dicts, sets of them and of arrays
    if isinstance(value, dict):
        return all(is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | bytes | np.ndarray | np.generic)


def argument(name, value):                  # -> "x [2, 8]", "eps = 1e-06", "ranges = [(0, 4), (4, 10)]"; "" for objects
    if isinstance(value, np.ndarray) and value.size > WRITTEN_OUT:
        return f"{name} {list(value.shape)}"
    value = value.item() if isinstance(value, np.generic) else value
    return f"{name} = {short(value)}" if is_plain(value) else ""
