"""Lesson 04: heads that share keys, one row for all heads, and when to unpack it."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.lessons.latent import causal, grouped_attention, mla_absorbed, mla_decompressed


def _grouped_cases(rng):
    def case(T, S, H, G, d=4, dv=3):
        return (*(rng.standard_normal(shape) for shape in ((T, H, d), (S, G, d), (S, G, dv))), d**-0.5, causal(T, S))

    q, k = np.array([[[1.0], [-1.0]]]), np.log([[[1.0]], [[3.0]]])
    yield "by pencil: two heads, one pair, shares 1 : 3 and 3 : 1", (q, k, np.array([[[8.0]], [[4.0]]]), 1.0, causal(1, 2))
    yield "MHA: a pair for every head", case(5, 5, 4, 4)
    yield "GQA: 6 heads, 2 groups", case(5, 5, 6, 2)
    yield "MQA: one pair for all", case(5, 5, 4, 1)
    yield "one new token with 9 behind it", case(1, 10, 4, 2)
    q, k, v, _, may_read = case(4, 4, 2, 2)
    yield "scores of hundreds: exp overflows", (200 * q, 10 * k, v, 1.0, may_read)
    yield "a loud head beside a quiet one", (q * np.array([[[3000.0], [1.0]]]), k, v, 1.0, may_read)


def _grouped_head_by_head(q, k, v, scale, may_read):
    repeats = q.shape[1] // k.shape[1]
    k, v = (np.repeat(a, repeats, axis=1) for a in (k, v))              # now a pair for every head
    outs = []
    for h in range(q.shape[1]):
        scores = np.where(may_read, q[:, h] @ k[:, h].T * scale, -np.inf)
        outs.append(np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True)) @ v[:, h])
    return np.stack(outs, axis=1)


def _grouped_dealt_like_cards(q, k, v, scale, may_read):                # head h reads group h mod G
    around = np.arange(q.shape[1]) % k.shape[1]
    return grouped_attention(q, k[:, around], v[:, around], scale, may_read)


def _grouped_reading_ahead(q, k, v, scale, may_read):
    return grouped_attention(q, k, v, scale, np.ones_like(may_read))


def _grouped_largest_of_all(q, k, v, scale, may_read):         # one maximum for all tokens and heads
    k, v = (np.repeat(a, q.shape[1] // a.shape[1], axis=1) for a in (k, v))
    scores = np.where(may_read[:, None], np.einsum("thd,shd->ths", q, k) * scale, -np.inf)
    raised = np.exp(scores - scores.max())
    return np.einsum("ths,shd->thd", raised / raised.sum(axis=2, keepdims=True), v)


def _mla_cases(rng):
    def case(T, S, H, nope, turned, v, latent):
        sizes = (T, H, nope + turned), (S, latent + turned), (H * (nope + v), latent)
        return (*(rng.standard_normal(shape) for shape in sizes), (nope + turned)**-0.5, causal(T, S))

    rows, wkv_b = np.array([[0, 8], [np.log(3), 4]]), np.array([[1.0, 0], [0, 1], [-1, 0], [0, 2]])
    yield "the toy of this lesson: 5 and 14", (np.ones((1, 2, 1)), rows, wkv_b, 1.0, causal(1, 2))
    yield "keys as wide as values", case(4, 4, 3, 5, 2, 5, 6)
    yield "keys wider than values, a past", case(2, 7, 3, 6, 4, 2, 5)
    yield "values wider than keys, one token", case(1, 9, 4, 2, 2, 5, 3)
    yield "nothing is turned", case(3, 3, 2, 4, 0, 4, 6)
    yield "one head", case(5, 5, 1, 4, 2, 3, 4)
    q, *rest = case(4, 4, 3, 4, 2, 3, 5)
    yield "a loud token beside quiet ones", (q * np.array([1.0, 3000.0, 1.0, 1.0])[:, None, None], *rest)


def _mla_head_by_head(q, rows, wkv_b, scale, may_read):
    H, latent = q.shape[1], wkv_b.shape[1]
    nope, outs = q.shape[2] - rows.shape[1] + latent, []
    for h, own in enumerate(np.split(wkv_b, H)):
        wide = np.hstack([q[:, h, :nope] @ own[:nope], q[:, h, nope:]])
        scores = np.where(may_read, wide @ rows.T * scale, -np.inf)
        shares = np.exp(scores - np.logaddexp.reduce(scores, axis=1, keepdims=True))
        outs.append(shares @ rows[:, :latent] @ own[nope:].T)
    return np.stack(outs, axis=1)


def _mla_without_positions(q, rows, wkv_b, scale, may_read):
    rows = rows.copy()
    rows[:, wkv_b.shape[1]:] = 0
    return mla_absorbed(q, rows, wkv_b, scale, may_read)


def _mla_all_keys_first(q, rows, wkv_b, scale, may_read):               # as if wkv_b held H keys and then H values
    H, latent = q.shape[1], wkv_b.shape[1]
    nope = q.shape[2] - rows.shape[1] + latent
    keys, values = np.split(wkv_b, [H * nope])
    parts = [part.reshape(H, -1, latent) for part in (keys, values)]
    return mla_decompressed(q, rows, np.concatenate(parts, axis=1).reshape(-1, latent), scale, may_read)


def _mla_largest_of_all(q, rows, wkv_b, scale, may_read):
    H, latent = q.shape[1], wkv_b.shape[1]
    own = wkv_b.reshape(H, -1, latent)
    nope = q.shape[2] - rows.shape[1] + latent
    wide = np.concatenate([np.einsum("thd,hdl->thl", q[:, :, :nope], own[:, :nope]), q[:, :, nope:]], axis=2)
    scores = np.where(may_read[:, None], np.einsum("thw,sw->ths", wide, rows) * scale, -np.inf)
    raised = np.exp(scores - scores.max())
    return np.einsum("ths,sl,hvl->thv", raised / raised.sum(axis=2, keepdims=True), rows[:, :latent], own[:, nope:])


def _break_even_cases(rng):
    yield "by pencil: 20 to unpack, 6 saved by each query", (5, 0, 2, 2)
    yield "V2 and V3", (512, 64, 128, 128)
    yield "divides without rest: equal is not cheaper", (2, 4, 1, 1)
    yield "heads so wide that unpacking never pays", (64, 64, 128, 128)
    yield "not even a draw", (4, 2, 4, 4)
    yield "nothing is turned", (100, 0, 30, 20)


def _break_even_by_trying(latent, turned, nope, v):
    for n in range(1, 10**5):
        if latent * (nope + v) + n * (nope + turned + v) < n * (latent + turned + latent):
            return n
    return 0


def _break_even_at_a_draw(latent, turned, nope, v):
    saved = 2 * latent - nope - v
    return -(-latent * (nope + v) // saved) if saved > 0 else 0


def _break_even_keys_alone(latent, turned, nope, v):
    saved = 2 * latent - nope - v
    return latent * nope // saved + 1 if saved > 0 else 0


EXERCISES = [
    Exercise("lessons.latent.grouped_attention", _grouped_cases, differently=_grouped_head_by_head,
             wrong=(_grouped_dealt_like_cards, _grouped_reading_ahead, _grouped_largest_of_all),
             hints=("Neighbouring heads share: with 6 heads and 2 groups, heads 0, 1, 2 read group 0 and 3, 4, 5 group 1.",
                    "np.repeat(k, H // G, axis=1) gives every head a key of its own; then it is MHA, head by head.",
                    "np.where(may_read, scores, -np.inf) before the softmax, and take the largest score of each row off first.")),
    Exercise("lessons.latent.mla_absorbed", _mla_cases, differently=_mla_head_by_head,
             wrong=(_mla_without_positions, _mla_all_keys_first, _mla_largest_of_all),
             hints=("wkv_b.reshape(H, -1, latent) is one matrix per head; the first `nope` rows make keys, the rest values.",
                    "Wide query of head h: q[:, h, :nope] @ for_key[h], and the turned numbers of q behind it. It is compared "
                    "with whole rows.",
                    "The shares mix rows[:, :latent]; only then multiply by the head's value matrix. grouped_attention with "
                    "rows[:, None] as its one key does the middle.")),
    Exercise("lessons.latent.break_even", _break_even_cases, differently=_break_even_by_trying, tolerance=0,
             wrong=(_break_even_at_a_draw, _break_even_keys_alone),
             hints=("Two straight lines in n, the number of queries: latent (nope + v) + n (nope + turned + v), and "
                    "n (2 latent + turned).",
                    "Unpacking is cheaper where n (2 latent - nope - v) is more than latent (nope + v).",
                    "The first whole number above a / b is a // b + 1, also where b divides a.")),
]
