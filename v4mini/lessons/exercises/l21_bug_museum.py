"""Lesson 21, rooms 1 to 3: positions, what may be seen, scores. Each exercise is a defect to repair; see lessons/museum.py."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.index import index_scores
from v4mini.ops.rope import frequencies, rope

FLASH = {"theta": 10000.0, "compress_theta": 160000.0, "trained": 65536, "factor": 16.0}


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


# ---- room 1: positions ----

def layer_base(ratio, rd, theta, compress_theta, trained, factor):      # -> float32 [rd / 2]
    return frequencies(rd, compress_theta, trained, factor) if ratio else frequencies(rd, theta)


def _base_cases(rng):
    yield "a window layer: base 10,000, nothing slowed", (0, 8, *FLASH.values())
    yield "a CSA layer: base 160,000 and YaRN", (4, 8, *FLASH.values())
    yield "an HCA layer, 32 pairs", (128, 64, *FLASH.values())
    yield "a window layer, 32 pairs", (0, 64, *FLASH.values())
    yield "other bases", (4, 16, 100.0, 5000.0, 256, 4.0)


def _base_written_out(ratio, rd, theta, compress_theta, trained, factor):
    base = np.float32(compress_theta if ratio else theta)
    plain = base ** (-np.arange(0, rd, 2, dtype=np.float32) / np.float32(rd))
    if not ratio:
        return plain
    low, high = (rd * np.log(trained / (turns * 2 * np.pi)) / (2 * np.log(compress_theta)) for turns in (32, 1))
    low, high = max(np.floor(low), 0), min(np.ceil(high), rd - 1)
    slowed = np.clip((np.arange(rd // 2) - low) / max(high - low, 0.001), 0, 1)
    return plain * (1 - slowed) + plain / np.float32(factor) * slowed


def _one_base(ratio, rd, theta, compress_theta, trained, factor):
    return frequencies(rd, theta, trained, factor)


def _yarn_everywhere(ratio, rd, theta, compress_theta, trained, factor):
    return frequencies(rd, compress_theta if ratio else theta, trained, factor)


def _yarn_nowhere(ratio, rd, theta, compress_theta, trained, factor):
    return frequencies(rd, compress_theta if ratio else theta)


def placed_entries(pooled, ratio, freqs):                               # [N, hd] -> [N, hd]
    return rope(pooled, np.arange(len(pooled)) * ratio, freqs)


def _placed_cases(rng):
    quarter = np.array([np.pi / 2], np.float32)
    yield "two entries of 1 token, a quarter turn a token", (np.array([[1, 0], [1, 0]], np.float32), 1, quarter)
    yield "three entries of 4 tokens", (_rows(rng, 3, 8), 4, frequencies(8, 160000.0))
    yield "only the last 4 of 10 numbers turn", (_rows(rng, 5, 10), 128, frequencies(4, 10000.0))
    yield "no entry yet", (_rows(rng, 0, 6), 4, frequencies(6, 10000.0))


def _placed_one_by_one(pooled, ratio, freqs):
    return np.array([rope(row[None], [n * ratio], freqs)[0] for n, row in enumerate(pooled)]).reshape(pooled.shape)


def _unturned(pooled, ratio, freqs):
    return pooled.copy()


def _numbered(pooled, ratio, freqs):
    return rope(pooled, np.arange(len(pooled)), freqs)


def _last_token(pooled, ratio, freqs):
    return rope(pooled, np.arange(len(pooled)) * ratio + ratio - 1, freqs)


# ---- room 2: what may be seen ----

def causal_picks(scores, ratio, k):                                     # [T, N] -> [T, k] int, rising, then -1
    T, N = scores.shape
    seen = np.arange(N) < (np.arange(T)[:, None] + 1) // ratio
    best = np.argsort(-np.where(seen, scores, -np.inf), axis=1, kind="stable")[:, :k]
    best = np.sort(np.where(np.take_along_axis(seen, best, axis=1), best, N), axis=1)
    return np.where(best < N, best, -1)


def _pick_cases(rng):
    yield "8 tokens, entries of 4: the second is there at token 7", (np.tile(np.float32([1, 2]), (8, 1)), 4, 1)
    yield "the future scores best", (np.tile(np.arange(6, dtype=np.float32), (24, 1)), 4, 2)
    yield "random scores", (_rows(rng, 20, 5), 4, 2)
    yield "all scores equal: the earlier entry", (np.zeros((40, 20), np.float32), 2, 3)
    yield "negative scores", (-1 - np.abs(_rows(rng, 12, 6)), 2, 3)


def _picks_token_by_token(scores, ratio, k):
    out = np.full((len(scores), k), -1)
    for t, row in enumerate(scores):
        seen = (t + 1) // ratio
        best = sorted(sorted(range(min(seen, len(row))), key=lambda n: (-row[n], n))[:k])
        out[t, : len(best)] = best
    return out


def _picks_of_the_future(scores, ratio, k):
    return np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)


def _picks_hide_too_late(scores, ratio, k):
    best = _picks_of_the_future(scores, ratio, k)
    hidden = best >= (np.arange(len(scores))[:, None] + 1) // ratio
    return np.where(hidden, -1, best)


def entry_without_padding(kv, score, real):                             # [n, D] twice, [n] bool -> [D]
    score = np.where(real[:, None], score, -np.inf)
    weight = np.exp(score - score.max(axis=0))
    return (weight * kv).sum(axis=0) / weight.sum(axis=0)


def _padding_cases(rng):
    yield "three tokens and a pad", (np.float32([[1], [2], [3], [100]]), np.zeros((4, 1), np.float32),
                                     np.array([1, 1, 1, 0], bool))
    yield "padding on the left", (_rows(rng, 4, 3), _rows(rng, 4, 3), np.array([0, 0, 1, 1], bool))
    yield "no padding at all", (_rows(rng, 8, 2), _rows(rng, 8, 2), np.ones(8, bool))
    yield "one real token", (_rows(rng, 4, 3), _rows(rng, 4, 3), np.array([0, 1, 0, 0], bool))
    yield "a pad scores 1,000 above all", (_rows(rng, 4, 1), np.float32([[0], [1], [2], [1000]]), np.array([1, 1, 1, 0], bool))


def _padding_cut(kv, score, real):
    weight = np.exp(score[real] - score[real].max(axis=0))
    return np.einsum("nd,nd->d", weight / weight.sum(axis=0), kv[real])


def _padding_pooled(kv, score, real):
    weight = np.exp(score - score.max(axis=0))
    return (weight * kv).sum(axis=0) / weight.sum(axis=0)


def _padding_as_zeros(kv, score, real):
    return _padding_pooled(kv * real[:, None], score * real[:, None], real)


def readable_entries(positions, N, ratio):                              # [T] int, int, int -> [T, N] bool
    return np.arange(N) < (np.asarray(positions)[:, None] + 1) // ratio


def _readable_cases(rng):
    yield "entries of 4, tokens 3, 4 and 8", (np.array([3, 4, 8]), 3, 4)
    yield "the first tokens see none", (np.arange(4), 2, 8)
    yield "one token far on", (np.array([1000]), 300, 4)
    yield "entries of one token", (np.arange(5), 5, 1)


def _readable_by_ends(positions, N, ratio):
    ends = np.arange(1, N + 1) * ratio - 1
    return ends[None, :] <= np.asarray(positions)[:, None]


def _nobody_reads(positions, N, ratio):
    return np.zeros((len(positions), N), bool)


def _reads_a_block_late(positions, N, ratio):
    return np.arange(N) < np.asarray(positions)[:, None] // ratio


# ---- room 3: scores ----

def _score_cases(rng):
    yield "two heads, one of them negative", (np.float32([[[1], [-1]]]), np.float32([[2], [-3]]), np.float32([[1, 1]]))
    yield "weights of both signs", (_rows(rng, 3, 4, 8), _rows(rng, 5, 8), _rows(rng, 3, 4))
    yield "64 heads", (_rows(rng, 2, 64, 4), _rows(rng, 6, 4), _rows(rng, 2, 64))
    yield "all products negative: exactly 0", (-np.ones((1, 2, 2), np.float32), np.ones((3, 2), np.float32), np.ones((1, 2),
                                               np.float32))


def _scores_head_by_head(q, keys, weights):
    out = np.zeros((len(q), len(keys)))
    for head in range(q.shape[1]):
        product = q[:, head] @ keys.T
        out += weights[:, head, None] * np.where(product > 0, product, 0)
    return out


def _scores_without_relu(q, keys, weights):
    return np.einsum("th,thd,nd->tn", weights, q, keys)


def _scores_averaged(q, keys, weights):
    gate = 1 / (1 + np.exp(-weights))
    return np.einsum("th,thn->tn", gate, np.maximum(np.einsum("thd,nd->thn", q, keys), 0)) / q.shape[1]


def _scores_relu_last(q, keys, weights):
    return np.maximum(_scores_without_relu(q, keys, weights), 0)


def entries_read(tokens, ratio, index_topk):                            # ints -> int
    return min(tokens // ratio, index_topk)


def _read_cases(rng):
    yield "Flash, 1,000 tokens: all there are", (1000, 4, 512)
    yield "Flash, 4,096 tokens", (4096, 4, 512)
    yield "Pro, 8,192 tokens", (8192, 4, 1024)
    yield "three tokens", (3, 4, 512)


def _read_counted(tokens, ratio, index_topk):
    return len(range(tokens // ratio)[:index_topk])


def _read_constant(tokens, ratio, index_topk):
    return min(tokens // ratio, 1024)


def _read_always_k(tokens, ratio, index_topk):
    return index_topk


_PICK_HINTS = ("Who may see entry n? A token t with (t + 1) // ratio > n.",
               "Hide before you rank: np.where(seen, scores, -np.inf). Hiding afterwards throws good entries away.",
               "Picks that point at hidden entries become -1; sort so that they come last.")

EXERCISES = [
    Exercise("museum.one_base", _base_cases, ours=layer_base, differently=_base_written_out, wrong=(_one_base, _yarn_nowhere),
             hints=("ratio is 0 for a window layer. Then: base theta, and no YaRN at all.",)),
    Exercise("museum.yarn_in_windows", _base_cases, ours=layer_base, differently=_base_written_out,
             wrong=(_yarn_everywhere, _one_base),
             hints=("YaRN is what the last two arguments of `frequencies` switch on. Which layers were stretched in training?",)),
    Exercise("museum.unturned_entries", _placed_cases, ours=placed_entries, differently=_placed_one_by_one,
             wrong=(_unturned, _numbered, _last_token),
             hints=("An entry stands where its block's first token stands.",
                    "Entry n: position n * ratio. rope turns all at once.")),
    Exercise("museum.future", _pick_cases, ours=causal_picks, differently=_picks_token_by_token,
             wrong=(_picks_of_the_future, _picks_hide_too_late), hints=_PICK_HINTS),
    Exercise("museum.padding", _padding_cases, ours=entry_without_padding, differently=_padding_cut,
             wrong=(_padding_pooled, _padding_as_zeros),
             hints=("A token that is not there has weight 0: a score of minus infinity.",)),
    Exercise("museum.hidden_entries", _readable_cases, ours=readable_entries, differently=_readable_by_ends,
             wrong=(_nobody_reads, _reads_a_block_late),
             hints=("Entry n is complete at token (n + 1) * ratio - 1, and that token may read it.",)),
    Exercise("museum.no_relu", _score_cases, ours=index_scores, differently=_scores_head_by_head,
             wrong=(_scores_without_relu, _scores_relu_last),
             hints=("The relu belongs between the product and the sum over heads.",)),
    Exercise("museum.mean_of_heads", _score_cases, ours=index_scores, differently=_scores_head_by_head,
             wrong=(_scores_averaged, _scores_without_relu),
             hints=("Weights are used as they come, of either sign, and heads are summed.",)),
    Exercise("museum.other_models_k", _read_cases, ours=entries_read, differently=_read_counted, tolerance=0,
             wrong=(_read_constant, _read_always_k), hints=("Whose number is 1,024? The config knows its own.",)),
]
