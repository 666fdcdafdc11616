"""Twins of ops/norm.py: root-mean-square norms, row by row.

Not here: LayerNorm; V4 has none.
"""

import numpy as np
from numba import prange

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit

ROWS_PER_THREAD = 64            # rows a thread takes at a time
PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves


def rms_norm(x, weight, eps=1e-6):                      # [..., D], [D] -> [..., D]
    """Twin of ops.norm.rms_norm. Threads share out rows."""
    check_shape("weight", weight, x.shape[-1], hint="Is it from another config?")
    return _norm(x, as_floats(weight), eps)


def rms_unit(x, eps=1e-6):                              # [..., D] -> [..., D]
    """Twin of ops.norm.rms_unit. Threads share out rows."""
    return _norm(x, np.empty(0, np.float32), eps)


def _norm(x, weight, eps):                              # weight [0]: none
    out = np.empty(x.shape, np.float32)
    if x.size == 0:
        return out
    rows, into = as_floats(x).reshape(-1, x.shape[-1]), out.reshape(-1, x.shape[-1])
    if x.size < PARALLEL_FROM:
        _rows(rows, weight, eps, into, 0, len(rows))
    else:
        _all_rows(rows, weight, eps, into)
    return out


@njit(parallel=True)
def _all_rows(x, weight, eps, out):                     # float32 [R, D], [D] or [0] -> out [R, D]
    for block in prange((len(x) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _rows(x, weight, eps, out, block * ROWS_PER_THREAD, min(len(x), (block + 1) * ROWS_PER_THREAD))


@njit(error_model="numpy", fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not
def _rows(x, weight, eps, out, start, stop):
    D = x.shape[1]
    for t in range(start, stop):
        # mean_square = mean(x * x)
        total = np.float32(0)
        for d in range(D):
            total += x[t, d] * x[t, d]
        # x * (1 / sqrt(mean_square + eps)) * weight
        scale = np.float32(1) / np.sqrt(total / np.float32(D) + np.float32(eps))
        if len(weight):
            for d in range(D):
                out[t, d] = x[t, d] * scale * weight[d]
        else:
            for d in range(D):
                out[t, d] = x[t, d] * scale
