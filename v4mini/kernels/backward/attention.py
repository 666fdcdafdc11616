"""Twins of training/backward/attention.py: a block's logits stay in one core's cache from the first product to the last.

Not here: the derivation (training/backward/attention.py).
"""

import math

import numpy as np
from numba import get_num_threads

from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out
from v4mini.kernels.vector import SIMD_WIDTH, add_products, copy, exp, highest_of, set_products, sum_of, transpose
from v4mini.shapes import Refused

NEIGHBOURS = 16                 # tokens of a block: few keys are scored in vain
TOGETHER = 32                   # blocks that keep what they add to rows and entries until all are done; it is added in order


def attend_keeping(q, rows, sink, first, scale, entries=None, picks=None, visible=None, with_weights=False):
    """Twin of training.backward.attention.attend_keeping. Threads share out blocks of tokens."""
    given, (T, H, hd) = _given(q, rows, sink, first, entries, picks, visible), q.shape
    out, log_total = np.empty((T, H, hd), np.float32), np.empty((T, H), np.float32)
    on_entries = np.zeros((T, len(entries) if with_weights else 0), np.float32)
    threads = get_num_threads()                         # later tokens see more, so blocks are dealt
    share_out(_some_blocks, threads, threads, *given, np.float32(scale), out, log_total, on_entries)
    return out, log_total, on_entries if with_weights else None


def attend(g, q, rows, sink, first, scale, entries, picks, visible, out, log_total):
    """Twin of training.backward.attention.attend. Threads share out blocks of tokens."""
    given = _given(q, rows, sink, first, entries, picks, visible)
    check_shape("g", g, *q.shape)
    check_shape("out", out, *q.shape)
    check_shape("log_total", log_total, *q.shape[:2])
    g, out, log_total = as_floats(g), as_floats(out), as_floats(log_total)
    shared = np.einsum("thd,thd->th", g, out)
    g_q, g_rows, g_entries = np.empty(q.shape, np.float32), np.zeros(rows.shape, np.float32), np.zeros_like(given[4])
    threads, most = get_num_threads(), _widest(given[3]) + len(given[4]) + SIMD_WIDTH
    asked = np.empty((TOGETHER, most, q.shape[2]), np.float32)
    counts = np.zeros((TOGETHER, 2), np.int64)          # rows and entries that a block asked something of
    for low in range(0, len(q), TOGETHER * NEIGHBOURS):
        share_out(_some_blocks_back, threads, threads, low, g, *given, np.float32(scale), log_total, shared, g_q, asked, counts)
        _add_up(low, asked, counts, g_rows, g_entries)
    return g_q, g_rows, -(np.exp(sink - log_total) * shared).sum(axis=0), None if entries is None else g_entries


def _given(q, rows, sink, first, entries, picks, visible):      # -> the same as kernels walk them; what is absent has no columns
    T, H, hd = q.shape
    check_shape("rows", rows, T, hd)
    check_shape("sink", sink, H)
    check_shape("first", first, T)
    if T and (first.min() < 0 or (first > np.arange(T)).any()):
        raise Refused(f"first: expected rows 0 to the token's own, got {first.min()} to {first.max()}.")
    entries = np.empty((0, hd), np.float32) if entries is None else as_floats(entries)
    check_shape("entries", entries, len(entries), hd)
    picks = np.empty((T, 0), np.int64) if picks is None else as_plain(picks, np.int64)
    check_shape("picks", picks, T, picks.shape[1])
    visible = np.zeros(T, np.int64) if visible is None or picks.shape[1] else np.clip(visible, 0, len(entries)).astype(np.int64)
    check_shape("visible", visible, T)
    if picks.size and not (picks.min() >= -1 and picks.max() < len(entries)):
        raise Refused(f"picks: expected -1 to {len(entries) - 1}, got {picks.min()} to {picks.max()}.")
    return as_floats(q), as_floats(rows), as_floats(sink), as_plain(first, np.int64), entries, picks, visible


@njit(nogil=True)
def _some_blocks(part, threads, q, rows, sink, first, entries, picks, visible, scale, out, log_total, on_entries):
    T, H, hd = q.shape
    keys, keys_t, seen, weights, _, _ = _scratch(_widest(first) + len(entries), H, hd)
    for start in range(part * NEIGHBOURS, T, threads * NEIGHBOURS):
        some = slice(start, min(T, start + NEIGHBOURS))
        R = (some.stop - start) * H
        near, S = _keys_of(rows, first, entries, picks, visible, start, some.stop, keys, keys_t, seen)
        _block(q[some], keys[:S], keys_t[: hd * S].reshape(hd, S), seen[:, :S], near, sink, scale, weights[: R * S].reshape(R, S),
               out[some], log_total[some], on_entries[some])


@njit
def _widest(first):                                     # rows that a block's windows reach over, at most
    T, width = len(first), 0
    for start in range(0, T, NEIGHBOURS):
        width = max(width, min(T, start + NEIGHBOURS) - first[start])
    return width


@njit
def _scratch(S, H, hd):                                 # for one thread: keys, keys_t, seen, and three times a block's logits
    S = (S + SIMD_WIDTH - 1) // SIMD_WIDTH * SIMD_WIDTH
    size = NEIGHBOURS * H * S
    return (np.empty((S, hd), np.float32), np.empty(S * hd, np.float32), np.empty((NEIGHBOURS, S), np.bool_),
            np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, np.float32))


@njit
def _keys_of(rows, first, entries, picks, visible, start, stop, keys, keys_t, seen):    # -> how many are window rows, S
    """All keys that any token of start..stop sees: keys [S, hd], their transpose, and who sees which, seen [t, S].

    S is rounded up to whole vectors, with keys of zeros that nobody sees.
    """
    hd, width, n = rows.shape[1], stop - first[start], 0
    for token in range(start, stop):
        n = max(n, visible[token])
        for pick in picks[token]:
            n = max(n, pick + 1)
    S = (width + n + SIMD_WIDTH - 1) // SIMD_WIDTH * SIMD_WIDTH
    for d in range(hd):
        for s in range(width + n, S):
            keys[s, d] = 0
    copy(rows[first[start]: stop], keys[:width])
    copy(entries[:n], keys[width: width + n])
    transpose(keys[:S], keys_t[: hd * S].reshape(hd, S))
    for i in range(stop - start):
        token, sees = start + i, seen[i]
        for s in range(width):
            sees[s] = first[token] <= first[start] + s <= token
        for e in range(S - width):
            sees[width + e] = e < visible[token]
        for pick in picks[token]:
            if pick >= 0:
                sees[width + pick] = True
    return width, S


@njit
def _block(q, keys, keys_t, seen, width, sink, scale, weights, out, log_total, on_entries):
    """q [t, H, hd] meets keys [S, hd] -> weights [t H, S], out, log_total [t, H], and on_entries [t, n] grows."""
    t, H, hd = q.shape
    set_products(q.reshape(t * H, hd), keys_t, weights)
    for i in range(t):
        for h in range(H):
            row = weights[i * H + h]
            log_total[i, h] = _softmax(row, seen[i], scale, sink[h])
            for e in range(min(on_entries.shape[1], len(keys) - width)):
                on_entries[i, e] += row[width + e]
    set_products(weights, keys, out.reshape(t * H, hd))


@njit(error_model="numpy")
def _softmax(row, seen, scale, sink):                   # in place -> the logarithm of the total
    # logits = where(seen, logits * scale, -inf)
    for j in range(len(row)):
        row[j] = row[j] * scale if seen[j] else np.float32(-np.inf)
    top = highest_of(row, len(row))
    top = sink if sink > top else top
    # p = exp(logits - highest) / total
    for j in range(len(row)):
        row[j] = exp(row[j] - top)
    total = exp(sink - top) + sum_of(row, len(row))
    share = np.float32(1) / total
    for j in range(len(row)):
        row[j] *= share
    return np.float32(math.log(total)) + top


@njit(nogil=True)
def _some_blocks_back(part, threads, low, g, q, rows, sink, first, entries, picks, visible, scale, log_total, shared, g_q, asked,
                      counts):
    (T, H, hd), N = q.shape, len(entries)
    high = min(T, low + TOGETHER * NEIGHBOURS)
    keys, keys_t, seen, p, g_logits, across = _scratch(_widest(first) + N, H, hd)
    for start in range(low + part * NEIGHBOURS, high, threads * NEIGHBOURS):
        some, block = slice(start, min(T, start + NEIGHBOURS)), start // NEIGHBOURS % TOGETHER
        R = (some.stop - start) * H
        near, S = _keys_of(rows, first, entries, picks, visible, start, some.stop, keys, keys_t, seen)
        counts[block, 0], counts[block, 1] = near, min(N, S - near)
        _block_back(g[some].reshape(R, hd), q[some].reshape(R, hd), H, keys[:S], keys_t[: hd * S].reshape(hd, S), seen, scale,
                    log_total[some].reshape(R), shared[some].reshape(R), p[: R * S].reshape(R, S),
                    g_logits[: R * S].reshape(R, S), across[: R * S].reshape(S, R), g_q[some].reshape(R, hd), asked[block, :S])


@njit
def _add_up(low, asked, counts, g_rows, g_entries):     # what the blocks from token `low` on asked, in their order
    T = len(g_rows)
    for start in range(low, min(T, low + TOGETHER * NEIGHBOURS), NEIGHBOURS):
        block, stop = (start - low) // NEIGHBOURS, min(T, start + NEIGHBOURS)
        near, n = counts[block]
        _add(asked[block, :near], g_rows[stop - near: stop])
        _add(asked[block, near: near + n], g_entries[:n])


@njit
def _add(x, total):
    for i in range(len(x)):
        for d in range(x.shape[1]):
            total[i, d] += x[i, d]


@njit
def _block_back(g, q, heads, keys, keys_t, seen, scale, log_total, shared, p, g_logits, across, g_q, g_keys):
    """Tokens and heads are R rows of q and g [R, hd] -> g_q [R, hd], and what they ask of their keys: g_keys [S, hd]."""
    set_products(q, keys_t, p)
    set_products(g, keys_t, g_logits)
    for r in range(len(q)):
        _row_back(p[r], g_logits[r], seen[r // heads], log_total[r], shared[r], scale)
    # g_q = g_logits @ keys;  g_keys = g_logits.T @ q + p.T @ g
    set_products(g_logits, keys, g_q)
    transpose(g_logits, across)
    set_products(across, q, g_keys)
    transpose(p, across)
    add_products(across, g, g_keys)


@njit(error_model="numpy")
def _row_back(p, g_p, seen, log_total, shared, scale):
    for j in range(len(p)):
        # p = exp(where(seen, logits * scale, -inf) - log_total);  g_logits = p * (g_p - shared) * scale
        p[j] = exp((p[j] * scale if seen[j] else np.float32(-np.inf)) - log_total)
        g_p[j] = p[j] * ((g_p[j] if seen[j] else np.float32(0)) - shared) * scale
