"""Sequences on the flat token axis: whose token is whose, where each stands, what it may read. Made once a pass for all layers.

A layer works with two things: the Memory of each sequence (what its past left behind), and Sequences (what follows from positions
alone). Both hold integers of the host, unless a memory keeps count on a device; layers hand them on to operations as they come.
Not here: memory that lasts (inference/cache.py).
"""

from typing import NamedTuple

import numpy as np

from v4mini.ops.attention import window_starts
from v4mini.ops.compress import visible


class Memory:
    """The past of one sequence, as layers and Sequences use it. Whoever keeps rows implements `length` and `extend`."""

    length = 0                  # tokens before this call

    def extend(self, layer, name, rows):                # [n, ...] -> [kept before + n, ...]
        """Append rows to those kept under (layer, name); give back old and new together.

        Names: "window", "entries", "index_keys", and of unfinished blocks "kv", "score", "index_kv", "index_score". Kept are as
        many as the next call needs: window_size - 1 rows of the window, the unfinished block (in CSA the one before it too),
        all entries and keys.
        """
        raise NotImplementedError

    def positions(self, tokens):                        # int -> [tokens] int
        """Where the tokens of this call stand, for their rotations."""
        return np.arange(self.length, self.length + tokens)

    def block_positions(self, first, last, ratio):      # -> [last - first] int
        """Where the first token of each of these blocks stands; block 0 is the sequence's first `ratio` tokens."""
        return np.arange(first, last) * ratio

    def window_starts(self, tokens, window):            # -> [tokens] int
        """The row where each token's window begins, among those that extend(layer, "window", ...) gives."""
        return window_starts(tokens, min(self.length, window - 1) + tokens, window)

    def visible(self, tokens, ratio):                   # -> [tokens] int
        """How many entries of `ratio` tokens each token of this call may read."""
        return visible(np.arange(self.length, self.length + tokens), ratio)


class NoMemory(Memory):
    """A sequence that starts here and is forgotten afterwards."""

    def extend(self, layer, name, rows):                # -> rows
        """Nothing was before."""
        return rows


class Part(NamedTuple):
    """One sequence of a pass: n tokens, of which the last a are query tokens (their output is wanted)."""

    tokens: slice               # its n of the T tokens
    memory: Memory
    queries: slice              # its a of the A query tokens
    first: np.ndarray           # [a], the row where the window of each begins
    visible: dict               # {ratio: [a]}, how many entries each may read


class Sequences:
    """The sequences of one pass. vLLM has the same: metadata of a batch, shared by all layers.

    pairs: [(slice of the T tokens, that sequence's Memory)]. logits_to_keep: only the last so many tokens of each sequence are
    query tokens, A in all (None: all T); the others are read, no more.
    """

    def __init__(self, config, pairs, logits_to_keep=None):
        self.config, self.pairs = config, list(pairs)
        ratios = sorted({*config.compress_ratios} - {0})
        positions, query_positions, query_rows, self.parts, end = [], [], [], [], 0
        for span, memory in self.pairs:
            n = span.stop - span.start
            a = n if logits_to_keep is None else min(logits_to_keep, n)
            at, starts = memory.positions(n), memory.window_starts(n, config.window_size)
            seen = {ratio: _last(memory.visible(n, ratio), a) for ratio in ratios}
            positions.append(at)
            query_positions.append(_last(at, a))
            query_rows.append(np.arange(span.stop - a, span.stop))
            self.parts.append(Part(span, memory, slice(end, end + a), _last(starts, a), seen))
            end += a
        self.positions, self.query_positions = _joined(positions), _joined(query_positions)     # [T], [A]
        self.query_rows = None if end == len(self.positions) else _joined(query_rows)           # [A], which of the T; None: all

    @classmethod
    def alone(cls, config, tokens, memory=None):        # -> Sequences
        """One sequence of so many tokens; without a memory nothing is before it."""
        return cls(config, [(slice(0, tokens), memory or NoMemory())])

    def keeping(self, logits_to_keep):                  # -> Sequences
        """The same tokens, of which only the last so many of each sequence are query tokens."""
        if logits_to_keep is None or all(span.stop - span.start <= logits_to_keep for span, _ in self.pairs):
            return self
        return Sequences(self.config, self.pairs, logits_to_keep)

    def of_queries(self, ops, x):                       # [T, ...] -> [A, ...]
        """The rows of the query tokens."""
        return x if self.query_rows is None else ops.take(x, self.query_rows)


def _last(array, count):
    return array if len(array) == count else array[len(array) - count:]


def _joined(arrays):
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
