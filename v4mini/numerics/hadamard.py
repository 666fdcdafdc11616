"""The Walsh-Hadamard transform: a rotation made of additions and subtractions only.

It spreads a single large entry over the whole row, so that four bits can follow. A dot product of two rotated rows
is that of the rows themselves; the indexer rotates both queries and keys, and only its rounding changes.

Not here: the rounding (blocks.round_index).
"""

import numpy as np

from v4mini.numerics.strips import row_strips
from v4mini.shapes import Refused


def hadamard(x):                                        # float32 [..., d] -> float32 [..., d]
    """Multiply each row by the orthonormal Hadamard matrix, d a power of two; twice gives the row back.

    Entry (i, j) of the matrix is (-1)^(number of ones in i & j) / sqrt(d). Each round of butterflies replaces
    a and b, `apart` places apart, by a + b and a - b: d log2(d) additions instead of d^2.
    Source: reference inference/model.py, rotate_activation (scale d^-0.5); V4 report, lightning indexer.
    """
    x = np.asarray(x, np.float32)
    d = x.shape[-1]
    if d < 1 or d & (d - 1):
        raise Refused(f"hadamard: the last axis must be a power of two, got {d}. The released indexer has 128.")
    rows = x.reshape(x.size // d, d)
    out = np.empty_like(rows)
    for strip in row_strips(*rows.shape):
        columns = rows[strip].T.copy()                  # [d, n]: a butterfly joins two long lines, whatever is apart
        _butterflies(columns)
        np.multiply(columns.T, np.float32(d**-0.5), out=out[strip])
    return out.reshape(x.shape)


def _butterflies(columns):                              # float32 [d, n], in place
    d, n = columns.shape
    apart = 1
    while apart < d:
        pairs = columns.reshape(d // (2 * apart), 2, apart, n)
        a, b = pairs[:, 0], pairs[:, 1]
        difference = a - b
        a += b
        b[...] = difference
        apart *= 2
