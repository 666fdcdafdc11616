"""Of many keys the best few for each token: the loops of the indexer's twin.

A token holds the candidates it has met, up to 2k and a tile of them, in the order of the entries. When they grow too many, the
k-th best score becomes the bar that later entries must pass, and those below it are dropped.
With eight-bit codes (bounds.py) an entry is scored only if its bound passes the bar: such entries wait until they fill a tile,
and go through the same loop as all do without codes. So scores and picks are the same bits, ties included.
Not here: whose keys these are, what comes of several ranges of them (index.py).
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from v4mini.kernels import bounds
from v4mini.kernels.compiled import njit
from v4mini.kernels.vector import SIMD_WIDTH, add_products, lowest_bit, prefetch, transpose

TOKENS_PER_TILE = 16            # neighbours that share the keys of a tile
TILE = 112                      # keys at a time: what was asked of memory meanwhile arrives; rows a power of two apart would meet
                                # in few sets of the cache
WATCHED = 16 * TILE             # keys after which is judged whether codes pay
LINE = 16                       # float32 numbers that memory sends at once
LOWEST, HIGHEST = np.int32(-(2**31)), np.int32(2**31 - 1)


class Asked(NamedTuple):
    """What is looked for. Key j is entry first + j; without codes (an empty array) all keys are scored."""

    q: np.ndarray               # float32 [T, Hi, di]
    weights: np.ndarray         # float32 [T, Hi]
    visible: np.ndarray         # int64 [T]
    keys: np.ndarray            # float32 [n, di]
    codes: np.ndarray           # uint8 [groups, steps, 2, 8, 4]
    lengths: np.ndarray         # float32 [groups, 3, 8]
    first: int


class Found(NamedTuple):
    """What came of it, for each of `parts` ranges of the keys."""

    ranks: np.ndarray           # int32 [T, parts, k], in the order of scores
    entries: np.ndarray         # int64 [T, parts, k]
    counts: np.ndarray          # int64 [T, parts]
    looks: np.ndarray           # int64 [T, parts], how many entries were scored
    has_nan: np.ndarray         # bool [T], a score was no number


class _Held(NamedTuple):
    """The candidates of a few tokens."""

    ranks: np.ndarray           # int32 [t, 2k + TILE]
    ids: np.ndarray             # int64 [t, 2k + TILE]
    counts: np.ndarray          # int64 [t]
    bar: np.ndarray             # int32 [t], the rank to pass


class _Scratch(NamedTuple):
    keys: np.ndarray            # float32 [di, TILE]
    products: np.ndarray        # float32 [Hi, TILE]
    scores: np.ndarray          # float32 [TILE]
    ranks: np.ndarray           # int32 [TILE]
    these: np.ndarray           # int64 [TILE], which keys
    rows: np.ndarray            # float32 [TILE, di]


class _Coded(NamedTuple):
    """Queries as bounds.py reads them."""

    words: np.ndarray           # int32 [t, Hi, steps * 2]
    start: np.ndarray           # int32 [t, Hi]
    heads: np.ndarray           # float32 [t, 2, Hi]
    limits: np.ndarray          # float32 [t, 4]
    waiting: np.ndarray         # int64 [t, 2 * TILE], keys that are to be scored
    waits: np.ndarray           # int64 [t], how many


@njit
def scan(unit, size, asked, found):
    """The best k for one block of `size` tokens, of one range of keys where found has several; all keys are scored."""
    part, a, b, low, high, held, scratch = _begin(unit, size, asked, found)
    _scan_plain(asked, a, b, low, high, part, found, held, scratch)
    _end(part, a, held, found)


@njit
def scan_coded(unit, size, asked, found):
    """The same by the codes of the keys. A kernel of its own: a short text has no codes, and need not wait for the compiler."""
    part, a, b, low, high, held, scratch = _begin(unit, size, asked, found)
    low = _scan_coded(asked, a, b, low, high, part, found, held, scratch)
    _scan_plain(asked, a, b, low, high, part, found, held, scratch)
    _end(part, a, held, found)


@njit(parallel=True)
def scan_all(units, size, asked, found):
    """Each unit of work by one thread."""
    for unit in prange(units):
        scan(np.int64(unit), size, asked, found)


@njit(parallel=True)
def scan_all_coded(units, size, asked, found):
    """The same by the codes."""
    for unit in prange(units):
        scan_coded(np.int64(unit), size, asked, found)


@njit
def _begin(unit, size, asked, found):                   # -> which range, tokens a..b, keys low..high, _Held, _Scratch
    """The last blocks come first: their tokens see more entries."""
    T, parts = found.counts.shape
    part, block, tiles = unit % parts, (T + size - 1) // size - 1 - unit // parts, (len(asked.keys) + TILE - 1) // TILE
    a, b = block * size, min(T, (block + 1) * size)
    k, t, (Hi, di), most = found.ranks.shape[2], b - a, asked.q.shape[1:], asked.visible[a]
    for i in range(a, b):
        found.looks[i, part] = 0
        most = max(most, asked.visible[i])
    low, high = tiles * part // parts * TILE, min(len(asked.keys), tiles * (part + 1) // parts * TILE, most - asked.first)
    held = _Held(np.empty((t, 2 * k + TILE), np.int32), np.empty((t, 2 * k + TILE), np.int64), np.zeros(t, np.int64),
                 np.full(t, LOWEST))
    scratch = _Scratch(np.zeros((di, TILE), np.float32), np.empty((Hi, TILE), np.float32), np.empty(TILE, np.float32),
                       np.empty(TILE, np.int32), np.empty(TILE, np.int64), np.zeros((TILE, di), np.float32))
    return part, a, b, low, high, held, scratch


@njit
def _end(part, a, held, found):
    for i in range(len(held.counts)):
        n, _ = _keep_best(held.ranks[i], held.ids[i], held.counts[i], found.ranks.shape[2])
        found.counts[a + i, part] = n
        for j in range(n):
            found.ranks[a + i, part, j], found.entries[a + i, part, j] = held.ranks[i, j], held.ids[i, j]


@njit
def _scan_plain(asked, a, b, low, high, part, found, held, scratch):
    for start in range(low, high, TILE):
        stop = min(start + TILE, high)
        transpose(asked.keys[start:stop], scratch.keys)
        for j in range(TILE):
            scratch.these[j] = start + j
        for i in range(b - a):
            m = min(stop, asked.visible[a + i] - asked.first) - start
            if m > 0:
                _score(asked, a + i, i, scratch.these, m, part, found, held, scratch)


@njit
def _scan_coded(asked, a, b, low, high, part, found, held, scratch):    # -> where it ended: codes that rule out little do not pay
    t, coded, bits = b - a, _encode_queries(asked, a, b), np.zeros(-(-TILE // 64) * 8, np.uint8)
    watch, before = low + 4 * found.ranks.shape[2], -1  # from there on most entries should fail
    for start in range(low, high, TILE):
        if start >= watch:
            now = _looks(found, a, b, part)
            if before >= 0 and 2 * (now - before) > WATCHED * t:
                high = start
                break
            watch, before = start + WATCHED, now
        for i in range(t):
            m = min(high, start + TILE, asked.visible[a + i] - asked.first) - start
            if m > 0 and _any_above(asked, coded, i, start, m, held.bar[i], bits):
                _wait(asked.keys, bits, start, m, coded, i)
                if coded.waits[i] >= TILE:
                    _look(asked, a + i, i, np.int64(TILE), part, found, held, coded, scratch)
    for i in range(t):
        _look(asked, a + i, i, coded.waits[i], part, found, held, coded, scratch)
    return high


@njit
def _looks(found, a, b, part):                          # of tokens a..b. Numba takes seconds to compile sum() and max()
    total = 0
    for t in range(a, b):
        total += found.looks[t, part]
    return total


@njit
def _encode_queries(asked, a, b):                       # -> _Coded, of tokens a..b; nothing waits
    t, Hi, width = b - a, asked.q.shape[1], asked.codes.shape[1] * bounds.STEP
    codes, start = np.zeros((t, Hi, width), np.int8), np.empty((t, Hi), np.int32)
    heads, limits = np.empty((t, 2, Hi), np.float32), np.empty((t, 4), np.float32)
    for i in range(t):
        limits[i] = bounds.encode_query(asked.q[a + i], asked.weights[a + i], codes[i], start[i], heads[i])
    return _Coded(codes.view(np.int32), start, heads, limits, np.empty((t, 2 * TILE), np.int64), np.zeros(t, np.int64))


@njit
def _any_above(asked, coded, i, start, m, bar, bits):   # -> may one of m keys pass the bar? bits: which
    first, score = start // bounds.GROUP, _score_of(bar)
    if coded.limits[i, 3] <= score:
        return False
    if m < TILE:
        bits[:] = 0
    return bounds.tile_bounds(asked.codes, asked.lengths, first, first + (m + bounds.GROUP - 1) // bounds.GROUP, coded.words[i],
                              coded.start[i], coded.heads[i], coded.limits[i], score, bits)


@njit
def _wait(keys, bits, start, m, coded, i):
    """Keys that have their bit wait to be scored; memory is asked for them."""
    n = coded.waits[i]
    for w, word in enumerate(bits.view(np.uint64)):
        while word:
            j, word = 64 * w + lowest_bit(word), word & (word - np.uint64(1))
            if j < m:
                coded.waiting[i, n], n = start + j, n + 1
                for d in range(0, keys.shape[1], LINE):
                    prefetch(keys, (start + j) * keys.strides[0] + d * 4)
    coded.waits[i] = n


@njit
def _look(asked, t, i, m, part, found, held, coded, scratch):
    """Score the first m of the waiting keys; the rest move up."""
    these = coded.waiting[i]
    for j in range(m):
        for d in range(asked.keys.shape[1]):
            scratch.rows[j, d] = asked.keys[these[j], d]
    transpose(scratch.rows, scratch.keys)
    _score(asked, t, i, these, m, part, found, held, scratch)
    coded.waits[i] -= m
    for j in range(coded.waits[i]):
        these[j] = these[m + j]


@njit
def _score(asked, t, i, these, m, part, found, held, scratch):
    """Score the tile of keys in scratch.keys; the first m, which are `these`, become candidates if they pass the bar."""
    k = found.ranks.shape[2]
    _scores(asked.q[t], scratch.keys, asked.weights[t], scratch.products, scratch.scores)
    found.has_nan[t] |= _rank_all(scratch.scores, m, scratch.ranks)
    found.looks[t, part] += m
    n = _sift(scratch.ranks, these, asked.first, m, held.bar[i], held.ranks[i], held.ids[i], held.counts[i])
    if n > 2 * k:
        n, held.bar[i] = _keep_best(held.ranks[i], held.ids[i], n, k)
    held.counts[i] = n


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
def _sift(ranks, these, first, m, bar, held, ids, n):   # -> n, how many candidates there are now
    for group in range(0, m, SIMD_WIDTH):               # most hold nothing good enough, and one look at 16 tells
        best = LOWEST
        for j in range(group, group + SIMD_WIDTH):
            best = ranks[j] if ranks[j] > best else best
        if best > bar:
            for j in range(group, group + SIMD_WIDTH):
                if ranks[j] > bar:
                    held[n], ids[n] = ranks[j], first + these[j]
                    n += 1
    return n


@njit
def _rank(score):
    """An int32 that orders as the score does; -inf is above LOWEST, NaN is LOWEST itself. A sum from 0 up is never -0."""
    bits = np.float32(score).view(np.int32)
    key = np.int32(bits ^ ((bits >> 31) & HIGHEST))
    return key if score == score else LOWEST


@njit
def _score_of(rank):                                    # the way back; LOWEST is NaN again, which bounds always pass
    return np.int32(rank ^ ((rank >> 31) & HIGHEST)).view(np.float32)


@njit
def _keep_best(held, ids, n, k):                        # -> how many, at most k; the k-th best rank, LOWEST if there are fewer
    """Keep the k best of n candidates in their order; of equal ones the earlier."""
    if n <= k:
        return n, LOWEST
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
def merge(ranks, entries, counts, out):                 # [T, parts, k], ..., [T, parts] -> out [T, k], rising, then -1
    """The best k of all ranges, which lie one after the other."""
    T, parts, k = ranks.shape
    held, ids = np.empty(parts * k, np.int32), np.empty(parts * k, np.int64)
    for t in range(T):
        n = 0
        for part in range(parts):
            for j in range(counts[t, part]):
                held[n], ids[n] = ranks[t, part, j], entries[t, part, j]
                n += 1
        n, _ = _keep_best(held, ids, n, out.shape[1])
        for j in range(out.shape[1]):
            out[t, j] = ids[j] if j < n else -1
