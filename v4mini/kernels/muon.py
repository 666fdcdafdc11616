"""Twin of newton_schulz in training/muon.py: each matrix stays in its core's cache through all rounds.

x x^T and its square are symmetric, so only the blocks on and above the diagonal are computed.
Not here: Muon itself (training/muon.py), float64, which runs there too.
"""

import numpy as np
from numba import njit, prange

from v4mini.kernels.door import floats
from v4mini.kernels.vector import add_products, turn

ROWS = 32                       # rows of a symmetric matrix computed at a time


def newton_schulz(matrices, rounds):                    # float32 [n, rows, columns], (a, b, c) of each round -> the same shape
    """Twin of training.muon.newton_schulz. Threads share out matrices."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = np.array(matrices.swapaxes(1, 2) if is_tall else matrices, np.float32, order="C")
    _each(x, floats(np.array(rounds)))
    return x.swapaxes(1, 2) if is_tall else x


@njit(parallel=True, cache=True)
def _each(matrices, rounds):                            # in place
    n, m, width = matrices.shape
    for i in prange(n):
        x, spare, turned = matrices[i], np.empty((m, width), np.float32), np.empty((width, m), np.float32)
        square, both = np.empty((m, m), np.float32), np.empty((m, m), np.float32)
        _scale_to_one(x)
        for a, b, c in rounds:
            # x <- a x + (b s + c s s) x, with s = x x^T
            turn(x, turned)
            _symmetric_product(x, turned, square)
            _symmetric_product(square, square, both)
            for r in range(m):
                for k in range(m):
                    both[r, k] = b * square[r, k] + c * both[r, k]
            for r in range(m):
                for k in range(width):
                    spare[r, k] = a * x[r, k]
            add_products(both, x, spare)
            for r in range(m):
                for k in range(width):
                    x[r, k] = spare[r, k]


@njit(cache=True)
def _scale_to_one(x):
    """The Frobenius norm becomes 1; the largest entry first, so that squares of tiny ones do not vanish. Zeros stay zeros."""
    largest, total = np.float32(0), np.float32(0)
    for row in x:
        for value in row:
            largest = max(largest, abs(value))
    if largest == 0:
        return
    for r in range(len(x)):
        for k in range(x.shape[1]):
            x[r, k] /= largest
            total += x[r, k] * x[r, k]
    size = np.sqrt(total)
    for r in range(len(x)):
        for k in range(x.shape[1]):
            x[r, k] /= size


@njit(cache=True)
def _symmetric_product(a, b, out):                      # [m, k] @ [k, m], known to be symmetric -> out [m, m]
    m = len(out)
    for r in range(m):
        for k in range(m):
            out[r, k] = 0
    for start in range(0, m, ROWS):
        stop = min(m, start + ROWS)
        add_products(a[start:stop], b[:, start:], out[start:stop, start:])
        for r in range(start, stop):
            for k in range(stop, m):
                out[k, r] = out[r, k]
