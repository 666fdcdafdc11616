"""Lesson 05: which entries are finished, pooling with a softmax for each channel, and a whole text into entries."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.compress import compress, pool


def heavy(kv, score, ape, ratio):           # [T, D], [T, D], [ratio, D], int -> [T // ratio, D]
    """One entry for every full block; what is left over waits."""
    full = len(kv) // ratio * ratio
    return compress(kv[:full], score[:full], ape, ratio)


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _visible_cases(rng):
    yield "ratio 4, the first nine tokens", (np.arange(9), 4)
    yield "nobody has finished a block", (np.arange(3), 128)
    yield "around the end of a heavy block", (np.array([126, 127, 128, 254, 255, 256]), 128)
    yield "ratio 1: every token is its own block", (np.arange(4), 1)
    yield "a late token alone, as when the model speaks", (np.array([1048575]), 128)


def _visible_by_counting(positions, ratio):
    ends = np.arange(ratio - 1, max(positions) + 1, ratio)          # the last token of each block
    return np.array([int((ends <= t).sum()) for t in positions])


def _visible_late(positions, ratio):
    return np.asarray(positions) // ratio


def _visible_early(positions, ratio):
    return np.asarray(positions) // ratio + 1


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
    Exercise("ops.compress.visible", _visible_cases, differently=_visible_by_counting, tolerance=0,
             wrong=(_visible_late, _visible_early),
             hints=("Count the blocks that end at or before t. Block i ends at token (i + 1) * ratio - 1.",
                    "Token t and all before it are t + 1 tokens. How many full blocks is that?")),
]
