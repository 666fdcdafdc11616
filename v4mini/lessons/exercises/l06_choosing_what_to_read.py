"""Lesson 06: windows that overlap, scores of the indexer, the best k with ties to the earlier, and attention over all of it."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops import attention
from v4mini.ops.compress import compress


def overlapping(kv, score, ratio):          # [n * ratio, 2D] twice, int -> [n, D]
    return compress(kv, score, np.zeros_like(score[:ratio]), ratio, overlap=True)


def attend(q, rows, sink, window, scale, entries, picks):   # [T, H, hd], [T, hd], [H], int, number, [N, hd], [T, k] -> as q
    first = attention.window_starts(len(q), len(rows), window)
    return attention.attend(q, rows, first, sink, window, scale, entries, picks)


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _overlap_cases(rng):
    kv = np.array([[10, 1], [20, 2], [30, 3], [40, 4]], np.float32)
    yield "two blocks of two, D = 1, all scores 0", (kv, 0 * kv, 2)
    yield "a single block: there is no block before", (_rows(rng, 4, 6), _rows(rng, 4, 6), 4)
    yield "negative values, which zeros would pull up", (_rows(rng, 4, 4) - 100, _rows(rng, 4, 4) - 100, 4)
    yield "five blocks of four", (_rows(rng, 20, 8), 3 * _rows(rng, 20, 8), 4)
    far = _rows(rng, 8, 4)
    far[4:] += 2000
    yield "two blocks whose scores lie 2000 apart", (_rows(rng, 8, 4), far - np.float32(1000), 4)
    yield "blocks of one token", (_rows(rng, 3, 2), _rows(rng, 3, 2), 1)


def _overlap_entry_by_entry(kv, score, ratio):
    D, entries = kv.shape[1] // 2, []
    for start in range(0, len(kv), ratio):
        own, before = slice(start, start + ratio), slice(max(0, start - ratio), start)
        said = np.concatenate([kv[before, :D], kv[own, D:]])
        loud = np.concatenate([score[before, :D], score[own, D:]]).astype(np.float64)
        weight = np.exp(loud - np.logaddexp.reduce(loud, axis=0))
        entries.append((weight * said).sum(axis=0))
    return np.stack(entries)


def _overlap_halves_swapped(kv, score, ratio):
    return overlapping(np.roll(kv, kv.shape[1] // 2, axis=1), np.roll(score, kv.shape[1] // 2, axis=1), ratio)


def _overlap_with_zeros_before(kv, score, ratio):
    nothing = np.zeros_like(kv[:ratio])
    return compress(kv, score, nothing, ratio, previous=(nothing, nothing), overlap=True)


def _overlap_largest_of_all(kv, score, ratio):          # one maximum for all entries
    D, n = kv.shape[1] // 2, len(kv) // ratio
    blocks = kv.reshape(n, ratio, 2, D).astype(np.float64)
    weight = np.exp(score.astype(np.float64) - score.max()).reshape(n, ratio, 2, D)
    before = np.concatenate([np.zeros((1, ratio, D)), weight[:-1, :, 0]])
    said = np.concatenate([np.zeros((1, ratio, D)), blocks[:-1, :, 0]])
    total = before.sum(axis=1) + weight[:, :, 1].sum(axis=1)
    return ((before * said).sum(axis=1) + (weight[:, :, 1] * blocks[:, :, 1]).sum(axis=1)) / total


def _score_cases(rng):
    q, keys = np.array([[[1.0, 0.0], [0.0, 1.0]]]), np.array([[2.0, 3.0], [-1.0, 4.0], [5.0, -1.0]])
    yield "one token, two heads, three entries", (q, keys, np.array([[1.0, 2.0]]))
    yield "a negative weight", (q, keys, np.array([[1.0, -2.0]]))
    yield "every product negative: all scores are 0", (np.abs(_rows(rng, 2, 3, 4)), -np.abs(_rows(rng, 5, 4)), _rows(rng, 2, 3))
    yield "several tokens", (_rows(rng, 6, 4, 8), _rows(rng, 9, 8), _rows(rng, 6, 4))
    yield "no entries yet", (_rows(rng, 3, 4, 8), _rows(rng, 0, 8), _rows(rng, 3, 4))


def _scores_in_one_sum(q, keys, weights):
    return np.einsum("th,thn->tn", weights, np.maximum(np.einsum("thd,nd->thn", q, keys), 0))


def _scores_relu_last(q, keys, weights):
    return np.maximum(np.einsum("th,thd,nd->tn", weights, q, keys), 0)


def _scores_without_relu(q, keys, weights):
    return np.einsum("th,thd,nd->tn", weights, q, keys)


def _top_cases(rng):
    yield "two of five", (np.array([[3.0, 1.0, 4.0, 1.0, 5.0]]), 2)
    yield "a tie: 0 and 0 beat -1", (np.array([[-1.0, 0.0, 2.0, 0.0]]), 2)
    yield "300 scores, all exactly 0", (np.zeros((2, 300), np.float32), 4)
    yield "whole numbers, many ties", (rng.integers(-2, 3, (5, 40)).astype(np.float32), 8)
    yield "300 scores, five values, each many times", (rng.integers(0, 5, (3, 300)).astype(np.float32), 40)
    hidden = _rows(rng, 3, 12)
    hidden[:, 7:] = -np.inf
    yield "-inf: those that may not be read come last", (hidden, 9)
    yield "k is more than there are", (_rows(rng, 2, 3), 5)


def _top_by_sorting_pairs(scores, k):
    picks = [[place for _, place in sorted((-score, place) for place, score in enumerate(row))][:k] for row in scores]
    return np.array(picks, np.int64)


def _top_turned_round(scores, k):
    return np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k]


def _top_in_rising_order(scores, k):
    return np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)


def _top_unstable(scores, k):
    return np.argsort(-scores, axis=1)[:, :k]


def _top_by_partition(scores, k):           # the k best, but of equal ones at the border any, and in no order
    k = min(k, scores.shape[1])
    return np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)


def _attend_cases(rng):
    def case(T, H, hd, window, N, picks, size=1.0):
        sink = _rows(rng, H)
        return size * _rows(rng, T, H, hd), _rows(rng, T, hd), sink, window, hd**-0.5, _rows(rng, N, hd), np.array(picks)

    ones = np.ones((1, 1, 1), np.float32)
    yield "by pencil: a row, an entry, a sink, all equally loud", (
        0 * ones, 3 * ones[0], np.zeros(1, np.float32), 4, 1.0, 6 * ones[0], np.array([[0]]))
    yield "six tokens, a window of 2, one pick each", case(6, 2, 4, 2, 3, [[-1], [-1], [0], [1], [2], [0]])
    yield "-1 picks nothing, not the last entry", case(3, 2, 4, 8, 2, [[-1, -1], [0, -1], [1, 0]])
    yield "picks in any order", case(4, 3, 4, 3, 9, [[8, 0, 4], [1, 2, 3], [7, 6, 5], [0, 8, -1]])
    yield "logits of hundreds", case(4, 2, 4, 2, 5, [[0, 1], [4, 2], [3, -1], [1, 0]], size=300.0)
    q, rows, sink, *rest = case(3, 2, 4, 2, 4, [[0, 1], [2, 3], [1, 2]])
    yield "a sink of 400: next to nothing is read", (q, rows, sink + np.float32(400), *rest)
    q, *rest = case(4, 2, 4, 2, 4, [[0], [1], [2], [3]])
    yield "heads a thousand apart", (q * np.float32([[1], [3000]]), *rest)


def _attend_token_by_token(q, rows, sink, window, scale, entries, picks):
    out = np.zeros(q.shape)
    for t in range(len(q)):
        read = np.concatenate([rows[max(0, t - window + 1): t + 1], entries[picks[t][picks[t] >= 0]]]).astype(np.float64)
        for h in range(q.shape[1]):
            logits = np.append(read @ q[t, h] * scale, sink[h])
            out[t, h] = np.exp(logits - np.logaddexp.reduce(logits))[:-1] @ read
    return out


def _attend_last_entry_for_none(q, rows, sink, window, scale, entries, picks):      # entries[-1] is an entry, too
    return attend(q, rows, sink, window, scale, entries, picks % len(entries))


def _attend_two_softmaxes(q, rows, sink, window, scale, entries, picks):
    nothing = np.full(len(sink), -np.inf, np.float32)
    near = attend(q, rows, sink, window, scale, entries, np.full_like(picks, -1))
    far = attend(q, 0 * rows, nothing, window, scale, entries, picks)
    return (near + far) / 2


def _attend_without_sink(q, rows, sink, window, scale, entries, picks):
    return attend(q, rows, np.full_like(sink, -np.inf), window, scale, entries, picks)


def _attend_one_top_for_all(q, rows, sink, window, scale, entries, picks):
    read = np.concatenate([rows, entries])
    t, s, N = np.arange(len(q))[:, None], np.arange(len(rows)), len(entries)
    picked = (picks[:, :, None] == np.arange(N)).any(axis=1)
    may = np.concatenate([(s <= t) & (t - s < window), picked], axis=1)[:, None]
    logits = np.where(may, q @ read.T * scale, -np.inf)
    top = max(logits.max(), sink.max())
    raised = np.exp(logits - top)
    return raised @ read / (raised.sum(axis=2, keepdims=True) + np.exp(sink - top)[:, None])


EXERCISES = [
    Exercise("choosing.compress", _overlap_cases, ours=overlapping, differently=_overlap_entry_by_entry,
             wrong=(_overlap_halves_swapped, _overlap_with_zeros_before, _overlap_largest_of_all),
             hints=("Cut kv and score into blocks: reshape(n, ratio, 2 * D). Entry i pools 2 * ratio slots: first columns of "
                    "block i - 1, second columns of block i.",
                    "The block before, for all i at once: put one absent block in front and drop the last. "
                    "np.concatenate([absent, kv[:-1, :, :D]]).",
                    "Absent is kv = 0 and score = -inf, so that its weight is exp(-inf) = 0. Score 0 would count. "
                    "Join both halves along axis 1, then pool.")),
    Exercise("ops.index.index_scores", _score_cases, differently=_scores_in_one_sum,
             wrong=(_scores_relu_last, _scores_without_relu),
             hints=("First the products q . key for every token, head and entry: [T, Hi, N]. keys.T has one column an entry.",
                    "np.maximum(products, 0) for every head by itself, before any weight. The sum may still be negative.",
                    "Then sum over heads with weights: np.einsum('th,thn->tn', weights, products).")),
    Exercise("ops.index.top_k", _top_cases, differently=_top_by_sorting_pairs, tolerance=0,
             wrong=(_top_turned_round, _top_in_rising_order, _top_unstable, _top_by_partition),
             hints=("np.argsort sorts upwards; sort -scores to have the best first.",
                    "By default argsort may swap equal ones. kind='stable' keeps them in their order.",
                    "axis=1 sorts each row by itself; [:, :k] keeps the first k columns, or all if there are fewer.")),
    Exercise("choosing.attend", _attend_cases, ours=attend, differently=_attend_token_by_token,
             wrong=(_attend_last_entry_for_none, _attend_two_softmaxes, _attend_without_sink, _attend_one_top_for_all),
             hints=("One softmax for each head of each token, over the rows of its window, its picks, and the sink. A loop over "
                    "tokens and heads is fine.",
                    "read = the last `window` rows up to t, then entries[picks[t]] without those of -1: entries[-1] would be "
                    "the last entry.",
                    "logits = read @ q[t, h] * scale; take the largest of them and of the sink off before np.exp. The sink "
                    "counts in the sum and gives no row.")),
]
