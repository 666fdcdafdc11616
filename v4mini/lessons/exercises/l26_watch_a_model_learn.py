"""Lesson 26: the loss and its slope, and the tokens that a sampler may draw."""

import numpy as np

from v4mini.inference.sampling import distribution
from v4mini.lessons.exercise import Exercise


def loss_and_slope(logits, targets):        # [T, V], [T] int -> nats a token, d loss / d logits [T, V]
    logits = np.asarray(logits, np.float64)
    log_total = np.logaddexp.reduce(logits, axis=1)
    at = np.arange(len(targets))
    slope = np.exp(logits - log_total[:, None])
    slope[at, targets] -= 1
    return float((log_total - logits[at, targets]).mean()), slope / len(targets)


def best_tokens(logits, temperature, top_p):        # [V], above 0, above 0 and up to 1 -> [V], sums to 1
    return distribution(logits, temperature, top_p)


def _loss_cases(rng):
    yield "one token of two, equal: ln 2", (np.zeros((1, 2)), np.array([0]))
    yield "chances 1/4 and 3/4", (np.log([[1.0, 3.0]]), np.array([1]))
    yield "several tokens of a vocabulary of 8", (rng.standard_normal((5, 8)), rng.integers(0, 8, 5))
    yield "logits of 1000: exp overflows", (1000 + rng.standard_normal((3, 4)), np.array([0, 1, 3]))
    yield "a right token that was thought impossible", (np.array([[0.0, -2000.0]]), np.array([1]))
    yield "tokens a thousand apart", (np.array([[900.0, 901.0], [-900.0, -899.0]]), np.array([0, 1]))


def _loss_by_softmax(logits, targets):
    shifted = logits - logits.max(axis=1, keepdims=True)
    chances = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    right = np.eye(logits.shape[1])[targets]
    nats = np.log(np.exp(shifted).sum(axis=1)) - (shifted * right).sum(axis=1)
    return nats.mean(), (chances - right) / len(targets)


def _loss_overflows(logits, targets):
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    right = np.eye(logits.shape[1])[targets]
    return -np.log(chances[np.arange(len(targets)), targets]).mean(), (chances - right) / len(targets)


def _loss_one_top_for_all(logits, targets):
    shifted = logits - logits.max()
    chances = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    right = np.eye(logits.shape[1])[targets]
    return -np.log(chances[np.arange(len(targets)), targets]).mean(), (chances - right) / len(targets)


def _slope_of_the_sum(logits, targets):
    loss, slope = loss_and_slope(logits, targets)
    return loss, slope * len(targets)


def _slope_without_the_target(logits, targets):
    loss, slope = loss_and_slope(logits, targets)
    return loss, slope + np.eye(logits.shape[1])[targets] / len(targets)


def _draw_cases(rng):
    pencil = np.log([5.0, 3.0, 1.0, 1.0])
    yield "chances 5, 3, 1, 1 of 10: the first two hold 0.8", (pencil, 1.0, 0.79)
    yield "0.81 needs one more, of equal ones the earlier", (pencil, 1.0, 0.81)
    yield "all of them", (pencil, 1.0, 1.0)
    yield "a low temperature", (pencil, 0.5, 0.9)
    yield "a high temperature", (pencil, 3.0, 0.5)
    yield "forty equal tokens: the first twenty-one", (np.zeros(40), 1.0, 0.51)
    yield "logits of 1000, and one that is impossible", (np.array([1000.0, 1001.0, -np.inf, 999.0]), 1.0, 0.95)


def _draw_one_by_one(logits, temperature, top_p):
    scaled = logits / temperature
    p = np.exp(scaled - np.logaddexp.reduce(scaled))
    kept, mass = np.zeros(len(p)), 0.0
    for token in sorted(range(len(p)), key=lambda token: (-logits[token], token)):
        if mass >= top_p:
            break
        kept[token], mass = p[token], mass + p[token]
    return kept / kept.sum()


def _draw_one_too_few(logits, temperature, top_p):
    p = distribution(logits, temperature, 1.0)
    order = np.argsort(-logits, kind="stable")
    p[order[np.cumsum(p[order]) > top_p + 1e-12]] = 0
    return p / p.sum() if p.sum() else p


def _draw_of_equal_ones_the_last(logits, temperature, top_p):
    return distribution(np.asarray(logits)[::-1], temperature, top_p)[::-1]


def _draw_not_divided_again(logits, temperature, top_p):
    return np.where(distribution(logits, temperature, top_p) > 0, distribution(logits, temperature, 1.0), 0)


def _draw_cut_before_the_temperature(logits, temperature, top_p):
    kept = distribution(logits, 1.0, top_p) > 0
    return distribution(np.where(kept, logits, -np.inf), temperature, 1.0)


EXERCISES = [
    Exercise("watching.loss_and_slope", _loss_cases, ours=loss_and_slope, differently=_loss_by_softmax,
             wrong=(_loss_overflows, _loss_one_top_for_all, _slope_of_the_sum, _slope_without_the_target),
             hints=("A token costs log(sum of exp(logits)) - logits[target] nats. The loss is the mean over the tokens.",
                    "Take each row's own maximum off before np.exp, and stay with logarithms: log of a chance that is 0 is -inf.",
                    "The slope: the chances, minus 1 at the right token, all divided by the number of tokens.")),
    Exercise("watching.best_tokens", _draw_cases, ours=best_tokens, differently=_draw_one_by_one,
             wrong=(_draw_one_too_few, _draw_of_equal_ones_the_last, _draw_not_divided_again, _draw_cut_before_the_temperature),
             hints=("First the chances: softmax of logits / temperature.",
                    "np.argsort(-logits, kind='stable') has the best first, of equal ones the earlier. A token stays if those "
                    "before it hold less than top_p together.",
                    "np.cumsum(p[order]) - p[order] is what the better ones hold. Set the rest to 0 and divide by the sum.")),
]
