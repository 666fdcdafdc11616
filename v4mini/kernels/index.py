"""Twin of ops/index.py: score and selection in one pass over the keys; no array of tokens x entries exists at any time.

A token keeps the candidates it has met, up to 2k and a tile of them, in the order of the entries. When they grow too many, the
k-th best score becomes the bar that later entries must pass, and those below it are dropped.
Not here: attention itself (attention.py).
"""

import numpy as np
from numba import get_num_threads, prange

from v4mini.kernels.arguments import as_floats, as_plain, check_shape, clipped
from v4mini.kernels.compiled import njit
from v4mini.kernels.vector import SIMD_WIDTH, add_products, transpose
from v4mini.ops import index as numpy_index

TOKENS_PER_TILE = 16            # neighbours that share the keys of a tile
TILE = 112                      # keys at a time: what was asked of memory meanwhile arrives; rows a power of two apart would meet
                                # in few sets of the cache
AT_ONCE = 1 << 16               # keys decoded at a time from a store that is not float32
PARALLEL_FROM = 1 << 22         # multiply-adds: below, waking a second thread costs more than it saves
LOWEST, HIGHEST = np.int32(-(2**31)), np.int32(2**31 - 1)


def index_topk(q, keys, weights, visible, k):           # ..., [T] int, int -> [T, min(k, N)] int64
    """Twin of ops.index.index_topk. Threads share out tokens, and for few tokens ranges of keys, merged by exact selection.

    keys may be any store with shape and slices that give float32, such as a bf16 cache.
    """
    T, Hi, di = q.shape
    N = keys.shape[0]
    check_shape("weights", weights, T, Hi)
    check_shape("visible", visible, T)
    check_shape("keys", keys, N, di, hint="Are they another layer's?")
    k = min(int(k), N)
    out = np.empty((T, k), np.int64)
    if not out.size:
        return out
    q, weights, (visible, most) = as_floats(q), as_floats(weights), clipped(as_plain(visible, np.int64), N)
    has_nan = np.zeros(T, np.bool_)
    found = [_candidates(q, part, start, weights, visible, k, has_nan) for start, part in _slices(keys, most)]
    scores, entries, counts = found[0] if len(found) == 1 else (np.concatenate(parts, axis=1) for parts in zip(*found))
    _merge(scores, entries, counts, out)
    if has_nan.any():                                   # a score that is no number ranks below entries not yet visible: rare, so
        t = np.flatnonzero(has_nan)                     # the formula itself says what to do
        out[t] = numpy_index.index_topk(q[t], as_floats(keys[:]), weights[t], visible[t], k)
    return out


def _slices(keys, stop):                                # -> (first entry, float32 [n, di]), at least one
    if isinstance(keys, np.ndarray):
        return [(0, as_floats(keys[:stop]))]
    return ((start, as_floats(keys[start: min(stop, start + AT_ONCE)])) for start in range(0, max(1, stop), AT_ONCE))


def _candidates(q, keys, first, weights, visible, k, has_nan):
    T, blocks, tiles = len(q), -(-len(q) // TOKENS_PER_TILE), -(-len(keys) // TILE)
    few = q.size * len(keys) < PARALLEL_FROM
    parts = 1 if few else max(1, min(-(-get_num_threads() // blocks), tiles))          # ranges of keys
    found = np.empty((T, parts, k), np.int32), np.empty((T, parts, k), np.int64), np.empty((T, parts), np.int64)
    if few:
        _scan(q, keys, first, weights, visible, 0, T, 0, len(keys), 0, *found, has_nan)
    else:
        _scan_all(q, keys, first, weights, visible, *found, has_nan)
    return found


@njit(parallel=True)
def _scan_all(q, keys, first, weights, visible, scores, entries, counts, has_nan):
    T, parts = counts.shape
    blocks, tiles = (T + TOKENS_PER_TILE - 1) // TOKENS_PER_TILE, (len(keys) + TILE - 1) // TILE
    for unit in prange(blocks * parts):
        # later tokens see more entries: taking blocks alternately from both ends gives each thread as much
        block, part = unit // parts, unit % parts
        block = block // 2 if block % 2 == 0 else blocks - 1 - block // 2
        a, b = block * TOKENS_PER_TILE, min(T, (block + 1) * TOKENS_PER_TILE)
        low, high = tiles * part // parts * TILE, min(len(keys), tiles * (part + 1) // parts * TILE)
        _scan(q, keys, first, weights, visible, a, b, low, high, part, scores, entries, counts, has_nan)


@njit
def _scan(q, keys, first, weights, visible, a, b, low, high, part, scores, entries, counts, has_nan):
    """The best k of keys low..high for tokens a..b. Key j is entry first + j.

    float32 q [T, Hi, di], keys [n, di], weights [T, Hi], int64 visible [T]
    -> int32 scores (ranks), int64 entries [T, parts, k], counts [T, parts], has_nan [T]
    """
    _, Hi, di = q.shape
    k, room = scores.shape[2], 2 * scores.shape[2] + TILE
    keys_t, products = np.zeros((di, TILE), np.float32), np.empty((Hi, TILE), np.float32)
    score, ranks = np.empty(TILE, np.float32), np.empty(TILE, np.int32)
    held, ids = np.empty((b - a, room), np.int32), np.empty((b - a, room), np.int64)
    bar, last = np.empty(b - a, np.int32), 0
    for t in range(a, b):
        bar[t - a], counts[t, part], last = LOWEST, 0, max(last, visible[t] - first)
    for start in range(low, min(high, last), TILE):
        stop = min(start + TILE, high)
        transpose(keys[start:stop], keys_t)
        for t in range(a, b):
            m = min(stop, visible[t] - first) - start
            if m > 0:
                _scores(q[t], keys_t, weights[t], products, score)
                has_nan[t] |= _rank_all(score, m, ranks)
                n = _sift(ranks, m, first + start, bar[t - a], held[t - a], ids[t - a], counts[t, part])
                if n > 2 * k:
                    n, bar[t - a] = _keep_best(held[t - a], ids[t - a], n, k)
                counts[t, part] = n
    for t in range(a, b):
        if counts[t, part] > k:
            counts[t, part], _ = _keep_best(held[t - a], ids[t - a], counts[t, part], k)
        for j in range(counts[t, part]):
            scores[t, part, j], entries[t, part, j] = held[t - a, j], ids[t - a, j]


@njit(fastmath={"contract"})
def _scores(q, keys_t, weights, products, score):
    """One token's scores of a whole tile, always all of it: then a score does not depend on where ranges begin."""
    H = len(q)
    # products = q @ keys.T
    for h in range(H):
        for j in range(TILE):
            products[h, j] = np.float32(0)
    add_products(q, keys_t, products)
    # score = weights @ relu(products)
    for j in range(TILE):
        score[j] = np.float32(0)
    for h in range(H):
        for j in range(TILE):
            score[j] += weights[h] * _relu(products[h, j])


@njit
def _relu(x):                                           # NaN stays NaN, as np.maximum has it
    return np.float32(0) if x < np.float32(0) else x


@njit
def _rank_all(score, m, ranks):                         # -> is one of the first m no number? The rest of the ranks are LOWEST
    lowest = HIGHEST
    for j in range(TILE):
        ranks[j] = _rank(score[j])
    for j in range(m):
        lowest = ranks[j] if ranks[j] < lowest else lowest
    for j in range(m, TILE):
        ranks[j] = LOWEST
    return lowest == LOWEST


@njit
def _sift(ranks, m, first, bar, held, ids, n):          # -> n, how many candidates there are now
    for group in range(0, m, SIMD_WIDTH):               # most hold nothing good enough, and one look at 16 tells
        best = LOWEST
        for j in range(group, group + SIMD_WIDTH):
            best = ranks[j] if ranks[j] > best else best
        if best > bar:
            for j in range(group, group + SIMD_WIDTH):
                if ranks[j] > bar:
                    held[n], ids[n] = ranks[j], first + j
                    n += 1
    return n


@njit
def _rank(score):
    """An int32 that orders as the score does; -inf is above LOWEST, NaN is LOWEST itself. A sum from 0 up is never -0."""
    bits = np.float32(score).view(np.int32)
    key = np.int32(bits ^ ((bits >> 31) & HIGHEST))
    return key if score == score else LOWEST


@njit
def _keep_best(held, ids, n, k):                        # -> k, the k-th best rank
    """Keep the k best of n candidates in their order; of equal ones the earlier."""
    # the largest bar that at least k candidates reach, by bisection
    low, high = np.int64(LOWEST), np.int64(HIGHEST)
    while low < high:
        middle = np.int32((low + high + 1) >> 1)
        reach = np.int32(0)
        for j in range(n):
            reach += np.int32(held[j] >= middle)
        if reach >= k:
            low = np.int64(middle)
        else:
            high = np.int64(middle) - 1
    bar = np.int32(low)
    ties = k                                            # room for candidates that equal the bar
    for j in range(n):
        ties -= held[j] > bar
    kept = 0
    for j in range(n):
        tie = held[j] == bar
        if held[j] > bar or (tie and ties > 0):
            ties -= tie
            held[kept], ids[kept] = held[j], ids[j]
            kept += 1
    return kept, bar


@njit
def _merge(scores, entries, counts, out):               # [T, parts, k], ..., [T, parts] -> out [T, k], rising, then -1
    T, parts, k = scores.shape
    held, ids = np.empty(parts * k, np.int32), np.empty(parts * k, np.int64)
    for t in range(T):
        n = 0
        for part in range(parts):
            for j in range(counts[t, part]):
                held[n], ids[n] = scores[t, part, j], entries[t, part, j]
                n += 1
        if n > out.shape[1]:
            n, _ = _keep_best(held, ids, n, out.shape[1])
        for j in range(out.shape[1]):
            out[t, j] = ids[j] if j < n else -1
