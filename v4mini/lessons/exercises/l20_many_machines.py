"""Lesson 20: which rows go where, in what order, how they are added up, and what the wire carries."""

import numpy as np

from v4mini.lessons.exercise import Exercise


def rows_for(chosen, experts, ranks):       # [T, K] int -> [ranks] int
    return np.bincount(chosen.ravel() // (experts // ranks), minlength=ranks)


def _rows_cases(rng):
    yield "two tokens, four experts, two ranks", (np.array([[0, 2], [1, 3]]), 4, 2)
    yield "one token needs rank 1 twice", (np.array([[2, 3]]), 4, 2)
    yield "nobody chose an expert of ranks 0 and 2", (np.array([[2, 3], [7, 6], [3, 7]]), 8, 4)
    yield "no tokens at all", (np.zeros((0, 2), int), 8, 4)
    yield "a hundred tokens, six of 64 experts", (np.stack([rng.permutation(64)[:6] for _ in range(100)]), 64, 8)


def _rows_one_by_one(chosen, experts, ranks):
    return np.array([sum(rank * experts <= e * ranks < (rank + 1) * experts for e in chosen.ravel()) for rank in range(ranks)])


def _rows_dealt_out(chosen, experts, ranks):
    return np.bincount(chosen.ravel() % ranks, minlength=ranks)


def _rows_once_a_token(chosen, experts, ranks):
    owner = chosen // (experts // ranks)
    return np.array([(owner == rank).any(1).sum() for rank in range(ranks)])


def _rows_too_short(chosen, experts, ranks):
    return np.bincount(chosen.ravel() // (experts // ranks))


def in_order(chosen):                       # [T, K] int -> token [T K], slot [T K]
    return np.divmod(np.argsort(chosen, axis=None, kind="stable"), chosen.shape[1])


def _order_cases(rng):
    yield "two tokens", (np.array([[2, 0], [1, 2]]),)
    yield "all want expert 3", (np.array([[3, 1], [0, 3], [3, 2]]),)
    yield "one choice each", (np.array([[4], [0], [4], [1]]),)
    yield "40 tokens", (np.stack([rng.permutation(8)[:3] for _ in range(40)]),)
    yield "no tokens", (np.zeros((0, 2), int),)


def _order_by_pairs(chosen):
    found = sorted((e, t, k) for (t, k), e in np.ndenumerate(chosen))
    return np.array([t for _, t, _ in found], int), np.array([k for _, _, k in found], int)


def _order_by_token(chosen):
    return np.divmod(np.arange(chosen.size), chosen.shape[1])


def _order_last_token_first(chosen):
    flipped = np.argsort(chosen.ravel()[::-1], kind="stable")
    return np.divmod(chosen.size - 1 - flipped, chosen.shape[1])


def _order_slot_by_slot(chosen):
    slot, token = np.divmod(np.argsort(chosen.T, axis=None, kind="stable"), max(len(chosen), 1))
    return slot, token


def combine(T, token, number, rows):        # int, [n] int, [n] int, [n, D] float32 -> [T, D] float32
    out = np.zeros((T, rows.shape[1]), np.float32)
    for i in np.argsort(number, kind="stable"):
        out[token[i]] += rows[i]
    return out


def _combine_cases(rng):
    yield "two answers for one token", (1, np.array([0, 0]), np.array([5, 2]), np.array([[1], [2]], np.float32))
    yield "the order of the sum shows in its bits", (1, np.array([0, 0, 0]), np.array([2, 0, 1]),
                                                     np.array([[1], [1e8], [-1e8]], np.float32))
    yield "token 1 has no answer", (3, np.array([2, 0]), np.array([1, 1]), np.ones((2, 2), np.float32))
    token = rng.permutation(np.repeat(np.arange(20), 3))
    number = np.zeros(60, int)
    for t in range(20):
        number[token == t] = rng.permutation(8)[:3]
    yield "60 answers in the order of arrival", (20, token, number, rng.standard_normal((60, 16), dtype=np.float32))


def _combine_expert_by_expert(T, token, number, rows):
    out = np.zeros((T, rows.shape[1]), np.float32)
    for e in np.unique(number):
        out[token[number == e]] += rows[number == e]
    return out


def _combine_on_arrival(T, token, number, rows):
    out = np.zeros((T, rows.shape[1]), np.float32)
    np.add.at(out, token, rows)
    return out


def _combine_keeps_one(T, token, number, rows):
    out = np.zeros((T, rows.shape[1]), np.float32)
    order = np.argsort(number, kind="stable")
    out[token[order]] += rows[order]
    return out


def wire_bytes(tokens, k, width, ranks, there, back):       # -> bytes
    return tokens * k * (ranks - 1) / ranks * width * (there + back)


def _wire_cases(rng):
    yield "one process: nothing travels", (10, 2, 256, 1, 4, 4)
    yield "two processes, float32 both ways", (10, 2, 256, 2, 4, 4)
    yield "four processes", (64, 2, 256, 4, 4, 4)
    yield "Flash on 8: FP8 there, BF16 back", (4096, 6, 4096, 8, 1, 2)
    yield "Pro on 64", (1, 6, 7168, 64, 1, 2)


def _wire_by_rows(tokens, k, width, ranks, there, back):
    rows_each = tokens * k / ranks
    return sum(rows_each * width * (there + back) for _ in range(ranks - 1))


def _wire_nobody_stays(tokens, k, width, ranks, there, back):
    return tokens * k * width * (there + back)


def _wire_one_way(tokens, k, width, ranks, there, back):
    return tokens * k * (ranks - 1) / ranks * width * there


EXERCISES = [
    Exercise("ranks.rows_for", _rows_cases, ours=rows_for, differently=_rows_one_by_one, tolerance=0,
             wrong=(_rows_dealt_out, _rows_once_a_token, _rows_too_short),
             hints=("Rank r holds experts r * n to (r + 1) * n - 1, with n = experts // ranks: expert e lies on rank e // n.",
                    "np.bincount(owners, minlength=ranks) counts; without minlength the last ranks may be missing.")),
    Exercise("ranks.in_order", _order_cases, ours=in_order, differently=_order_by_pairs, tolerance=0,
             wrong=(_order_by_token, _order_last_token_first, _order_slot_by_slot),
             hints=("Flattened, chosen[t, k] stands at place t * K + k.",
                    "np.argsort(chosen, axis=None, kind='stable') sorts the places by expert and keeps tokens in order.",
                    "np.divmod(places, K) takes a place apart into token and slot.")),
    Exercise("ranks.combine", _combine_cases, ours=combine, differently=_combine_expert_by_expert, tolerance=0,
             wrong=(_combine_on_arrival, _combine_keeps_one),
             hints=("First bring the answers into the order of their experts: np.argsort(number, kind='stable').",
                    "out[token] += rows keeps only one of two answers for the same token: add them one by one.",
                    "Sum in float32, as one process does.")),
    Exercise("ranks.wire_bytes", _wire_cases, ours=wire_bytes, differently=_wire_by_rows,
             wrong=(_wire_nobody_stays, _wire_one_way),
             hints=("tokens * k rows; of them one in `ranks` finds its expert at home.",
                    "Each row that leaves goes there and comes back: width * (there + back) bytes.")),
]
