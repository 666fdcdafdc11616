"""Arguments of kernels: one kind of array, of the shape that the kernel will walk.

Numba compiles a function anew for each array type it meets: read-only, strided and misaligned arrays are types of
their own. Here they all become plain ones. Not here: what a shape means (the functions that call these).
"""

import numpy as np

from v4mini.kernels.compiled import njit
from v4mini.shapes import Refused

FLOAT32 = np.dtype(np.float32)
COPY_UP_TO = 1 << 14            # numbers: copying fewer costs less than borrowing them


def as_floats(x):                                       # [...] -> float32 [...], C order, aligned, writable
    """The same numbers, copied only where needed. Kernels write to no input, so read-only memory is borrowed as it is."""
    return x if type(x) is np.ndarray and x.dtype is FLOAT32 and x.flags.carray else as_plain(x, np.float32)


def as_plain(x, dtype):                                 # [...] -> dtype [...], C order, aligned, writable
    """As as_floats, for any dtype."""
    if isinstance(x, np.ndarray) and x.dtype == dtype and x.flags.carray:
        return x
    x = np.require(x, dtype, "CA")
    if x.flags.writeable:
        return x
    return x.copy() if x.size <= COPY_UP_TO else np.asarray(_Borrowed(x))


@njit
def clipped(x, most):                                   # int64 [T] -> [T], within 0..most, and the largest (0 for none)
    """np.clip and max of a short array, in one call."""
    out, largest = np.empty_like(x), 0
    for t in range(len(x)):
        out[t] = min(max(x[t], 0), most)
        largest = max(largest, out[t])
    return out, largest


@njit
def bounds(x):                                          # int64 [T, K] -> smallest, largest; 0, -1 for none
    """min and max of a small array, in one call."""
    low, high = 0, -1
    for i, row in enumerate(x):
        for j, value in enumerate(row):
            low = value if i + j == 0 else min(low, value)
            high = value if i + j == 0 else max(high, value)
    return low, high


def check_shape(name, array, *sizes, hint=""):
    """Refuse an array of another shape. shapes.expect says more; this is for what runs a few hundred times a token."""
    if array.shape != sizes:
        raise Refused(f"{name}: expected {list(sizes)}, got {list(array.shape)}. {hint}".rstrip())


class _Borrowed:
    """Memory of a read-only array, described as if it were writable; keeps the array alive."""

    def __init__(self, x):
        self.owner = x
        self.__array_interface__ = {"shape": x.shape, "typestr": x.dtype.str, "data": (x.ctypes.data, False), "version": 3}
