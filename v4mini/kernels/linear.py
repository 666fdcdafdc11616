"""Twins of ops/linear.py. Many tokens: BLAS, with packed weights decoded a block at a time. Few: each weight is read once.

Not here: embed, which reads a few rows and has no twin; the loops for few tokens (packed.py).
"""

import numpy as np

from v4mini.kernels import packed
from v4mini.shapes import Refused

MAX_MATVEC_TOKENS = 4           # up to so many tokens packed weights are read directly, once a token
BLOCK = 1 << 20                 # numbers decoded at a time: 4 MiB, which stay in the cache until BLAS has read them


def linear(x, weight):                                  # [..., in], Matrix [out, in] -> [..., out]
    """Twin of ops.linear.linear. Threads share out the weight's rows."""
    n, width = weight.shape
    if x.shape[-1] != width:
        raise Refused(f"{weight.name}: expected rows of {x.shape[-1]} numbers, got {width}. Is it from another config?")
    out = np.empty((*x.shape[:-1], n), np.float32)
    _product(x.reshape(-1, width), weight, 0, out.reshape(-1, n))
    return out


def grouped_linear(x, weight, groups):                  # [T, G * in], Matrix [G * out, in] -> [T, G * out]
    """Twin of ops.linear.grouped_linear; nothing is transposed or copied together."""
    T, rows, width = len(x), weight.shape[0] // groups, weight.shape[1]
    if x.shape[1] != groups * width or weight.shape[0] != groups * rows:
        raise Refused(f"{weight.name}: expected {groups} groups of {width} numbers, got rows of {x.shape[1]}. "
                      "Is it from another config?")
    z = np.empty((T, groups * rows), np.float32)
    if T <= MAX_MATVEC_TOKENS and not packed.is_dense(weight):
        for t in range(T):
            packed.matvec(weight, x[t].reshape(groups, width), z[t])
        return z
    for g in range(groups):
        _product(x[:, g * width: (g + 1) * width], weight, g * rows, z[:, g * rows: (g + 1) * rows])
    return z


def _product(x, weight, first, out):                    # [T, in], weight's rows first .. first + n -> out [T, n]
    T, n = out.shape
    if packed.is_dense(weight):
        dense = weight.dense()[first: first + n]
        if T == 1:
            packed.dense_matvec(dense, x[0], out[0])
        else:
            np.matmul(x, dense.T, out=out)
    elif T <= MAX_MATVEC_TOKENS:
        for t in range(T):
            packed.matvec(weight, x[t: t + 1], out[t])
    else:
        step = max(1, BLOCK // weight.shape[1])
        for start in range(0, n, step):
            stop = min(n, start + step)
            np.matmul(x, packed.rows(weight, first + start, first + stop).T, out=out[:, start:stop])
