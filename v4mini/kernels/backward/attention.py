"""Twins of the two steps between matrix products in training/backward/attention.py; the products themselves go to BLAS.

Not here: the derivation (training/backward/attention.py).
"""

import math

import numpy as np
from numba import njit, prange

from v4mini.kernels.door import expect_shape, floats, plain
from v4mini.kernels.vector import exp

LOWEST = np.int32(-(2**31))


def weigh(logits, seen, sink, scale):                   # [t, H, S], [t, S] bool, [H] -> weights [t, H, S], log_total [t, H]
    """Twin of training.backward.attention.weigh; overwrites `logits`. Threads share out tokens."""
    t, H, S = logits.shape
    expect_shape("seen", seen, t, S)
    expect_shape("sink", sink, H)
    logits, log_total = floats(logits), np.empty((t, H), np.float32)
    _weigh(logits, plain(seen, np.bool_), floats(sink), float(scale), log_total)
    return logits, log_total


def weigh_back(logits, g_p, seen, log_total, shared, scale):
    """Twin of training.backward.attention.weigh_back; overwrites `logits` and `g_p`. Threads share out tokens."""
    t, H, S = logits.shape
    for name, array in (("log_total", log_total), ("shared", shared)):
        expect_shape(name, array, t, H)
    expect_shape("seen", seen, t, S)
    expect_shape("g_p", g_p, t, H, S)
    logits, g_p = floats(logits), floats(g_p)
    _weigh_back(logits, g_p, plain(seen, np.bool_), floats(log_total), floats(shared), float(scale))
    return logits, g_p


@njit(parallel=True, cache=True)
def _weigh(logits, seen, sink, scale, log_total):
    for t in prange(len(logits)):
        for h in range(len(sink)):
            log_total[t, h] = _softmax(logits[t, h], seen[t], np.float32(scale), sink[h])


@njit(cache=True, error_model="numpy")
def _softmax(row, seen, scale, sink):                   # in place -> the logarithm of the total
    # logits = where(seen, logits * scale, -inf)
    for j in range(len(row)):
        row[j] = row[j] * scale if seen[j] else np.float32(-np.inf)
    top = _highest(row)
    top = sink if sink > top else top
    # p = exp(logits - highest) / total
    for j in range(len(row)):
        row[j] = exp(row[j] - top)
    total = exp(sink - top) + _sum(row)
    share = np.float32(1) / total
    for j in range(len(row)):
        row[j] *= share
    return np.float32(math.log(total)) + top


@njit(cache=True, error_model="numpy")
def _highest(x):
    """The largest of x, NaN above all, compared as integers that order as the numbers do: those need not go one by one."""
    best = LOWEST
    for j in range(len(x)):
        bits = np.float32(x[j]).view(np.int32)
        rank = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
        best = rank if rank > best else best
    return np.int32(best ^ ((best >> 31) & 0x7FFFFFFF)).view(np.float32)


@njit(cache=True, error_model="numpy", fastmath={"reassoc"})
def _sum(x):
    total = np.float32(0)
    for j in range(len(x)):
        total += x[j]
    return total


@njit(parallel=True, cache=True)
def _weigh_back(logits, g_p, seen, log_total, shared, scale):
    for t in prange(len(logits)):
        for h in range(logits.shape[1]):
            _row_back(logits[t, h], g_p[t, h], seen[t], log_total[t, h], shared[t, h], np.float32(scale))


@njit(cache=True, error_model="numpy")
def _row_back(p, g_p, seen, log_total, shared, scale):
    for j in range(len(p)):
        # p = exp(where(seen, logits * scale, -inf) - log_total);  g_logits = p * (g_p - shared) * scale
        p[j] = exp((p[j] * scale if seen[j] else np.float32(-np.inf)) - log_total)
        g_p[j] = p[j] * ((g_p[j] if seen[j] else np.float32(0)) - shared) * scale
