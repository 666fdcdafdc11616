"""Lesson 15: what a refused draft leaves over, how many drafts are accepted, and how many drafts are worth their price."""

import numpy as np

from v4mini.inference.speculate import residual
from v4mini.lessons.exercise import Exercise
from v4mini.planning.speculation import expected_tokens, speed_up


def accepted_drafts(drafts, draft_probs, target_probs, coins):       # [k] ints, [k, V], [k + 1, V], [k] of 0..1 -> int, [V]
    accepted = 0
    for token, q, p, coin in zip(drafts, draft_probs, target_probs, coins):
        if p[token] < q[token] and coin >= p[token] / q[token]:
            return accepted, residual(p, q)
        accepted += 1
    return accepted, target_probs[accepted]


def best_drafts(acceptance, verify_costs, draft_cost):      # -> int
    return int(np.argmax([speed_up(acceptance, k, cost, draft_cost) for k, cost in enumerate(verify_costs)]))


def _shares(rng, *shape):
    weights = rng.random(shape)**3
    return weights / weights.sum(axis=-1, keepdims=True)


def _residual_cases(rng):
    yield "three tokens, by pencil", (np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.25, 0.25]))
    yield "no token in common: all of p is left", (np.array([0.0, 1.0, 0.0]), np.array([0.5, 0.0, 0.5]))
    yield "p and q are the same: nothing is left, so p itself", (np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    yield "q drafts what p never draws", (np.array([0.2, 0.8, 0.0]), np.array([0.1, 0.1, 0.8]))
    yield "a thousand tokens", (_shares(rng, 1000), _shares(rng, 1000))


def _residual_token_by_token(p, q):
    rest = [max(float(a) - float(b), 0.0) for a, b in zip(p, q)]
    return np.array([value / sum(rest) for value in rest]) if sum(rest) else np.array(p)


def _residual_not_normalised(p, q):
    return np.maximum(p - q, 0)


def _residual_of_both_sides(p, q):
    return np.abs(p - q) / max(np.abs(p - q).sum(), 1e-300)


def _accepted_cases(rng):
    p, q, sure = np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.25, 0.25]), np.eye(3)
    yield "the drafter draws token 0 twice as often as the model; the coin 0.4 is below one half", ([0], [q], [p, sure[1]], [0.4])
    yield "the same, with the coin 0.6", ([0], [q], [p, sure[1]], [0.6])
    yield "drafted less often than the model draws it: no coin can refuse it", ([2], [q], [p, sure[1]], [0.999])
    yield "the first refused, the second would be fine", ([0, 2], [q, q], [p, p, p], [0.9, 0.0])
    yield "temperature 0: all on one token, twice right, then wrong", ([1, 0, 2], sure[[1, 0, 2]], sure[[1, 0, 0, 1]], [0.0] * 3)
    yield "no drafts", ([], np.zeros((0, 3)), [p], [])
    draft_probs, target_probs = _shares(rng, 4, 50), _shares(rng, 5, 50)
    target_probs[:3] = 0.5 * target_probs[:3] + 0.5 * draft_probs[:3]
    yield "four drafts of fifty tokens", ([int(q.argmax()) for q in draft_probs], draft_probs, target_probs, rng.random(4) * 0.5)


def _accepted_by_ratios(drafts, draft_probs, target_probs, coins):
    good = [coin * q[token] < p[token] for token, q, p, coin in zip(drafts, draft_probs, target_probs, coins)]
    accepted = int(np.cumprod([*good, False]).sum())
    left = np.array(target_probs[accepted], np.float64)
    if accepted < len(drafts):
        left = np.clip(left - draft_probs[accepted], 0, None)
        left = left / left.sum()
    return accepted, left


def _accepted_without_stopping(drafts, draft_probs, target_probs, coins):
    good = [coin * q[token] < p[token] for token, q, p, coin in zip(drafts, draft_probs, target_probs, coins)]
    accepted = int(sum(good))
    last = target_probs[accepted]
    return accepted, last if accepted == len(drafts) else residual(last, draft_probs[accepted])


def _accepted_drawn_anew(drafts, draft_probs, target_probs, coins):
    accepted, _ = accepted_drafts(drafts, draft_probs, target_probs, coins)
    return accepted, target_probs[accepted]


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
    Exercise("inference.speculate.residual", _residual_cases, differently=_residual_token_by_token,
             wrong=(_residual_not_normalised, _residual_of_both_sides),
             hints=("Only where p is larger than q does p lack anything: np.maximum(p - q, 0).",
                    "The answer is a distribution: divide by the sum, so that it sums to 1.",
                    "If the sum is 0 there is nothing to divide by. Then p and q agree, and p is the answer.")),
    Exercise("speculation.accepted_drafts", _accepted_cases, ours=accepted_drafts, differently=_accepted_by_ratios,
             wrong=(_accepted_without_stopping, _accepted_drawn_anew),
             hints=("Go through zip(drafts, draft_probs, target_probs, coins) and count. A draft is accepted if the coin is "
                    "below p[token] / q[token], which may be above 1.",
                    "The first refused draft ends it: return the count so far and residual(p, q) of that place.",
                    "Without a refusal the last row of target_probs is still unused: it gives one token more.")),
    Exercise("speculation.best_drafts", _best_cases, ours=best_drafts, differently=_best_by_closed_form, tolerance=0,
             wrong=(_best_by_tokens, _best_without_draft_cost),
             hints=("For each k: tokens of a pass, 1 + a + ... + a**k, divided by its price, verify_costs[k] + k * draft_cost.",
                    "np.argmax of that list is k; of equal ones it takes the first, the fewest drafts.",
                    "It gives a NumPy number; int() makes it a whole number.")),
]
