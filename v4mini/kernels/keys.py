"""Index keys as the Numba engine keeps them: float32, and beside it the eight-bit codes that bounds.py reads.

Codes are made when they are first wanted, and once: a text that grows by a key adds a key's codes. They are scratch of this
engine, not part of the cache: a file holds float32 rows, and Cache.nbytes counts those.
Not here: what a code is (bounds.py).
"""

import numpy as np
from numba import prange

from v4mini.kernels import bounds
from v4mini.kernels.compiled import njit
from v4mini.numerics.rows import Float32, Rows

PARALLEL_FROM = 1 << 12         # keys: below, waking a second thread costs more than it saves
NO_CODES = np.empty((0, 1, 2, bounds.GROUP, 4), np.uint8), np.empty((0, 3, bounds.GROUP), np.float32)


class Codes:
    """Of the first `done` rows of an array that grows: uint8 [groups, steps, 2, 8, 4] and float32 [groups, 3, 8]."""

    def __init__(self, rows):
        groups, steps = -(-len(rows) // bounds.GROUP), -(-rows.shape[1] // bounds.STEP)
        self.rows, self.done = rows, 0
        self.codes = np.empty((groups, steps, 2, bounds.GROUP, 4), np.uint8)
        self.lengths = np.empty((groups, 3, bounds.GROUP), np.float32)

    def upto(self, count):                              # -> codes, lengths, which hold at least the first `count`
        """Encode what is missing. Lanes behind the last key hold anything: nobody asks for those keys."""
        run = _encode if count - self.done < PARALLEL_FROM else _encode_all
        if self.done < count:
            run(self.rows, self.done, count, self.codes, self.lengths)
            self.done = count
        return self.codes, self.lengths


@njit
def _encode(rows, start, stop, codes, lengths):
    bounds.encode_keys(rows, start, stop, codes, lengths)


@njit(parallel=True)
def _encode_all(rows, start, stop, codes, lengths):     # a group's bytes are written by one thread
    for group in prange(start // bounds.GROUP, (stop + bounds.GROUP - 1) // bounds.GROUP):
        bounds.encode_keys(rows, max(start, group * bounds.GROUP), min(stop, (group + 1) * bounds.GROUP), codes, lengths)


class KeyRows:
    """A float32 array [N, di] and its Codes. A slice from the start has both; any other gives float32 rows alone."""

    dtype, ndim = np.dtype(np.float32), 2

    def __init__(self, rows, codes):
        self.rows, self.codes = rows, codes

    shape = property(lambda self: self.rows.shape)
    nbytes = property(lambda self: self.rows.nbytes)
    T = property(lambda self: self.rows.T)

    def __len__(self):
        return len(self.rows)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.rows, dtype) if copy else self.rows.astype(dtype or np.float32, copy=False)

    def __getitem__(self, which):
        rows = self.rows[which]
        from_start = isinstance(which, slice) and not which.start and which.step in (None, 1)
        return KeyRows(rows, self.codes) if from_start else rows

    def __setitem__(self, which, rows):                 # a slice; codes from there on are of other rows now
        self.rows[which] = rows.rows if isinstance(rows, KeyRows) else rows
        self.codes.done = min(self.codes.done, which.indices(len(self.rows))[0])


class Keys(Float32):
    """The format of such rows: Float32, in memory."""

    def empty(self, count):                             # -> KeyRows
        """Codes are as long as the rows and cost nothing either before they are written."""
        rows = super().empty(count)
        return KeyRows(rows, Codes(rows))

    def copy(self, codes):                              # -> KeyRows that share nothing with these
        copy = self.empty(len(codes))
        copy[:] = codes
        return copy

    def decode(self, codes):                            # -> float32
        return codes.rows if isinstance(codes, KeyRows) else codes

    def joined(self, pieces):                           # -> KeyRows, array or Rows
        return pieces[0] if len(pieces) == 1 else Rows(self, pieces)

    def to_host(self, codes):
        return self.decode(codes)


def pieces_of(keys):                                    # array, KeyRows or Rows -> [piece, ...] of them, one after the other
    """What can be read without decoding. Else Rows as they are."""
    return keys.pieces if isinstance(keys, Rows) and isinstance(keys.format, Keys) else [keys]
