"""Twin of ops/compress.py: pooling tokens into entries. What a query may see (visible) has no loop worth a kernel.

Not here: the norm, rotation and rounding that follow (layers/compressor.py).
"""

import numpy as np
from numba import prange

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import in_small_chunks
from v4mini.kernels.vector import exp
from v4mini.shapes import Refused

PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves
ENTRIES_PER_THREAD = 16         # entries a thread takes at a time


def compress(kv, score, ape, ratio, previous=None, overlap=False):      # [n * ratio, C] twice, [ratio, C] -> [n, D]
    """Twin of ops.compress.compress. Threads share out entries; nothing is concatenated."""
    T, C = kv.shape
    check_shape("score", score, T, C)
    check_shape("ape", ape, ratio, C, hint="Is it another layer's?")
    if T % ratio or (overlap and C % 2):
        raise Refused(f"compress: expected whole blocks of {ratio} tokens and two halves of channels, got {list(kv.shape)}.")
    n, D = T // ratio, C // 2 if overlap else C
    out = np.empty((n, D), np.float32)
    if not overlap or previous is None:
        previous = np.empty((2, 0, C), np.float32)
    before_kv, before_score = (as_floats(part) for part in previous)
    if len(before_kv):
        check_shape("previous kv", before_kv, ratio, C)
        check_shape("previous score", before_score, ratio, C)
    given = as_floats(kv), as_floats(score), as_floats(ape), before_kv, before_score
    if kv.size < PARALLEL_FROM:
        _pool(0, n, *given, out)
    else:
        units = -(-n // ENTRIES_PER_THREAD)
        in_small_chunks(_pool_all, units, units, ENTRIES_PER_THREAD, *given, out)
    return out


@njit(parallel=True)
def _pool_all(units, size, kv, score, ape, before_kv, before_score, out):
    for unit in prange(units):
        _pool(np.int64(unit), size, kv, score, ape, before_kv, before_score, out)


@njit(error_model="numpy")
def _pool(part, size, kv, score, ape, before_kv, before_score, out):
    """`size` entries. float32 kv, score [n * ratio, C], ape [ratio, C], before_ [ratio or 0, C] -> their rows of out [n, D]"""
    ratio, D = len(ape), out.shape[1]
    own = kv.shape[1] - D                               # where the columns begin that an entry pools of its own block
    highest, total = np.empty(D, np.float32), np.empty(D, np.float32)
    zero = np.int64(0)                                  # a bare 0 would be a type of its own to Numba
    for i in range(part * size, min(len(out), (part + 1) * size)):
        for d in range(D):
            highest[d], total[d], out[i, d] = -np.inf, 0, 0
        # score.max(axis=1), over the first columns of the block before and the last of its own
        if own and i > 0:
            _raise(score, (i - 1) * ratio, ape, zero, highest)
        elif own and len(before_score):
            _raise(before_score, zero, ape, zero, highest)
        _raise(score, i * ratio, ape, own, highest)
        # weight = exp(score - max);  sum(weight * kv), sum(weight)
        if own and i > 0:
            _add(kv, score, (i - 1) * ratio, ape, zero, highest, total, out[i])
        elif own and len(before_score):
            _add(before_kv, before_score, zero, ape, zero, highest, total, out[i])
        _add(kv, score, i * ratio, ape, own, highest, total, out[i])
        for d in range(D):
            out[i, d] /= total[d]


@njit
def _raise(score, first, ape, column, highest):
    for t in range(len(ape)):
        scores, places = score[first + t, column:], ape[t, column:]
        for d in range(len(highest)):
            logit = scores[d] + places[d]
            highest[d] = logit if logit > highest[d] else highest[d]


@njit(fastmath={"contract"})
def _add(kv, score, first, ape, column, highest, total, out):
    for t in range(len(ape)):
        scores, places, values = score[first + t, column:], ape[t, column:], kv[first + t, column:]
        for d in range(len(out)):
            weight = exp(scores[d] + places[d] - highest[d])
            total[d] += weight
            out[d] += weight * values[d]
