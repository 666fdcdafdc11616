"""Twin of newton_schulz in training/muon.py: each matrix stays in its core's cache through all rounds.

A round multiplies x by a polynomial of x x^T, so the rounds can go on with x x^T alone: four small symmetric products instead of
three that are as wide as x, and x itself is met twice in all. Of a symmetric matrix only the blocks on and above the diagonal
are computed. Not here: Muon itself (training/muon.py), float64, which runs there too.
"""

import numpy as np

from v4mini.kernels.arguments import as_floats
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out
from v4mini.kernels.vector import copy, set_products, transpose

PARTS = 16                      # of a stack, at most: more allocate scratch memory more often
ROWS_PER_BLOCK = 16             # rows of a symmetric matrix computed at a time


def newton_schulz(matrices, rounds):                    # float32 [n, rows, columns], (a, b, c) of each round -> the same shape
    """Twin of training.muon.newton_schulz. Threads share out matrices."""
    out = np.empty(matrices.shape, np.float32)
    parts = min(len(matrices), PARTS)
    share_out(_some, parts, parts, as_floats(matrices), as_floats(np.array(rounds)), out)
    return out


@njit(nogil=True)
def _some(part, parts, matrices, rounds, out):          # every parts-th matrix, in one piece of scratch memory
    n, rows, columns = matrices.shape
    m, width, half = min(rows, columns), max(rows, columns), (len(rounds) + 1) // 2
    x, spare, transposed = np.empty((m, width), np.float32), np.empty((m, width), np.float32), np.empty((width, m), np.float32)
    small = np.empty((5, m, m), np.float32)
    for i in range(part, n, parts):
        if rows > columns:                              # the smaller square is cheaper
            transpose(matrices[i], x)
        else:
            copy(matrices[i], x)
        _scale_to_one(x)
        # x x^T is computed anew halfway: rounding leaves it eigenvalues below 0, and those would grow without end
        _some_rounds(x, transposed, rounds[:half], small, spare)
        _some_rounds(spare, transposed, rounds[half:], small, x)
        if rows > columns:
            transpose(x, out[i])
        else:
            copy(x, out[i])


@njit
def _some_rounds(x, transposed, rounds, small, out):    # -> out = all of p = a + b s + c s s, times x, with s = x x^T
    """All these are polynomials of one s: they are symmetric, and may be multiplied in any order."""
    m = len(x)
    square, p, both, product, spare = small[0], small[1], small[2], small[3], small[4]
    transpose(x, transposed)
    _symmetric_product(x, transposed, square)
    for n in range(len(rounds)):
        a, b, c = rounds[n]
        _symmetric_product(square, square, both)
        for r in range(m):
            for k in range(m):
                p[r, k] = b * square[r, k] + c * both[r, k]
            p[r, r] += a
        if n == 0:
            product, p = p, product
        else:
            _symmetric_product(product, p, spare)
            product, spare = spare, product
        if n + 1 < len(rounds):                         # the next x x^T: p s p
            last = product if n == 0 else p
            _symmetric_product(last, square, both)
            _symmetric_product(last, both, square)
    if len(rounds):
        set_products(product, x, out)
    else:
        copy(x, out)


@njit(error_model="numpy")
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


@njit
def _symmetric_product(a, b, out):                      # [m, k] @ [k, m], known to be symmetric -> out [m, m]
    m = len(out)
    for start in range(0, m, ROWS_PER_BLOCK):
        stop = min(m, start + ROWS_PER_BLOCK)
        set_products(a[start:stop], b[:, start:], out[start:stop, start:])
        transpose(out[start:stop, stop:], out[stop:, start:stop])
