"""Twins of ops/linear.py. Few tokens: each weight is read once. Many: BLAS, with packed weights decoded a block at a time.

Not here: embed, which reads a few rows and has no twin; the loops for few tokens (packed.py).
"""

import numpy as np

from v4mini.kernels import packed
from v4mini.kernels.arguments import as_floats
from v4mini.kernels.blas import product
from v4mini.shapes import Refused

MAX_MATVEC_TOKENS = 4           # up to so many tokens packed weights are read directly, once a token
BLOCK = 1 << 20                 # numbers decoded at a time: 4 MiB, which stay in the cache until BLAS has read them


def linear(x, weight):                                  # [..., in], Matrix [out, in] -> [..., out]
    """Twin of ops.linear.linear. Threads share out the weight's rows."""
    n, width = weight.shape
    if x.shape[-1] != width:
        raise Refused(f"{weight.name}: expected rows of {x.shape[-1]} numbers, got {width}. Is it from another config?")
    out = np.empty((*x.shape[:-1], n), np.float32)
    _product(as_floats(x).reshape(-1, width), weight, out.reshape(-1, n))
    return out


def one_row(x, weight):                                 # [..., in] of one row, float32 [n, in] -> [..., n]
    """The same for a single row and a weight that kernels take as it is: nothing is checked but the width."""
    if x.shape[-1] != weight.shape[1]:
        raise Refused(f"weight: expected rows of {x.shape[-1]} numbers, got {weight.shape[1]}. Is it from another config?")
    out = np.empty((*x.shape[:-1], len(weight)), np.float32)
    packed._dense_rows(weight, as_floats(x).reshape(-1), out.reshape(-1), 0, len(weight))
    return out


def grouped_linear(x, weight, groups):                  # [T, G * in], Matrix [G * out, in] -> [T, G * out]
    """Twin of ops.linear.grouped_linear; nothing is transposed or copied together."""
    T, rows, width = len(x), weight.shape[0] // groups, weight.shape[1]
    if x.shape[1] != groups * width or weight.shape[0] != groups * rows:
        raise Refused(f"{weight.name}: expected {groups} groups of {width} numbers, got rows of {x.shape[1]}. "
                      "Is it from another config?")
    z = np.empty((T, groups * rows), np.float32)
    _product(as_floats(x), weight, z, groups)
    return z


def _product(x, weight, out, groups=1):                 # [T, G in], Matrix [G n, in] -> out [T, G n]
    (T, n), width = out.shape, weight.shape[1]
    if packed.is_dense(weight):
        dense = as_floats(weight.dense())
        if T > 1:
            product(x, dense, out, groups)
        else:
            rows = n // groups
            for g in range(groups * T):
                mine = slice(g * rows, (g + 1) * rows)
                packed.dense_matvec(dense[mine], x[0, g * width: (g + 1) * width], out[0, mine])
    elif T <= MAX_MATVEC_TOKENS:
        for t in range(T):
            packed.matvec(weight, x[t].reshape(groups, width), out[t])
    else:
        step, rows = max(1, BLOCK // width), n // groups
        for g in range(groups):
            mine = as_floats(x[:, g * width: (g + 1) * width])
            for start in range(g * rows, (g + 1) * rows, step):
                stop = min((g + 1) * rows, start + step)
                product(mine, packed.rows(weight, start, stop), out[:, start:stop])
