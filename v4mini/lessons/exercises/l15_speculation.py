"""Lesson 15: what a refused draft leaves over, how a run of drafts is judged, and how many drafts are worth their price."""

import numpy as np

from v4mini.inference.speculate import remainder
from v4mini.lessons.exercise import Exercise
from v4mini.planning.speculation import expected_tokens, speed_up


def judged(drafts, offered, wanted, coins):     # [k] ints, [k, V], [k + 1, V], [k] of 0..1 -> int, [V]
    accepted = 0
    for token, q, p, coin in zip(drafts, offered, wanted, coins):
        if p[token] < q[token] and coin >= p[token] / q[token]:
            return accepted, remainder(p, q)
        accepted += 1
    return accepted, wanted[accepted]


def best_drafts(acceptance, verify_costs, draft_cost):      # -> int
    return int(np.argmax([speed_up(acceptance, k, cost, draft_cost) for k, cost in enumerate(verify_costs)]))


def _shares(rng, *shape):
    weights = rng.random(shape)**3
    return weights / weights.sum(axis=-1, keepdims=True)


def _remainder_cases(rng):
    yield "three tokens, by pencil", (np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.25, 0.25]))
    yield "no token in common: all of p is left", (np.array([0.0, 1.0, 0.0]), np.array([0.5, 0.0, 0.5]))
    yield "p and q are the same: nothing is left, so p itself", (np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    yield "q offers what p never wants", (np.array([0.2, 0.8, 0.0]), np.array([0.1, 0.1, 0.8]))
    yield "a thousand tokens", (_shares(rng, 1000), _shares(rng, 1000))


def _remainder_token_by_token(p, q):
    rest = [max(float(a) - float(b), 0.0) for a, b in zip(p, q)]
    return np.array([value / sum(rest) for value in rest]) if sum(rest) else np.array(p)


def _remainder_not_shared_out(p, q):
    return np.maximum(p - q, 0)


def _remainder_of_both_sides(p, q):
    return np.abs(p - q) / max(np.abs(p - q).sum(), 1e-300)


def _judge_cases(rng):
    p, q, sure = np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.25, 0.25]), np.eye(3)
    yield "token 0 is offered twice as often as wanted; the coin 0.4 is below one half", ([0], [q], [p, sure[1]], [0.4])
    yield "the same, with the coin 0.6", ([0], [q], [p, sure[1]], [0.6])
    yield "offered less often than wanted: no coin can refuse it", ([2], [q], [p, sure[1]], [0.999])
    yield "the first refused, the second would be fine", ([0, 2], [q, q], [p, p, p], [0.9, 0.0])
    yield "temperature 0: all on one token, twice right, then wrong", ([1, 0, 2], sure[[1, 0, 2]], sure[[1, 0, 0, 1]], [0.0] * 3)
    yield "no drafts", ([], np.zeros((0, 3)), [p], [])
    offered, wanted = _shares(rng, 4, 50), _shares(rng, 5, 50)
    wanted[:3] = 0.5 * wanted[:3] + 0.5 * offered[:3]
    yield "four drafts of fifty tokens", ([int(q.argmax()) for q in offered], offered, wanted, rng.random(4) * 0.5)


def _judge_by_ratios(drafts, offered, wanted, coins):
    good = [coin * q[token] < p[token] for token, q, p, coin in zip(drafts, offered, wanted, coins)]
    accepted = int(np.cumprod([*good, False]).sum())
    left = np.array(wanted[accepted], np.float64)
    if accepted < len(drafts):
        left = np.clip(left - offered[accepted], 0, None)
        left = left / left.sum()
    return accepted, left


def _judge_without_stopping(drafts, offered, wanted, coins):
    good = [coin * q[token] < p[token] for token, q, p, coin in zip(drafts, offered, wanted, coins)]
    accepted = int(sum(good))
    return accepted, wanted[accepted] if accepted == len(drafts) else remainder(wanted[accepted], offered[accepted])


def _judge_drawn_anew(drafts, offered, wanted, coins):
    accepted, _ = judged(drafts, offered, wanted, coins)
    return accepted, wanted[accepted]


def _best_cases(rng):
    yield "longer passes cost nothing, drafts a tenth: half are accepted", (0.5, [1, 1, 1, 1], 0.1)
    yield "a draft as dear as a step never pays", (0.9, [1, 1.1, 1.2], 1.0)
    yield "nothing is ever accepted", (0.0, [1, 1, 1], 0.0)
    yield "everything is: drafts as many as there may be", (1.0, [1, 1.2, 1.4, 1.6, 1.8], 0.1)
    yield "weights of Flash for one text", (0.85, [1, 1.3, 1.594, 1.88, 2.158, 2.43], 0.117)
    yield "every token costs a step: a processor that is busy already", (0.9, [1, 2, 3, 4], 0.05)


def _best_by_closed_form(acceptance, verify_costs, draft_cost):
    speeds = []
    for k, cost in enumerate(verify_costs):
        tokens = k + 1 if acceptance == 1 else (1 - acceptance ** (k + 1)) / (1 - acceptance)
        speeds.append(tokens / (cost + k * draft_cost))
    return speeds.index(max(speeds))


def _best_by_tokens(acceptance, verify_costs, draft_cost):
    return int(np.argmax([expected_tokens(acceptance, k) for k in range(len(verify_costs))]))


def _best_without_draft_cost(acceptance, verify_costs, draft_cost):
    return best_drafts(acceptance, verify_costs, 0.0)


EXERCISES = [
    Exercise("inference.speculate.remainder", _remainder_cases, differently=_remainder_token_by_token,
             wrong=(_remainder_not_shared_out, _remainder_of_both_sides),
             hints=("Only where p is larger than q does p lack anything: np.maximum(p - q, 0).",
                    "The answer is a distribution: divide by the sum, so that it sums to 1.",
                    "If the sum is 0 there is nothing to divide by. Then p and q agree, and p is the answer.")),
    Exercise("speculation.judged", _judge_cases, ours=judged, differently=_judge_by_ratios,
             wrong=(_judge_without_stopping, _judge_drawn_anew),
             hints=("Go through zip(drafts, offered, wanted, coins) and count. A draft is accepted if the coin is below "
                    "p[token] / q[token], which may be above 1.",
                    "The first refused draft ends it: return the count so far and remainder(p, q) of that place.",
                    "Without a refusal the last row of wanted is still unused: it gives one token more.")),
    Exercise("speculation.best_drafts", _best_cases, ours=best_drafts, differently=_best_by_closed_form, tolerance=0,
             wrong=(_best_by_tokens, _best_without_draft_cost),
             hints=("For each k: tokens of a pass, 1 + a + ... + a**k, divided by its price, verify_costs[k] + k * draft_cost.",
                    "np.argmax of that list is k; of equal ones it takes the first, the fewest drafts.",
                    "It gives a NumPy number; int() makes it a whole number.")),
]
