"""Cache: all that a sequence's past leaves behind, layer by layer.

    window       the last window_size - 1 rows                      fixed
    entries      one row per 4 (CSA) or 128 (HCA) tokens            grows
    index_keys   one row per 4 tokens (CSA)                         grows
    kv, score, index_kv, index_score    unfinished blocks           fixed, float32

Not here: what a layer does with it (layers/).
"""

import math

import numpy as np


class Cache:
    """The memory of one sequence; see layers/memory.py for what layers ask of it.

    What a call adds becomes part of the past when the call ends (`commit`); a call that was interrupted leaves no trace.
    """

    def __init__(self, config):
        self.config = config
        self.length = 0                                 # tokens
        self._kept = {}                                 # (layer, name) -> _Rows
        self._staged = {}                               # what the running call added: (layer, name) -> (rows, keep)

    def __repr__(self):
        return f"Cache of {self.length:,} tokens, {self.nbytes:,} bytes"

    @property
    def nbytes(self):
        """Bytes of the rows that the past consists of."""
        return sum(rows.filled.nbytes for rows in self._kept.values())

    def extend(self, layer, name, rows, keep=None):     # -> [kept before + n, ...]
        """See layers.memory.NoMemory.extend."""
        kept = self._kept.get((layer, name))
        if kept is None:
            kept = self._kept[layer, name] = _Rows(rows.shape[1:], rows.dtype)
        self._staged[layer, name] = len(kept) + len(rows), keep
        return kept.extended(rows)

    def commit(self, tokens):
        """The running call is done: what it added is past now."""
        for key, (count, keep) in self._staged.items():
            self._kept[key].settle(count, keep)
        self._staged.clear()
        self.length += tokens

    def abandon(self):
        """The running call was interrupted: forget what it added."""
        self._staged.clear()


class _Rows:
    """Rows in a buffer that doubles when it is full, so that adding one costs the same at any length."""

    def __init__(self, shape, dtype):
        self.buffer, self.count = np.empty((0, *shape), dtype), 0

    def __len__(self):
        return self.count

    @property
    def filled(self):
        return self.buffer[: self.count]

    def extended(self, rows):                           # -> view [count + n, ...]; count stays until settle
        stop = self.count + len(rows)
        if stop > len(self.buffer):
            room = 1 << math.ceil(math.log2(max(16, stop)))
            larger = np.empty((room, *self.buffer.shape[1:]), self.buffer.dtype)
            larger[: self.count] = self.filled
            self.buffer = larger
        self.buffer[self.count: stop] = rows
        return self.buffer[:stop]

    def settle(self, count, keep):
        if keep is not None and count > keep:           # keep the last ones: a fresh small buffer, as views may be out
            self.buffer, self.count = self.buffer[count - keep: count].copy(), keep
        else:
            self.count = count
