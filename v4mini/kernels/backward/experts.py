"""Twin of the step between matrix products in training/backward/experts.py. Not here: the products (BLAS), the derivation."""

import numpy as np
from numba import njit, prange

from v4mini.kernels.door import expect_shape, floats
from v4mini.kernels.vector import exp

ROWS = 16                       # rows a thread takes at a time


def swiglu(g, gate, up, limit, weight):                 # [n, inter] three times, [n] -> g_gate, g_up, g_weight [n]
    """Twin of training.backward.experts.swiglu. Threads share out rows."""
    n, inter = gate.shape
    for name, array in (("g", g), ("up", up)):
        expect_shape(name, array, n, inter)
    expect_shape("weight", weight, n)
    g_gate, g_up, g_weight = np.empty((n, inter), np.float32), np.empty((n, inter), np.float32), np.empty(n, np.float32)
    limit = float(limit) if limit > 0 else np.inf
    _all_rows(floats(g), floats(gate), floats(up), limit, floats(weight), g_gate, g_up, g_weight)
    return g_gate, g_up, g_weight


@njit(parallel=True, cache=True)
def _all_rows(g, gate, up, limit, weight, g_gate, g_up, g_weight):
    for block in prange((len(g) + ROWS - 1) // ROWS):
        for t in range(block * ROWS, min(len(g), (block + 1) * ROWS)):
            g_weight[t] = _row(g[t], gate[t], up[t], np.float32(limit), weight[t], g_gate[t], g_up[t])


@njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})   # the order of the sum may change, NaN may not
def _row(g, gate, up, most, weight, g_gate, g_up):      # -> g_weight
    one, total = np.float32(1), np.float32(0)
    for i in range(len(g)):
        # a = minimum(gate, limit);  b = clip(up, -limit, limit);  s = a * sigma(a)
        a = most if gate[i] > most else gate[i]
        b = most if up[i] > most else -most if up[i] < -most else up[i]
        sigma = one / (one + exp(-a))
        s, g_hidden = a * sigma, g[i] * weight
        # nothing comes back through what was cut
        g_gate[i] = np.float32(0) if gate[i] > most else g_hidden * b * sigma * (one + a * (one - sigma))
        g_up[i] = np.float32(0) if up[i] > most or up[i] < -most else g_hidden * s
        total += g[i] * s * b
    return total
