"""Lesson 23: who reads what in a DSpark round, its chain of drafts, when to stop, what looking ahead does, V4.1's cache and
pool."""

import numpy as np

from v4mini.inference.speculate import residual
from v4mini.lessons.exercise import Exercise
from v4mini.planning.speculation import admitted


def cache_per_token(ratios, owners, row, key):          # [n] ints, [k] ints, bytes, bytes -> bytes a token
    return float(sum((row + key) / ratios[layer] for layer in owners if ratios[layer]))


def round_reads(read, window, block):                   # ints -> bool [block, read + block]
    mask = np.zeros((block, read + block), bool)
    mask[:, max(0, read - window):] = True
    return mask


def draft_chain(base, w1, w2, anchor):                  # [G, V], [V, r], [V, r], int -> [G] ints
    drafts, previous = [], anchor
    for scores in base:
        previous = int(np.argmax(scores + w2 @ w1[previous]))
        drafts.append(previous)
    return np.array(drafts)


def drafts_to_verify(chances, speeds):                  # [k], [k + 1] -> int
    return admitted([chances], lambda tokens: speeds[tokens - 1])[0]


def comes_out(p, q, verified):                          # [V], [V], [V] bool -> [V], sums to 1
    kept = np.where(verified, np.minimum(p, q), 0.0)
    refused = np.where(verified, q - np.minimum(p, q), 0.0).sum()
    return kept + refused * residual(p, q) + q[~np.asarray(verified)].sum() * p


def pooled_picks(scores, block, blocks, k):             # [n], ints -> the k picks, rising
    best = [max(scores[start: start + block]) for start in range(0, len(scores), block)]
    newest = len(best) - 1
    order = sorted(range(len(best)), key=lambda b: (b != newest, -best[b], b))[:blocks]
    rows = [row for b in order for row in range(b * block, min((b + 1) * block, len(scores)))]
    return np.array(sorted(sorted(rows, key=lambda row: (-scores[row], row))[:k]))


# ---- cache ----

def _cache_cases(rng):
    del rng
    v41 = [0, 0] + [2] * 18 + [1] * 20
    yield "one layer, one row a token", ([1], [0], 100, 10)
    yield "a window layer owns nothing that grows", ([0, 2], [0, 1], 100, 10)
    yield "V4.1: layers 2, 8, 14 and 20 own rows", (v41, [2, 8, 14, 20], 288, 68)
    yield "the same if every layer had its own", (v41, list(range(40)), 288, 68)
    yield "nobody owns any", (v41, [], 288, 68)


def _cache_layer_by_layer(ratios, owners, row, key):
    total = 0.0
    for layer, ratio in enumerate(ratios):
        if layer in set(owners) and ratio > 0:
            total += row / ratio + key / ratio
    return total


def _cache_of_all(ratios, owners, row, key):
    return float(sum((row + key) / ratio for ratio in ratios if ratio))


def _cache_without_ratio(ratios, owners, row, key):
    return float(sum(row + key for layer in owners if ratios[layer]))


def _cache_keys_uncompressed(ratios, owners, row, key):
    return float(sum(row / ratios[layer] + key for layer in owners if ratios[layer]))


# ---- who reads what ----

def _reads_cases(rng):
    del rng
    yield "three tokens read, a wide ring", (3, 8, 2)
    yield "the ring is just full", (4, 4, 3)
    yield "one row has left the ring", (5, 4, 3)
    yield "V4's own sizes", (300, 128, 5)
    yield "a block of one", (6, 2, 1)
    yield "nothing read yet", (0, 4, 2)


def _reads_by_position(read, window, block):
    place = np.arange(read + block)
    return np.tile((place >= read) | (place >= read - window), (block, 1))


def _reads_causally(read, window, block):
    mask = round_reads(read, window, block)
    mask[:, read:] = np.tril(np.ones((block, block), bool))
    return mask


def _reads_sliding(read, window, block):
    place, mine = np.arange(read + block), read + np.arange(block)[:, None]
    return (place > mine - window) & (place < read + block)


def _reads_one_row_less(read, window, block):
    return round_reads(read, window - 1, block)


# ---- the chain ----

def _chain_cases(rng):
    yield "the head adds nothing: the best of each place", (np.eye(3)[[2, 0, 1]], np.zeros((3, 2)), np.zeros((3, 2)), 0)
    yield "places that would agree with themselves", (np.zeros((3, 3)), np.eye(3), np.roll(np.eye(3), 1, axis=0), 0)
    yield "a tie goes to the first", (np.zeros((2, 4)), np.zeros((4, 1)), np.zeros((4, 1)), 3)
    draw = rng.standard_normal
    for places, tokens, rank in ((5, 50, 8), (1, 9, 2)):
        yield f"{places} drafts of {tokens} tokens", (draw((places, tokens)), draw((tokens, rank)), draw((tokens, rank)), 1)
    yield "far-apart scores", (1e6 * draw((4, 9)), draw((9, 3)), 1e6 * draw((9, 3)), 2)


def _chain_by_table(base, w1, w2, anchor):
    table, drafts = np.asarray(w1) @ np.asarray(w2).T, [anchor]      # row: the token before
    for place in range(len(base)):
        drafts.append(int((base[place] + table[drafts[-1]]).argmax()))
    return np.array(drafts[1:])


def _chain_from_the_anchor(base, w1, w2, anchor):
    return np.argmax(base + w2 @ w1[anchor], axis=1)


def _chain_all_at_once(base, w1, w2, anchor):
    previous = np.concatenate([[anchor], np.argmax(base, axis=1)[:-1]])
    return np.argmax(base + w1[previous] @ w2.T, axis=1)


def _chain_turned_round(base, w1, w2, anchor):
    return draft_chain(base, w2, w1, anchor)


# ---- when to stop ----

def _stop_cases(rng):
    yield "the paper's: 1.8 tokens at half the speed", ([0.8, 1.0], [1.0, 0.5, 0.45])
    yield "passes cost nothing more: all of them", ([0.9, 0.5, 0.1], [1.0] * 4)
    yield "a draft that just does not pay", ([0.5, 0.5], [1.0, 0.6, 0.5])
    yield "equal is not better: what changes nothing is left out", ([1.0, 1.0], [1.0, 0.5, 0.3])
    yield "the second is sure only if the first was", ([0.5, 1.0, 1.0], [1.0, 0.9, 0.9, 0.55])
    yield "none offered", ([], [1.0])
    for _ in range(3):
        yield "seven drafts", (list(rng.random(7)**0.3), list(1 / (3 + np.arange(8))))


def _stop_step_by_step(chances, speeds):
    tokens, survival, count = 1.0, 1.0, 0
    for chance in chances:
        survival = survival * chance
        if (tokens + survival) * speeds[count + 1] <= tokens * speeds[count]:
            return count
        tokens, count = tokens + survival, count + 1
    return count


def _stop_at_the_best_of_all(chances, speeds):
    return int(np.argmax((1 + np.cumsum([0, *np.cumprod(chances)])) * np.asarray(speeds)))


def _stop_without_product(chances, speeds):
    tokens, count = 1.0, 0
    for chance in chances:
        if (tokens + chance) * speeds[count + 1] <= tokens * speeds[count]:
            return count
        tokens, count = tokens + chance, count + 1
    return count


def _stop_ignoring_speed(chances, speeds):
    return sum(1 for a in np.cumprod(chances) if a > 0.5)


# ---- what comes out ----

def _out_cases(rng):
    p, q = np.array([0.7, 0.3]), np.array([0.5, 0.5])
    yield "all drafts are verified: p", (p, q, np.array([True, True]))
    yield "none is: p again", (p, q, np.array([False, False]))
    yield "the paper's: only where the look ahead was pleasant", (p, q, np.array([True, False]))
    yield "the other way round", (p, q, np.array([False, True]))
    a, b = rng.random((2, 40))**3
    yield "forty tokens, half of them verified", (a / a.sum(), b / b.sum(), rng.random(40) < 0.5)
    yield "draft and model agree", (q, q, np.array([True, False]))


def _out_draft_by_draft(p, q, verified):
    out = np.zeros(len(p))
    for x in range(len(p)):
        if not verified[x]:
            out += q[x] * p
            continue
        keep = min(1.0, p[x] / q[x]) if q[x] > 0 else 0.0
        out[x] += q[x] * keep
        out += q[x] * (1 - keep) * np.asarray(residual(p, q))
    return out


def _out_always_p(p, q, verified):
    return np.array(p)


def _out_unverified_kept(p, q, verified):
    return comes_out(p, q, np.ones(len(p), bool)) * verified + np.where(verified, 0, q)


def _out_not_shared(p, q, verified):
    return np.where(verified, np.minimum(p, q), q * p)


# ---- the pool ----

def _pool_cases(rng):
    yield "two blocks of two, room for both", (np.array([1.0, 4.0, 2.0, 3.0]), 2, 2, 2)
    yield "the newest block stays although it is the worst", (np.array([9.0, 8.0, 7.0, 6.0, 0.1, 0.2]), 2, 2, 3)
    yield "a block is as good as its best row", (np.array([5.0, 5.0, 9.0, 0.0, 1.0, 1.0]), 2, 2, 2)
    yield "equal scores: the earlier", (np.ones(8), 2, 2, 3)
    yield "the last block is not full", (np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 2, 1, 2)
    yield "hundred rows", (rng.standard_normal(100), 8, 4, 10)


def _pool_by_mask(scores, block, blocks, k):
    scores = np.asarray(scores, float)
    n = -(-len(scores) // block)
    padded = np.full(n * block, -np.inf)
    padded[: len(scores)] = scores
    best = padded.reshape(n, block).max(axis=1)
    best[-1] = np.inf
    chosen = np.argsort(-best, kind="stable")[:blocks]
    hidden = np.full((n, block), -np.inf)
    hidden[chosen] = padded.reshape(n, block)[chosen]
    order = np.argsort(-hidden.ravel(), kind="stable")
    return np.sort([row for row in order if np.isfinite(hidden.ravel()[row])][:k])


def _pool_by_sum(scores, block, blocks, k):
    best = [sum(scores[start: start + block]) for start in range(0, len(scores), block)]
    best[-1] = np.inf
    order = sorted(range(len(best)), key=lambda b: (-best[b], b))[:blocks]
    rows = [row for b in order for row in range(b * block, min((b + 1) * block, len(scores)))]
    return np.array(sorted(sorted(rows, key=lambda row: (-scores[row], row))[:k]))


def _pool_one_level(scores, block, blocks, k):
    return np.array(sorted(sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]))


def _pool_newest_forgotten(scores, block, blocks, k):
    best = [max(scores[start: start + block]) for start in range(0, len(scores), block)]
    order = sorted(range(len(best)), key=lambda b: (-best[b], b))[:blocks]
    rows = [row for b in order for row in range(b * block, min((b + 1) * block, len(scores)))]
    return np.array(sorted(sorted(rows, key=lambda row: (-scores[row], row))[:k]))


EXERCISES = [
    Exercise("after.cache_per_token", _cache_cases, ours=cache_per_token, differently=_cache_layer_by_layer,
             wrong=(_cache_of_all, _cache_without_ratio, _cache_keys_uncompressed),
             hints=("Only layers in `owners` keep rows of their own; all others read those.",
                    "A layer with ratio r keeps one row and one key for r tokens: (row + key) / r bytes a token. Ratio 0 "
                    "keeps nothing.",
                    "sum((row + key) / ratios[layer] for layer in owners if ratios[layer])")),
    Exercise("after.round_reads", _reads_cases, ours=round_reads, differently=_reads_by_position, tolerance=0,
             wrong=(_reads_causally, _reads_sliding, _reads_one_row_less),
             hints=("The five queries of a block all read the same rows: every row of the answer is equal.",
                    "The ring holds the last `window` of the rows that were read; the block sees itself whole, forwards and "
                    "backwards.",
                    "np.zeros((block, read + block), bool), then mask[:, max(0, read - window):] = True.")),
    Exercise("after.draft_chain", _chain_cases, ours=draft_chain, differently=_chain_by_table, tolerance=0,
             wrong=(_chain_from_the_anchor, _chain_all_at_once, _chain_turned_round),
             hints=("Left to right: each draft is the `previous` of the next; the first one's previous is the anchor.",
                    "What the token before adds to all V scores is w2 @ w1[previous].",
                    "previous = int(np.argmax(base[place] + w2 @ w1[previous])), and append it.")),
    Exercise("after.drafts_to_verify", _stop_cases, ours=drafts_to_verify, differently=_stop_step_by_step, tolerance=0,
             wrong=(_stop_at_the_best_of_all, _stop_without_product, _stop_ignoring_speed),
             hints=("Expected tokens of a pass with k drafts: 1 + a_1 + ... + a_k, where a_j is the product of the chances "
                    "up to j.",
                    "Times speeds[k] that is a rate. Take one draft more only if the rate rises.",
                    "Return at the first that does not raise it, even if a later one would.")),
    Exercise("after.comes_out", _out_cases, ours=comes_out, differently=_out_draft_by_draft,
             wrong=(_out_always_p, _out_unverified_kept, _out_not_shared),
             hints=("Go through the drafts x: it is drafted with probability q[x]. Three things can happen to it.",
                    "Verified and kept: q[x] min(1, p[x] / q[x]) stays on x. Verified and refused: the rest of q[x] goes to "
                    "residual(p, q).",
                    "Not verified: the model draws the token itself, so q[x] times all of p is added.")),
    Exercise("after.pooled_picks", _pool_cases, ours=pooled_picks, differently=_pool_by_mask, tolerance=0,
             wrong=(_pool_by_sum, _pool_one_level, _pool_newest_forgotten),
             hints=("First level: blocks. A block scores as its best row; the last block always stays, and counts as one of "
                    "`blocks`.",
                    "Second level: of all rows inside the kept blocks the k best; of equal ones the earlier. Give them in "
                    "rising order.",
                    "sorted(range(n), key=lambda b: (b != newest, -best[b], b))[:blocks] are the kept blocks.")),
]
