"""Twin of ops/attention.py: keys are read in tiles, and the softmax is corrected when a larger logit is met.

No array of tokens x entries exists at any time. The weights for traces stay with the op (attention_weights).
Not here: projections and rotation (layers/attention.py).
"""

import numpy as np
from numba import get_num_threads, prange

from v4mini.kernels.arguments import as_floats, as_plain, bounds, check_shape, clipped
from v4mini.kernels.compiled import njit
from v4mini.kernels.vector import SIMD_WIDTH, add_products, exp, highest_of, sum_of, transpose
from v4mini.shapes import Refused

TOKENS_PER_TILE = 16            # neighbours that share the keys of a tile
TILE = 160                      # keys at a time: TOKENS - 1 + a window of 128 fit in one; rows a power of two apart would meet
                                # in few sets of the cache
PARALLEL_FROM = 1 << 22         # multiply-adds: below, waking a second thread costs more than it saves


def attend(q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):       # -> [T, H, hd]
    """Twin of ops.attention.attend. Threads share out tokens, or the heads of few tokens.

    entries may be any store with shape and rows by index (slices, int arrays) that give float32, such as a bf16 cache.
    """
    T, H, hd = q.shape
    check_shape("sink", sink, H, hint="Is it from another config?")
    if rows.shape[1:] != (hd,) or len(rows) < T:
        raise Refused(f"rows: expected [S, {hd}] with S at least {T}, got {list(rows.shape)}. The last {T} are the tokens' own.")
    if window < 1:
        raise Refused(f"window: expected at least 1, got {window}. A token sees itself.")
    first = as_plain(first, np.int64)
    check_shape("first", first, T, hint="One row for each token: where its window begins.")
    entries, picks, visible = _far(T, hd, entries, picks, visible)
    out = np.empty((T, H, hd), np.float32)
    if not out.size:
        return out
    inputs = as_floats(q), as_floats(rows), first, as_floats(sink), window, np.float32(scale).item(), entries, picks, visible
    if q.size * (window + picks.shape[1] + len(entries) * (picks.size == 0)) < PARALLEL_FROM:
        _attend_block(*inputs, 0, T, 0, H, out)
    else:
        parts = max(1, min(-(-get_num_threads() // -(-T // TOKENS_PER_TILE)), -(-H // 4)))  # of the heads
        _attend(*inputs, parts, out)
    return out


def _far(T, hd, entries, picks, visible):               # what is beyond the window, as [N, hd], [T, K], [T]
    if entries is None:
        return np.empty((0, hd), np.float32), np.empty((T, 0), np.int64), np.zeros(T, np.int64)
    if tuple(entries.shape[1:]) != (hd,):
        raise Refused(f"entries: expected rows of {hd} numbers, got shape {list(entries.shape)}. Are they another layer's?")
    N = entries.shape[0]
    if picks is not None:
        picks = as_plain(picks, np.int64)
        check_shape("picks", picks, T, *picks.shape[1:2])
        low, high = bounds(picks)
        if low < -1 or high >= N:
            raise Refused(f"picks: expected -1 to {N - 1}, got {low} to {high}. Are they another layer's?")
        entries, picks = _decoded_picks(entries, picks)
        return entries, picks, np.zeros(T, np.int64)
    check_shape("visible", visible, T)
    visible, most = clipped(as_plain(visible, np.int64), N)
    return as_floats(entries[:most]), np.empty((T, 0), np.int64), visible


def _decoded_picks(entries, picks):                     # a store gives the picked rows only
    if isinstance(entries, np.ndarray):
        return as_floats(entries), picks
    ids, place = np.unique(picks, return_inverse=True)
    none = int(len(ids) > 0 and ids[0] < 0)             # -1 sorts first and stays -1
    return as_floats(entries[ids[none:]]), as_plain(place.reshape(picks.shape) - none, np.int64)


@njit(parallel=True)
def _attend(q, rows, first, sink, window, scale, entries, picks, visible, parts, out):
    T, H, _ = q.shape
    blocks = (T + TOKENS_PER_TILE - 1) // TOKENS_PER_TILE
    for unit in prange(blocks * parts):
        # later tokens see more entries: taking blocks alternately from both ends gives each thread as much
        block, part = unit // parts, unit % parts
        block = block // 2 if block % 2 == 0 else blocks - 1 - block // 2
        a, b = block * TOKENS_PER_TILE, min(T, (block + 1) * TOKENS_PER_TILE)
        low, high = H * part // parts, H * (part + 1) // parts
        _attend_block(q, rows, first, sink, window, scale, entries, picks, visible, a, b, low, high, out)


@njit(error_model="numpy")
def _attend_block(q, rows, first, sink, window, scale, entries, picks, visible, start, stop, low, high, out):
    """Tokens start..stop, heads low..high of: float32 q [T, H, hd], rows [P + T, hd], sink [H], entries [N, hd],
    int64 first [T], picks [T, K], visible [T] -> out [T, H, hd]
    """
    T, _, hd = q.shape
    K = picks.shape[1]
    highest, total = np.empty((T, high - low), np.float32), np.empty((T, high - low), np.float32)
    keys_t, logits = np.zeros((hd, TILE), np.float32), np.empty((high - low, TILE), np.float32)
    span, picked = np.empty((T, 2), np.int64), np.empty((K, hd), np.float32)
    for t in range(start, stop):
        span[t, 1] = len(rows) - T + t + 1              # the window, up to the token's own row
        span[t, 0] = max(0, first[t], span[t, 1] - window)
        for h in range(high - low):
            highest[t, h], total[t, h] = sink[low + h], 1           # the sink's logit, exp(0)
        for h in range(low, high):
            for d in range(hd):
                out[t, h, d] = 0
    _attend_span(q, rows, span, start, stop, low, high, scale, keys_t, logits, highest, total, out)
    for t in range(start, stop):
        span[t, 0], span[t, 1] = 0, visible[t]
        if K:
            span[t, 1] = _gather(entries, picks[t], picked)
            _attend_span(q, picked, span, t, t + 1, low, high, scale, keys_t, logits, highest, total, out)
    if not K:
        _attend_span(q, entries, span, start, stop, low, high, scale, keys_t, logits, highest, total, out)
    for t in range(start, stop):
        for h in range(low, high):
            for d in range(hd):
                out[t, h, d] /= total[t, h - low]


@njit
def _gather(entries, picks, picked):                    # entries[picks] without -1 -> picked [:n], n
    n = 0
    for pick in picks:
        if pick >= 0:
            for d in range(entries.shape[1]):
                picked[n, d] = entries[pick, d]
            n += 1
    return n


@njit
def _attend_span(q, keys, span, start, stop, low, high, scale, keys_t, logits, highest, total, sums):
    """Add keys span[t, 0] .. span[t, 1] - 1 to the softmax of each token t of start..stop, heads low..high."""
    first, last = span[start, 0], span[start, 1]
    for t in range(start, stop):
        first, last = min(first, span[t, 0]), max(last, span[t, 1])
    for tile in range(first, last, TILE):
        end = min(tile + TILE, last)
        transpose(keys[tile:end], keys_t)
        for t in range(start, stop):
            a, b = max(tile, span[t, 0]), min(end, span[t, 1])
            if a < b:
                _add_keys(q[t, low:high], keys_t, a - tile, keys[a:b], scale, logits, highest[t], total[t], sums[t, low:high])


@njit(fastmath={"contract"})
def _add_keys(q, keys_t, first, keys, scale, logits, highest, total, sums):
    """One token: q [H, hd] meets n keys, transposed in keys_t[:, first: first + n]. highest, total [H] and sums [H, hd] grow."""
    H, n = len(q), len(keys)
    full = min((n + SIMD_WIDTH - 1) // SIMD_WIDTH * SIMD_WIDTH, TILE - first)  # whole vectors; what is beyond n is not looked at
    # logits = q @ keys.T * scale
    for h in range(H):
        for j in range(full):
            logits[h, j] = np.float32(0)
    add_products(q, keys_t[:, first: first + full], logits[:, :full])
    for h in range(H):
        row = logits[h]
        for j in range(n):
            row[j] *= np.float32(scale)
        # when a larger logit is met, what was summed so far shrinks
        top = highest_of(row, n)
        top = highest[h] if highest[h] > top else top
        shrink = exp(highest[h] - top)
        # weights = exp(logits - highest)
        for j in range(n):
            row[j] = exp(row[j] - top)
        highest[h], total[h] = top, total[h] * shrink + sum_of(row, n)
        for d in range(sums.shape[1]):
            sums[h, d] *= shrink
    # sums += weights @ keys
    add_products(logits[:, :n], keys, sums)
