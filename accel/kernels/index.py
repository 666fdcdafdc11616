"""The lightning indexer: scores of one strip of tokens, and the best entries of each token, exact and without a sort.

Nobody holds scores of all tokens and all entries: a launch takes a strip of tokens, as many as its scratch allows. A long row
is cut into chunks, each of which names its own best; the best of all are among them.
Not here: strips and chunks (launch.py).
"""

import triton
import triton.language as tl


@triton.jit
def index_scores(q, keys, weights, visible, scores, N,
                 HEADS: tl.constexpr, HP: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BS: tl.constexpr,
                 UPCAST: tl.constexpr):
    """scores[t, j] = sum over heads of weight * relu(q . key), for j < visible[t]; others stay as they were.

    q [T, HEADS, D], keys [N, D], weights [T, HEADS] float32, visible [T] int32 -> scores [T, N] float32.
    Grid (T, ceil(N / BS)). Reference: v4mini.ops.index.index_scores. Source: V4 report 2.3.1, eq. 16.
    """
    t = tl.program_id(0)
    j = tl.program_id(1) * BS + tl.arange(0, BS)
    h = tl.arange(0, HP)
    d = tl.arange(0, DP)
    seen = tl.load(visible + t)
    if tl.program_id(1) * BS < seen:
        head = tl.minimum(h, HEADS - 1)
        query = tl.load(q + (t * HEADS + head[:, None]) * D + d[None, :], mask=d[None, :] < D, other=0.0)
        key = tl.load(keys + tl.minimum(j, N - 1)[:, None] * D + d[None, :], mask=d[None, :] < D, other=0.0)
        if UPCAST:
            query = query.to(tl.float32)
            key = key.to(tl.float32)
        product = tl.dot(query, tl.trans(key), input_precision="ieee")                  # [HP, BS]
        weight = tl.where(h < HEADS, tl.load(weights + t * HEADS + head), 0.0)
        tl.store(scores + t * N + j, tl.sum(tl.maximum(product, 0.0) * weight[:, None], 0), mask=j < seen)


@triton.jit
def _rising(score):
    """float32 -> int32 in the same order; -0.0 equals 0.0, NaN is below everything but the lowest key."""
    bits = (score + 0.0).to(tl.int32, bitcast=True)
    return tl.where(score == score, tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits), -2147483647)


@triton.jit
def _keys_at(scores, candidates, row, first, length, j, CANDIDATES: tl.constexpr):
    """Of places j of a row: the entry that stands there, its key, whether there is one."""
    inside = j < length
    place = tl.minimum(j, length - 1)
    if CANDIDATES:
        entry = tl.load(candidates + first + place)
        inside = inside & (entry >= 0)
        entry = tl.maximum(entry, 0)
    else:
        entry = first + place
    return entry, _rising(tl.load(scores + row + entry)), inside


@triton.jit
def select_topk(scores, candidates, visible, picks, N, CHUNK, K,
                BS: tl.constexpr, BT: tl.constexpr, CANDIDATES: tl.constexpr):
    """The K best entries of each chunk of each row -> picks [T, chunks, K] int32 in rising order, then -1.

    scores [T, N] float32, of which the first visible [T] int32 count. Chunk c holds entries c * CHUNK and on.
    CANDIDATES: there is one chunk, of candidates [T, CHUNK] int32 (rising, -1 is nothing): the best of the best of chunks.
    Equal scores: the earlier entry wins; -0.0 equals 0.0 and NaN is last. Grid (T, chunks).
    8 passes find 4 bits of the K-th key each, by counting against 16 thresholds; one more writes. The prefix sum is a product
    with a triangle of ones [BT, BT]; counting goes by BS, which may be larger. Reference: v4mini.ops.index.index_topk.
    """
    t = tl.program_id(0)
    c = tl.program_id(1)
    seen = tl.load(visible + t)
    if CANDIDATES:
        first = t * CHUNK
        length = CHUNK
    else:
        first = c * CHUNK
        length = tl.minimum(tl.maximum(seen - first, 0), CHUNK)
    row = t * N
    out = picks + (t * tl.num_programs(1) + c) * K
    b = tl.arange(0, BS)
    g = tl.arange(0, 16)

    number = tl.zeros((BS,), tl.int32)                  # how many there are
    for start in range(0, length, BS):
        entry, key, inside = _keys_at(scores, candidates, row, first, length, start + b, CANDIDATES)
        number += inside.to(tl.int32)
    wanted = tl.minimum(tl.sum(number, 0), K)

    base = -2147483648                                  # grows to the key of the wanted-th
    step = 268435456
    for _ in range(8):
        cut = base + g * step
        count = tl.zeros((16,), tl.int32)
        for start in range(0, length, BS):
            entry, key, inside = _keys_at(scores, candidates, row, first, length, start + b, CANDIDATES)
            count += tl.sum(((key[:, None] >= cut[None, :]) & inside[:, None]).to(tl.int32), 0)
        base = tl.max(tl.where((count >= wanted) | (g == 0), cut, base), 0)
        step = step // 16

    above = tl.zeros((BS,), tl.int32)                   # how many are better than the wanted-th
    for start in range(0, length, BS):
        entry, key, inside = _keys_at(scores, candidates, row, first, length, start + b, CANDIDATES)
        above += ((key > base) & inside).to(tl.int32)
    equals = wanted - tl.sum(above, 0)                  # so many of those equal to it are taken

    b = tl.arange(0, BT)
    before = (b[:, None] < b[None, :]).to(tl.int32)
    taken = 0
    met = 0
    for start in range(0, length, BT):
        entry, key, inside = _keys_at(scores, candidates, row, first, length, start + b, CANDIDATES)
        same = ((key == base) & inside).to(tl.int32)
        rank = met + tl.sum(before * same[:, None], 0)
        take = ((key > base) & inside).to(tl.int32) + same * (rank < equals).to(tl.int32)
        place = taken + tl.sum(before * take[:, None], 0)
        tl.store(out + place, entry, mask=take > 0)
        taken += tl.sum(take, 0)
        met += tl.sum(same, 0)
    for start in range(0, K, BT):
        tl.store(out + start + b, tl.full((BT,), -1, tl.int32), mask=(start + b >= wanted) & (start + b < K))
