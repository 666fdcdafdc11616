"""Twin of training/backward/compress.py: an entry's weights once more, then each of its slots.

Not here: the derivation (training/backward/compress.py).
"""

import numpy as np

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out
from v4mini.kernels.vector import exp

ENTRIES_PER_THREAD = 16         # entries a thread takes at a time


def compress(g, kv, score, ratio, overlap=False):       # [n, D], [n ratio, C] twice -> g_kv, g_score [n ratio, C]
    """Twin of training.backward.compress.compress. Threads share out entries; no two of them read the same columns of a token."""
    n, C = len(g), kv.shape[1]
    check_shape("g", g, n, C // 2 if overlap else C)
    for name, array in (("kv", kv), ("score", score)):
        check_shape(name, array, n * ratio, C)
    g_kv, g_score = np.zeros((2, n * ratio, C), np.float32)
    share_out(_entries, -(-n // ENTRIES_PER_THREAD), as_floats(g), as_floats(kv), as_floats(score), ratio, g_kv, g_score)
    return g_kv, g_score


@njit(nogil=True)
def _entries(block, g, kv, score, ratio, g_kv, g_score):        # float32 [n, D], [n ratio, C] four times
    for i in range(block * ENTRIES_PER_THREAD, min(len(g), (block + 1) * ENTRIES_PER_THREAD)):
        _entry(g, kv, score, ratio, g_kv, g_score, i)


@njit(error_model="numpy")
def _entry(g, kv, score, ratio, g_kv, g_score, i):
    D = g.shape[1]
    own = kv.shape[1] - D                               # where the columns begin that an entry pools of its own block
    start, first = i * ratio, (i - 1) * ratio if own and i > 0 else i * ratio
    highest, total, row = np.full(D, -np.inf, np.float32), np.zeros(D, np.float32), np.zeros(D, np.float32)
    for t in range(first, start + ratio):
        scores = score[t, own if t >= start else 0:]
        for d in range(D):
            highest[d] = scores[d] if scores[d] > highest[d] else highest[d]
    # p = exp(score - max);  row = sum(p * kv) / sum(p)
    for t in range(first, start + ratio):
        column = own if t >= start else 0
        scores, values, p = score[t, column:], kv[t, column:], g_kv[t, column:]
        for d in range(D):
            p[d] = exp(scores[d] - highest[d])
            total[d] += p[d]
            row[d] += p[d] * values[d]
    for d in range(D):
        row[d] /= total[d]
    # g_kv = p * g;  g_score = g_kv * (kv - row)
    for t in range(first, start + ratio):
        column = own if t >= start else 0
        values, p, back = kv[t, column:], g_kv[t, column:], g_score[t, column:]
        for d in range(D):
            p[d] *= g[i, d] / total[d]
            back[d] = p[d] * (values[d] - row[d])
