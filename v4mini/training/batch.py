"""Batch: what one training step reads. Several sequences lie on one flat token axis; there is no padding.

Not here: how rows of text are chosen and cut, gradients (step.py).
"""

from dataclasses import dataclass

import numpy as np

from v4mini.shapes import Refused


@dataclass(frozen=True)
class Batch:
    """Token ids, where each sequence ends, where each token stands, and what its prediction weighs.

    weights[t] weighs the prediction of the token after t in t's own sequence; the last token of a sequence predicts none.
    Positions rise within a sequence; they may start and jump anywhere (Batch.of counts from 0), so that short rows teach
    far distances. Raises Refused for arrays that do not fit each other.
    """

    ids: np.ndarray             # [T] int64
    ends: np.ndarray            # [n] int64, rising; ends[-1] == T
    positions: np.ndarray       # [T] int64
    weights: np.ndarray         # [T] float32

    def __post_init__(self):
        for name, dtype in (("ids", np.int64), ("ends", np.int64), ("positions", np.int64), ("weights", np.float32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype))
        T = len(self.ids)
        ends = self.ends
        for name in ("ids", "positions", "weights"):
            if getattr(self, name).shape != (T,):
                raise Refused(f"batch: expected {name} [T] with T = {T}, got {list(getattr(self, name).shape)}.")
        if ends.ndim != 1 or not len(ends) or ends[-1] != T or np.diff(ends, prepend=0).min() < 1:
            raise Refused(f"batch: expected ends that rise to T = {T}, got {ends.tolist()}. Each sequence has 1 token or more.")
        if not np.isfinite(self.weights).all() or self.weights.min(initial=0) < 0:
            raise Refused("batch: expected weights of 0 or more, got a negative one or no number.")
        steps = np.diff(self.positions)
        steps[ends[:-1] - 1] = 1                        # between two sequences anything goes
        if self.positions.min(initial=0) < 0 or (steps < 1).any():
            raise Refused("batch: expected positions of 0 or more that rise within each sequence.")

    @classmethod
    def of(cls, sequences, weights=None):               # [[T1], [T2], ...] -> Batch
        """Sequences that start at position 0, each prediction of the same weight unless told otherwise."""
        lengths = [len(sequence) for sequence in sequences]
        weights = np.ones(sum(lengths)) if weights is None else np.concatenate(weights)
        return cls(np.concatenate(sequences), np.cumsum(lengths), np.concatenate([np.arange(n) for n in lengths]), weights)

    @property
    def spans(self):                                    # -> [slice, ...], one a sequence
        """Which tokens are whose."""
        return [slice(int(end) - int(n), int(end)) for end, n in zip(self.ends, np.diff(self.ends, prepend=0))]

    def after(self, distance):                          # -> tokens [n], the token `distance` later in the same sequence [n]
        """Every token that has one so far ahead, and which that is."""
        tokens = np.concatenate([np.arange(s.start, max(s.start, s.stop - distance)) for s in self.spans])
        return tokens, tokens + distance
