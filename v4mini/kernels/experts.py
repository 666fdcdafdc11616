"""Twins of ops/experts.py: clamped SwiGLU between matrix products, and tokens sorted by expert once.

The products themselves are the backend's `linear`: BLAS, or a matrix-vector product that reads packed weights.
Not here: who chose (route.py), packed weights (packed.py).
"""

import numpy as np
from numba import prange

from v4mini.kernels import packed
from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.vector import exp
from v4mini.shapes import Refused

PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves
ROWS_PER_THREAD = 16            # rows a thread takes at a time
COLUMNS_PER_THREAD = 64         # columns of the sum a thread takes at a time: no two threads meet in one number


def swiglu(gate, up, limit, weight=None):               # [T, inter] twice, [T] -> [T, inter]
    """Twin of ops.experts.swiglu; `weight` scales rows in the same pass. Threads share out rows."""
    T, inter = gate.shape
    check_shape("up", up, T, inter)
    weight = np.ones(T, np.float32) if weight is None else as_floats(weight)
    check_shape("weight", weight, T)
    out = np.empty((T, inter), np.float32)
    limit = np.float32(limit if limit > 0 else np.inf)
    if out.size < PARALLEL_FROM:
        _swiglu(as_floats(gate), as_floats(up), float(limit), weight, out, 0, T)
    else:
        _swiglu_all(as_floats(gate), as_floats(up), float(limit), weight, out)
    return out


def expert(x, w, limit, linear, weight=None):           # [T, D] -> [T, D]
    """Twin of ops.experts.expert."""
    return linear(swiglu(linear(x, w.w1), linear(x, w.w3), limit, weight), w.w2)


def experts(x, chosen, weights, pool, limit, linear):   # [T, D], [T, K] int, [T, K] -> [T, D]
    """Twin of ops.experts.experts. Threads share out columns of the sum, so a token's experts add up in a fixed order."""
    (T, D), K = x.shape, chosen.shape[1]
    check_shape("chosen", chosen, T, K)
    check_shape("weights", weights, T, K)
    y = np.zeros((T, D), np.float32)
    if not chosen.size:
        return y
    chosen, weights = as_plain(chosen, np.int64), as_floats(weights)
    if chosen.min() < 0 or chosen.max() >= len(pool):
        raise Refused(f"chosen: expected experts 0 to {len(pool) - 1}, got {chosen.min()} to {chosen.max()}.")
    starts, tokens, sorted_weights = _by_expert(chosen, weights, len(pool))
    for number in np.flatnonzero(np.diff(starts)):
        mine = slice(starts[number], starts[number + 1])
        z = expert(x[tokens[mine]], pool[number], limit, linear, sorted_weights[mine])
        run = _add_rows if z.size < PARALLEL_FROM else _add_rows_all
        run(z, tokens[mine], y)
    return y


def experts_of_one(x, chosen, weights, pool, limit, rounded):       # [1, D], [1, K] int, [1, K] -> [1, D]
    """The same for a single token, whose experts are read side by side: rounded(rows, weight) is the engine's way with inputs."""
    check_shape("weights", weights, 1, chosen.shape[1])
    order = np.argsort(chosen[0], kind="stable")
    mine = [pool[number] for number in chosen[0][order]]
    up = packed.matvecs([weight for own in mine for weight in (own.w1, own.w3)], rounded(x, mine[0].w1))       # [2 K, inter]
    hidden = swiglu(up[0::2], up[1::2], limit, weights[0][order])
    return packed.matvecs([own.w2 for own in mine], rounded(hidden, mine[0].w2)).sum(axis=0, keepdims=True)


@njit
def _by_expert(chosen, weights, E):                     # [T, K] twice -> starts [E + 1], tokens [T K], weights [T K]
    """A counting sort: expert e has tokens[starts[e]: starts[e + 1]], in rising order."""
    T, K = chosen.shape
    starts = np.zeros(E + 1, np.int64)
    for t in range(T):
        for slot in range(K):
            starts[chosen[t, slot] + 1] += 1
    for e in range(E):
        starts[e + 1] += starts[e]
    place, tokens, by_expert = starts.copy(), np.empty(T * K, np.int64), np.empty(T * K, np.float32)
    for t in range(T):
        for slot in range(K):
            e = chosen[t, slot]
            tokens[place[e]], by_expert[place[e]] = t, weights[t, slot]
            place[e] += 1
    return starts, tokens, by_expert


@njit(parallel=True)
def _add_rows_all(z, tokens, y):                        # y[tokens] += z
    for block in prange((y.shape[1] + COLUMNS_PER_THREAD - 1) // COLUMNS_PER_THREAD):
        _add_columns(z, tokens, y, block * COLUMNS_PER_THREAD, min(y.shape[1], (block + 1) * COLUMNS_PER_THREAD))


@njit
def _add_rows(z, tokens, y):
    _add_columns(z, tokens, y, 0, y.shape[1])


@njit
def _add_columns(z, tokens, y, start, stop):
    for i in range(len(tokens)):
        row, total = z[i, start:stop], y[tokens[i], start:stop]
        for d in range(stop - start):
            total[d] += row[d]


@njit(parallel=True)
def _swiglu_all(gate, up, limit, weight, out):
    for block in prange((len(gate) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _swiglu(gate, up, limit, weight, out, block * ROWS_PER_THREAD, min(len(gate), (block + 1) * ROWS_PER_THREAD))


@njit(error_model="numpy")
def _swiglu(gate, up, limit, weight, out, start, stop):  # float32 [T, inter] twice, float, [T] -> out [T, inter]
    most = np.float32(limit)
    for t in range(start, stop):
        for i in range(gate.shape[1]):
            # gate = minimum(gate, limit);  up = clip(up, -limit, limit): comparisons that let NaN pass
            g = most if gate[t, i] > most else gate[t, i]
            u = most if up[t, i] > most else -most if up[t, i] < -most else up[t, i]
            # gate / (1 + exp(-gate)) * up * weight
            out[t, i] = g / (np.float32(1) + exp(-g)) * u * weight[t]
