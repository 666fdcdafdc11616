"""Twins of training/backward/norm.py, row by row. Not here: LayerNorm; V4 has none."""

import numpy as np

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out

ROWS_PER_THREAD = 64            # rows a thread takes at a time, and that add to one sum of the weight's gradient


def rms_unit(g, x, eps):                                # [..., D] twice -> g_x [..., D]
    """Twin of training.backward.norm.rms_unit. Threads share out rows."""
    return _back(g, x, np.empty(0, np.float32), eps)[0]


def rms_norm(g, x, weight, eps):                        # [..., D] twice, [D] -> g_x [..., D], g_weight [D]
    """Twin of training.backward.norm.rms_norm. Threads share out rows; every 64 rows have a sum of their own."""
    check_shape("weight", weight, x.shape[-1], hint="Is it from another config?")
    return _back(g, x, as_floats(weight), eps)


def _back(g, x, weight, eps):                           # weight [0]: none
    check_shape("g", g, *x.shape)
    D = x.shape[-1]
    rows, g_rows, g_x = as_floats(x).reshape(-1, D), as_floats(g).reshape(-1, D), np.empty(x.shape, np.float32)
    g_weight = np.zeros((-(-len(rows) // ROWS_PER_THREAD), len(weight)), np.float32)
    share_out(_rows, len(g_weight), g_rows, rows, weight, eps, g_x.reshape(-1, D), g_weight)
    return g_x, g_weight.sum(axis=0)


@njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})    # the order of a sum may change, NaN may not
def _rows(block, g, x, weight, eps, g_x, g_weight):     # float32 [R, D] twice, [D] or [0] -> g_x [R, D], g_weight [blocks, D]
    D, g_weight = x.shape[1], g_weight[block]
    for t in range(block * ROWS_PER_THREAD, min(len(x), (block + 1) * ROWS_PER_THREAD)):
        # r = 1 / sqrt(mean(x * x) + eps);  common = mean(g * weight * x)
        squares, common = np.float32(0), np.float32(0)
        if len(weight):
            for d in range(D):
                squares += x[t, d] * x[t, d]
                common += g[t, d] * weight[d] * x[t, d]
        else:
            for d in range(D):
                squares += x[t, d] * x[t, d]
                common += g[t, d] * x[t, d]
        r = np.float32(1) / np.sqrt(squares / np.float32(D) + np.float32(eps))
        # g_x = r * g * weight - x * r^3 * common
        pull = r * r * r * common / np.float32(D)
        if len(weight):
            for d in range(D):
                g_x[t, d] = r * g[t, d] * weight[d] - x[t, d] * pull
            for d in range(D):
                g_weight[d] += g[t, d] * x[t, d] * r
        else:
            for d in range(D):
                g_x[t, d] = r * g[t, d] - x[t, d] * pull
