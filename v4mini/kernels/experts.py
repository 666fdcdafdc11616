"""Twins of ops/experts.py: clamped SwiGLU between matrix products, and tokens sorted by expert once.

The products themselves are the backend's `linear`: BLAS, or a matrix-vector product that reads packed weights.
Not here: who chose (route.py), packed weights (packed.py).
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from v4mini.kernels import blas, packed
from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.blas import TOKENS, as_many_threads, multiply, one_thread
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import in_small_chunks
from v4mini.kernels.vector import exp, floats_at
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused

PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves
ROWS_PER_THREAD = 16            # rows a thread takes at a time


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


def expert(x, w, limit, linear, bound=None):            # [T, D] -> [T, D]
    """Twin of ops.experts.expert. bound: bind((w,)), or None."""
    if bound is None or len(x) == 1:
        return linear(swiglu(linear(x, w.w1), linear(x, w.w3), limit), w.w2)
    T = len(x)
    return _dense(x, np.arange(T), np.ones(T, np.float32), np.array([0, T]), bound, limit)


def experts(x, chosen, weights, pool, limit, linear, bound=None):   # [T, D], [T, K] int, [T, K] -> [T, D]
    """Twin of ops.experts.experts. bound: bind(pool), or None. A token's experts add up in the order of their numbers."""
    (T, D), K = x.shape, chosen.shape[1]
    check_shape("chosen", chosen, T, K)
    check_shape("weights", weights, T, K)
    if not chosen.size:
        return np.zeros((T, D), np.float32)
    chosen, weights = as_plain(chosen, np.int64), as_floats(weights)
    if chosen.min() < 0 or chosen.max() >= len(pool):
        raise Refused(f"chosen: expected experts 0 to {len(pool) - 1}, got {chosen.min()} to {chosen.max()}.")
    starts, tokens, sorted_weights, places = _by_expert(chosen, weights, len(pool))
    if bound is not None:
        z = _dense(x, tokens, sorted_weights, starts, bound, limit)
    else:
        z = np.empty((T * K, D), np.float32)
        for number in np.flatnonzero(np.diff(starts)):
            mine, w = slice(starts[number], starts[number + 1]), pool[number]
            rows = x[tokens[mine]]
            z[mine] = linear(swiglu(linear(rows, w.w1), linear(rows, w.w3), limit, sorted_weights[mine]), w.w2)
    y = np.empty((T, D), np.float32)
    (_sum_slots if y.size < PARALLEL_FROM else _sum_slots_all)(z, places, y)
    return y


class Bound(NamedTuple):
    """Float32 experts of one shape, as a kernel takes them."""

    pool: tuple                 # kept alive: the addresses are of its arrays
    kept: list                  # and of these, where a weight was not as kernels want it
    addresses: np.ndarray       # uint64 [E, 3], of w1, w2, w3
    inter: int
    nbytes: int                 # of the largest weight


def bind(pool):                                         # (Expert, ...) or one -> Bound, or None: not all stay as float32
    """Done once for weights that stay. Their float32 numbers are made now where they come from fewer bits."""
    def stays(weight, shape):                           # a kind of Matrix of its own is one that comes and goes
        return type(weight) is Matrix and packed.is_dense(weight) and weight.shape == shape

    pool = pool if isinstance(pool, tuple) else (pool,)
    if not blas.addresses()[0] or not pool or not all(hasattr(own, "w1") for own in pool):
        return None
    inter, dim = pool[0].w1.shape
    shapes = (inter, dim), (dim, inter), (inter, dim)
    if not all(stays(weight, shape) for own in pool for weight, shape in zip((own.w1, own.w2, own.w3), shapes)):
        return None
    kept = [[as_floats(weight.dense()) for weight in (own.w1, own.w2, own.w3)] for own in pool]
    addresses = [[array.__array_interface__["data"][0] for array in own] for own in kept]
    return Bound(pool, kept, np.array(addresses, np.uint64), inter, 4 * inter * dim)


def _dense(x, tokens, weights, starts, bound, limit):   # rows of x by expert -> [len(tokens), D], in that order
    x, z = as_floats(x), np.empty((len(tokens), x.shape[1]), np.float32)
    limit = np.float32(limit if limit > 0 else np.inf).item()
    units = np.array([(e, first) for e in range(len(starts) - 1) for first in range(starts[e], starts[e + 1], blas.TOKENS)])
    given = blas.addresses(), x, tokens, weights, starts, units, bound.addresses, bound.inter, limit, z
    if z.size * bound.inter < blas.PARALLEL_FROM:
        _run_units(*given)
    else:
        in_small_chunks(_run_all_units, len(units), *given)
    return z


def experts_of_one(x, chosen, weights, pool, limit, rounded):       # [1, D], [1, K] int, [1, K] -> [1, D]
    """The same for a single token, whose experts are read side by side: rounded(rows, weight) is the engine's way with inputs."""
    check_shape("weights", weights, 1, chosen.shape[1])
    order = np.argsort(chosen[0], kind="stable")
    mine = [pool[number] for number in chosen[0][order]]
    up = packed.matvecs([weight for own in mine for weight in (own.w1, own.w3)], rounded(x, mine[0].w1))       # [2 K, inter]
    hidden = swiglu(up[0::2], up[1::2], limit, weights[0][order])
    return packed.matvecs([own.w2 for own in mine], rounded(hidden, mine[0].w2)).sum(axis=0, keepdims=True)


@njit
def _by_expert(chosen, weights, E):         # [T, K] twice -> starts [E + 1], tokens [T K], weights [T K], places [T, K]
    """A counting sort: expert e has tokens[starts[e]: starts[e + 1]], in rising order; places: where a token went, rising."""
    T, K = chosen.shape
    starts = np.zeros(E + 1, np.int64)
    for t in range(T):
        for slot in range(K):
            starts[chosen[t, slot] + 1] += 1
    for e in range(E):
        starts[e + 1] += starts[e]
    free, tokens, by_expert = starts.copy(), np.empty(T * K, np.int64), np.empty(T * K, np.float32)
    places = np.empty((T, K), np.int64)
    for t in range(T):
        for slot in range(K):
            place = free[chosen[t, slot]]
            tokens[place], by_expert[place] = t, weights[t, slot]
            free[chosen[t, slot]] += 1
            at = slot
            while at > 0 and places[t, at - 1] > place:
                places[t, at] = places[t, at - 1]
                at -= 1
            places[t, at] = place
    return starts, tokens, by_expert, places


@njit(parallel=True)
def _run_all_units(blas, x, tokens, weights, starts, units, addresses, inter, limit, z):
    before = one_thread(blas)
    for unit in prange(len(units)):
        _run_unit(blas, x, tokens, weights, starts, units[unit], addresses, inter, limit, z)
    as_many_threads(blas, before)


@njit
def _run_units(blas, x, tokens, weights, starts, units, addresses, inter, limit, z):
    before = one_thread(blas)
    for unit in range(len(units)):
        _run_unit(blas, x, tokens, weights, starts, units[unit], addresses, inter, limit, z)
    as_many_threads(blas, before)


@njit
def _run_unit(blas, x, tokens, weights, starts, unit, addresses, inter, limit, z):
    """z[a:b] = w2(swiglu(w1(rows), w3(rows)) * weights[a:b]), for rows tokens[a:b] of x: some tokens of one expert."""
    e, a, D = unit[0], unit[1], x.shape[1]
    b = min(a + TOKENS, starts[e + 1])
    rows, gate, up = np.empty((b - a, D), np.float32), np.empty((b - a, inter), np.float32), np.empty((b - a, inter), np.float32)
    for i in range(b - a):
        for d in range(D):
            rows[i, d] = x[tokens[a + i], d]
    multiply(blas, rows, floats_at(addresses[e, 0], inter, D), gate)
    multiply(blas, rows, floats_at(addresses[e, 2], inter, D), up)
    _swiglu(gate, up, limit, weights[a:b], gate, 0, b - a)
    multiply(blas, gate, floats_at(addresses[e, 1], D, inter), z[a:b])


@njit(parallel=True)
def _sum_slots_all(z, places, y):
    for block in prange((len(y) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _sum_slots(z, places[block * ROWS_PER_THREAD: (block + 1) * ROWS_PER_THREAD],
                   y[block * ROWS_PER_THREAD: (block + 1) * ROWS_PER_THREAD])


@njit
def _sum_slots(z, places, y):                           # y[t] = z[places[t, 0]] + z[places[t, 1]] + ..., from 0 up
    for t in range(len(y)):
        total = y[t]
        for d in range(len(total)):
            total[d] = 0
        for place in places[t]:
            row = z[place]
            for d in range(len(total)):
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
