"""Lesson 05: a softmax for each channel, a whole text into entries, and in which form a token is seen."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.compress import compress, pool


def heavy(kv, score, ape, ratio):           # [T, D], [T, D], [ratio, D], int -> [T // ratio, D]
    """One entry for every full block; what is left over waits."""
    full = len(kv) // ratio * ratio
    return compress(kv[:full], score[:full], ape, ratio)


def reach(T, window, ratio):                # -> int [T, T]: in how many forms token t sees token s: 0, 1 or 2
    t, s = np.arange(T)[:, None], np.arange(T)
    as_row = (s <= t) & (t - s < window)
    inside_an_entry = s // ratio < (t + 1) // ratio
    return as_row.astype(np.int64) + inside_an_entry


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _reach_cases(rng):
    yield "thirteen tokens, a window of 4, blocks of 4", (13, 4, 4)
    yield "a window of 2: some tokens are seen by nobody", (13, 2, 4)
    yield "a window wider than a block", (12, 7, 3)
    yield "blocks of one token", (5, 2, 1)
    yield "no block is full yet", (6, 3, 128)
    yield "V4: around the end of the first block", (130, 128, 128)


def _reach_token_by_token(T, window, ratio):
    forms = np.zeros((T, T), np.int64)
    for t in range(T):
        forms[t, max(0, t - window + 1): t + 1] += 1
        forms[t, : (t + 1) // ratio * ratio] += 1
    return forms


def _reach_own_block_too(T, window, ratio):         # the block that is not full is read before it is there
    t, s = np.arange(T)[:, None], np.arange(T)
    return ((s <= t) & (t - s < window)).astype(np.int64) + ((s <= t) & (s // ratio <= t // ratio))


def _reach_a_block_late(T, window, ratio):          # the last token of a block does not read its entry
    t, s = np.arange(T)[:, None], np.arange(T)
    return ((s <= t) & (t - s < window)).astype(np.int64) + (s // ratio < t // ratio)


def _reach_seen_or_not(T, window, ratio):
    return (reach(T, window, ratio) > 0).astype(np.int64)


def _pool_cases(rng):
    yield "two tokens, one channel: weights 1/4 and 3/4", (np.array([[[4.0], [8.0]]]), np.log([[[1.0], [3.0]]]))
    yield "equal scores: the mean", (_rows(rng, 1, 5, 3), np.zeros((1, 5, 3), np.float32))
    yield "each channel has its own favourite", (_rows(rng, 2, 8, 4), 3 * _rows(rng, 2, 8, 4))
    absent = _rows(rng, 1, 4, 2)
    absent[0, 1] = -np.inf
    yield "a score of -inf: that token is not there", (_rows(rng, 1, 4, 2), absent)
    yield "scores of 1000: exp overflows", (_rows(rng, 1, 3, 2), _rows(rng, 1, 3, 2) + np.float32(1000))
    yield "a heavy block of 128", (_rows(rng, 3, 128, 6), _rows(rng, 3, 128, 6))
    yield "two blocks whose scores lie 2000 apart", (_rows(rng, 2, 4, 3), _rows(rng, 2, 4, 3) + np.float32([[[1000]], [[-1000]]]))
    yield "two channels whose scores lie 2000 apart", (_rows(rng, 1, 4, 2), _rows(rng, 1, 4, 2) + np.float32([1000, -1000]))


def _pool_by_logarithm(kv, score):
    total = np.logaddexp.reduce(score.astype(np.float64), axis=1)
    return np.einsum("nsd,nsd->nd", np.exp(score - total[:, None, :]), kv)


def _pool_over_channels(kv, score):
    weight = np.exp(score - score.max(axis=2, keepdims=True))
    return (weight / weight.sum(axis=2, keepdims=True) * kv).sum(axis=1)


def _pool_one_weight_a_token(kv, score):
    score = score.mean(axis=2, keepdims=True)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return (weight / weight.sum(axis=1, keepdims=True) * kv).sum(axis=1)


def _pool_largest_of_all(kv, score):       # one maximum for all blocks: a quiet block is left with 0 / 0
    weight = np.exp(score - score.max())
    return (weight * kv).sum(axis=1) / weight.sum(axis=1)


def _pool_largest_of_a_block(kv, score):    # one maximum for all channels of a block
    weight = np.exp(score - score.max(axis=(1, 2), keepdims=True))
    return (weight * kv).sum(axis=1) / weight.sum(axis=1)


def _heavy_cases(rng):
    four = np.array([[1.0], [3.0], [5.0], [9.0]], np.float32)
    yield "four tokens, ratio 2, all scores 0", (four, 0 * four, 0 * four[:2], 2)
    yield "one token is left over", (_rows(rng, 9, 3), _rows(rng, 9, 3), _rows(rng, 4, 3), 4)
    yield "a position bias that outweighs the scores", (_rows(rng, 6, 2), _rows(rng, 6, 2), 10 * _rows(rng, 3, 2), 3)
    yield "too short for one entry", (_rows(rng, 3, 2), _rows(rng, 3, 2), _rows(rng, 4, 2), 4)
    far = np.repeat(np.float32([[900], [901], [-1100], [-1101]]), 2, axis=1)
    yield "two blocks whose scores lie 2000 apart", (_rows(rng, 4, 2), far, np.zeros((2, 2), np.float32), 2)
    yield "300 tokens, ratio 128", (_rows(rng, 300, 8), _rows(rng, 300, 8), _rows(rng, 128, 8), 128)


def _heavy_block_by_block(kv, score, ape, ratio):
    entries = [pool(kv[None, start: start + ratio], score[None, start: start + ratio] + ape)[0]
               for start in range(0, len(kv) - ratio + 1, ratio)]
    return np.stack(entries) if entries else np.zeros((0, kv.shape[1]), kv.dtype)


def _heavy_without_bias(kv, score, ape, ratio):
    return heavy(kv, score, 0 * ape, ratio)


def _heavy_bias_by_block(kv, score, ape, ratio):
    return heavy(kv, score + ape[np.arange(len(kv)) // ratio % ratio], 0 * ape, ratio)


def _heavy_largest_of_all(kv, score, ape, ratio):
    n = len(kv) // ratio
    biased = (score[: n * ratio].reshape(n, ratio, -1) + ape).astype(np.float64)
    weight = np.exp(biased - biased.max(initial=-np.inf))
    return ((weight * kv[: n * ratio].reshape(n, ratio, -1)).sum(axis=1) / weight.sum(axis=1)).astype(kv.dtype)


EXERCISES = [
    Exercise("ops.compress.pool", _pool_cases, differently=_pool_by_logarithm,
             wrong=(_pool_over_channels, _pool_one_weight_a_token, _pool_largest_of_all, _pool_largest_of_a_block),
             hints=("A softmax over the tokens of a block: axis 1. Channels, the last axis, do not know of each other.",
                    "Subtract score.max(axis=1, keepdims=True) before np.exp: it changes no weight, and 1000 is no trouble.",
                    "np.exp(-inf) is 0, so an absent token takes no weight by itself. Sum weight * kv over axis 1, divide by the "
                    "sum of the weights.")),
    Exercise("heavy.compress", _heavy_cases, ours=heavy, differently=_heavy_block_by_block,
             wrong=(_heavy_without_bias, _heavy_bias_by_block, _heavy_largest_of_all),
             hints=("Token t stands at place t % ratio of its block, and gets the row of ape of that place.",
                    "n = T // ratio blocks are full. Cut kv and score to n * ratio tokens, then reshape both to (n, ratio, D).",
                    "pool does the rest. Without a full block the answer has shape (0, D), and reshape gives it; but spell D "
                    "out, since -1 cannot be guessed from nothing.")),
    Exercise("heavy.reach", _reach_cases, ours=reach, differently=_reach_token_by_token, tolerance=0,
             wrong=(_reach_own_block_too, _reach_a_block_late, _reach_seen_or_not),
             hints=("Two masks of [T, T], added: s is a row in the window of t, and s is inside an entry that t may read.",
                    "Token s lies in block s // ratio. Token t may read the first (t + 1) // ratio entries.",
                    "(s <= t) & (t - s < window), plus s // ratio < (t + 1) // ratio. Add whole numbers: True + True is True.")),
]
