"""Lesson 03: who may read whom, a softmax that may look at nothing, and the ring."""

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
]
