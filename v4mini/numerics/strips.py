"""Walk a long array in pieces that stay in the processor's cache.

A rule of ten NumPy steps reads and writes memory ten times. Done piece by piece, all but the first read and the
last write stay in the cache: two to four times faster for arrays of millions, and the same numbers.

Not here: threads; what is computed.
"""

import numpy as np

STRIP = 1 << 15      # numbers per piece: 128 KiB of float32, so that a few of them fit beside each other


def elementwise(rule, x, dtype):                        # [...] -> [...]
    """Apply `rule` ([n] -> [n], each number by itself) to `x` of any shape; the result has `dtype`."""
    flat = x.reshape(-1)
    out = np.empty(flat.shape, dtype)
    for start in range(0, flat.size, STRIP):
        out[start:start + STRIP] = rule(flat[start:start + STRIP])
    return out.reshape(x.shape)


def row_strips(rows, width):                            # -> slices that cover 0..rows
    """Slices over `rows` rows of `width` numbers, each about a strip long and at least one row."""
    step = max(1, STRIP // max(1, width))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
