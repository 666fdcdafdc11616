"""Lesson 03: who may read whom, a softmax that may look at nothing, the ring, and a softmax made in two halves."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.attention import attend, window_starts


def may_read(T, window):                    # -> bool [T, T]: row t, column s: may token t read token s?
    behind = np.arange(T)[:, None] - np.arange(T)
    return (behind >= 0) & (behind < window)


def one_head(q, rows, sink, window, scale):             # [T, hd], [T, hd], one number, int, number -> [T, hd]
    first = window_starts(len(q), len(rows), window)
    return attend(q[:, None, :], rows, first, np.array([sink], np.float32), window, scale)[:, 0]


def ring_order(tokens, window):             # -> int [min(tokens, window)]: the slots that hold a row, oldest row first
    return np.arange(max(0, tokens - window), tokens) % window


def merge(top_a, sum_a, out_a, top_b, sum_b, out_b):   # ([T], [T], [T, hd]) twice -> the same of both together
    top = np.maximum(top_a, top_b)
    at = np.where(np.isinf(top), 0, top)                # nothing was read in either: exp(-inf - 0) is 0
    a, b = sum_a * np.exp(top_a - at), sum_b * np.exp(top_b - at)
    total = a + b
    share = np.divide(a, total, out=np.zeros_like(total), where=total > 0)
    return top, total, np.where(total[:, None] > 0, share[:, None] * out_a + (1 - share)[:, None] * out_b, 0)


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _mask_cases(rng):
    yield "six tokens, a window of 3", (6, 3)
    yield "a window of 1: everybody alone", (4, 1)
    yield "fewer tokens than the window holds", (5, 128)
    yield "one token", (1, 4)
    yield "more than 128 tokens, as in V4", (131, 128)


def _mask_row_by_row(T, window):
    mask = np.zeros((T, T), bool)
    for t in range(T):
        mask[t, max(0, t - window + 1): t + 1] = True
    return mask


def _mask_one_too_wide(T, window):
    return _mask_row_by_row(T, window + 1)


def _mask_that_looks_ahead(T, window):
    return np.abs(np.arange(T)[:, None] - np.arange(T)) < window


def _head_cases(rng):
    def case(T, hd, sink, window, size=1.0):
        return _rows(rng, T, hd) * np.float32(size), _rows(rng, T, hd), sink, window, 0.5

    one = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 8.0]], np.float32)
    yield "one row as good as nothing: half each", (*one, 0.0, 4, 1.0)
    yield "the toy of this lesson", (np.array([[1.0, 0.0]] * 3, np.float32),
                                     np.array([[0, 8], [np.log(2), 4], [np.log(5), 0]], np.float32), float(np.log(8)), 128, 1.0)
    yield "more tokens than the window holds", case(9, 4, 0.3, 3)
    yield "no sink: its logit is minus infinity", case(5, 4, -np.inf, 3)
    yield "logits of a hundred", case(6, 4, 2.0, 4, size=100.0)
    yield "a sink of 200, above everything", case(4, 4, 200.0, 4)
    q, rows, *rest = case(6, 4, 0.0, 4)
    yield "tokens whose logits lie thousands apart", (q * np.float32([[1], [2000], [1], [1], [2000], [1]]), rows, *rest)


def _head_token_by_token(q, rows, sink, window, scale):
    out = []
    for t in range(len(q)):
        seen = rows[max(0, t - window + 1): t + 1].astype(np.float64)
        logits = np.array([*(seen @ q[t] * scale), sink])
        weights = np.exp(logits - np.logaddexp.reduce(logits))
        out.append(weights[:-1] @ seen)
    return np.stack(out)


def _head_without_sink(q, rows, sink, window, scale):
    return _head_token_by_token(q, rows, -np.inf, window, scale)


def _head_with_unmoved_sink(q, rows, sink, window, scale):      # the maximum is taken off the logits, not off the sink
    logits = np.where(may_read(len(q), window), q @ rows.T * scale, -np.inf)
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / (raised.sum(axis=1, keepdims=True) + np.exp(sink)) @ rows


def _head_largest_of_all(q, rows, sink, window, scale):        # one maximum for all tokens: a quiet token is left with 0 / 0
    logits = np.where(may_read(len(q), window), q @ rows.T * scale, -np.inf)
    top = max(logits.max(), sink)
    raised = np.exp(logits - top)
    return raised @ rows / (raised.sum(axis=1, keepdims=True) + np.exp(sink - top))


def _ring_cases(rng):
    yield "6 tokens, 4 slots", (6, 4)
    yield "the ring is not full yet", (3, 4)
    yield "full for the first time", (4, 4)
    yield "300 tokens in V4's ring", (300, 128)
    yield "a million tokens", (1_048_576, 128)
    yield "one slot", (7, 1)


def _ring_by_writing(tokens, window):
    written_at = {}
    for position in range(max(0, tokens - 3 * window), tokens):
        written_at[position % window] = position
    return np.array(sorted(written_at, key=written_at.get))


def _ring_from_slot_0(tokens, window):
    return np.arange(min(tokens, window))


def _ring_newest_first(tokens, window):
    return ring_order(tokens, window)[::-1]


def _part(logits, rows):                    # [T, n], [n, hd] -> largest logit, sum of exp behind it, mix of the rows
    top = logits.max(axis=1, initial=-np.inf)
    raised = np.exp(logits - np.where(np.isinf(top), 0, top)[:, None])
    total = raised.sum(axis=1)
    return top, total, raised @ rows / np.where(total > 0, total, 1)[:, None]


def _merge_cases(rng):
    def case(T, n, m, size=1.0, shift=0.0):
        logits, rows = size * rng.standard_normal((T, n + m)), rng.standard_normal((n + m, 3))
        logits[:, n:] += shift
        return *_part(logits[:, :n], rows[:n]), *_part(logits[:, n:], rows[n:])

    yield "one row each, equal logits: the mean", (*_part(np.zeros((1, 1)), np.array([[2.0]])),
                                                   *_part(np.zeros((1, 1)), np.array([[4.0]])))
    yield "four tokens, five rows and three", case(4, 5, 3)
    yield "the second half is 2000 louder", case(3, 4, 4, shift=2000.0)
    yield "the second half is 2000 quieter", case(3, 4, 4, shift=-2000.0)
    yield "nothing was read in the first half", case(2, 0, 4)
    yield "nothing was read in either", case(2, 0, 0)
    loud, quiet = case(1, 3, 3, shift=900.0), case(1, 3, 3, shift=-900.0)
    yield "tokens that lie far apart", tuple(np.concatenate(pair) for pair in zip(loud, quiet))


def _merge_by_logarithm(top_a, sum_a, out_a, top_b, sum_b, out_b):
    with np.errstate(divide="ignore"):
        a, b = np.log(sum_a) + top_a, np.log(sum_b) + top_b
    top, both = np.maximum(top_a, top_b), np.logaddexp(a, b)
    quiet = np.isneginf(both)
    behind = np.where(quiet, 0, both)
    shares = [np.where(quiet, 0, np.exp(np.where(quiet, 0, part) - behind)) for part in (a, b)]
    mix = sum(share[:, None] * out for share, out in zip(shares, (out_a, out_b)))
    return top, np.where(quiet, 0, np.exp(both - np.where(quiet, 0, top))), mix


def _merge_without_tops(top_a, sum_a, out_a, top_b, sum_b, out_b):
    total = sum_a + sum_b
    safe = np.where(total > 0, total, 1)[:, None]
    return np.maximum(top_a, top_b), total, (sum_a[:, None] * out_a + sum_b[:, None] * out_b) / safe


def _merge_one_top_for_all(top_a, sum_a, out_a, top_b, sum_b, out_b):
    top = max(top_a.max(), top_b.max())
    a, b = sum_a * np.exp(top_a - top), sum_b * np.exp(top_b - top)
    return np.maximum(top_a, top_b), a + b, (a[:, None] * out_a + b[:, None] * out_b) / (a + b)[:, None]


def _merge_nothing_is_nan(top_a, sum_a, out_a, top_b, sum_b, out_b):
    top = np.maximum(top_a, top_b)
    a, b = sum_a * np.exp(top_a - top), sum_b * np.exp(top_b - top)
    return top, a + b, (a[:, None] * out_a + b[:, None] * out_b) / (a + b)[:, None]


EXERCISES = [
    Exercise("window.may_read", _mask_cases, ours=may_read, differently=_mask_row_by_row, tolerance=0,
             wrong=(_mask_one_too_wide, _mask_that_looks_ahead),
             hints=("np.arange(T)[:, None] - np.arange(T) tells for all pairs at once how far s lies behind t.",
                    "0 behind is the token itself, negative is the future. A window of 3 holds those 0, 1 and 2 behind.",
                    "(behind >= 0) & (behind < window)")),
    Exercise("window.one_head", _head_cases, ours=one_head, differently=_head_token_by_token,
             wrong=(_head_without_sink, _head_with_unmoved_sink, _head_largest_of_all),
             hints=("logits = q @ rows.T * scale, and -inf where may_read says no. exp(-inf) is 0.",
                    "The sink is one more logit in the sum below, and no row above: exp(logits) / (their sum + exp(sink)).",
                    "exp overflows above 88. Take the same number off all logits and off the sink: the largest of them all, "
                    "np.maximum(logits.max(axis=1, keepdims=True), sink).")),
    Exercise("window.ring_order", _ring_cases, ours=ring_order, differently=_ring_by_writing, tolerance=0,
             wrong=(_ring_from_slot_0, _ring_newest_first),
             hints=("Which positions are still there after so many tokens? The last `window` of them.",
                    "np.arange(max(0, tokens - window), tokens) are these positions, oldest first.",
                    "A position lies in slot position % window.")),
    Exercise("window.merge", _merge_cases, ours=merge, differently=_merge_by_logarithm, tolerance=1e-9,
             wrong=(_merge_without_tops, _merge_one_top_for_all, _merge_nothing_is_nan),
             hints=("Both sums were taken behind their own largest logit. Bring them behind the larger of the two: "
                    "sum_a * np.exp(top_a - top), for each token by itself.",
                    "The mixes are divided already, so they are weighed by those two sums and divided by their total.",
                    "Where nothing was read, top is -inf, and -inf - -inf is nan: take 0 there instead. Where the total is 0 the "
                    "mix is 0.")),
]
