"""Lesson 07: affinity, the choice, the weights, and what one expert computes."""

import numpy as np

from v4mini.lessons.exercise import Exercise


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _chosen(rng, T, E, K):
    return np.argsort(rng.random((T, E)), axis=1)[:, :K]


def _affinity_cases(rng):
    yield "softplus is 1, 4, 9: affinity 1, 2, 3", (np.log(np.expm1(np.array([[1.0, 4.0, 9.0]]))).astype(np.float32),)
    yield "a score of 0", (np.zeros((1, 2), np.float32),)
    yield "many tokens, 8 experts", (_rows(rng, 5, 8) * 3,)
    yield "scores so large that exp(score) is inf", (np.array([[90.0, 1000.0, 0.0]], np.float32),)
    yield "scores so low that 1 + exp(score) is 1", (np.array([[-17.5, -18.5, -40.0]], np.float32),)


def _affinity_by_logarithm(scores):
    return np.sqrt(np.logaddexp(0, scores.astype(np.float64)))


def _affinity_without_root(scores):
    return np.logaddexp(0, scores)


def _affinity_overflows(scores):
    return np.sqrt(np.log1p(np.exp(scores)))


def _weight_cases(rng):
    yield "two of three", (np.array([[1.0, 2.0, 3.0]], np.float32), np.array([[2, 0]]), 1.0)
    yield "Flash's scale", (rng.uniform(0.1, 2, (4, 8)).astype(np.float32), _chosen(rng, 4, 8, 2), 1.5)
    yield "all of them", (rng.uniform(0.1, 2, (3, 4)).astype(np.float32), _chosen(rng, 3, 4, 4), 2.5)
    yield "one of many", (rng.uniform(0.1, 2, (2, 64)).astype(np.float32), _chosen(rng, 2, 64, 1), 1.5)


def _row_by_row(affinities, chosen, route_scale):
    out = []
    for row, picks in zip(affinities, chosen):
        out.append(route_scale * row[picks] / row[picks].sum())
    return np.stack(out)


def _over_all_experts(affinities, chosen, route_scale):
    shares = affinities / affinities.sum(axis=1, keepdims=True) * route_scale
    return np.take_along_axis(shares, chosen, axis=1)


def _without_scale(affinities, chosen, route_scale):
    return _row_by_row(affinities, chosen, 1.0)


def _route_cases(rng):
    pencil = np.log(np.expm1(np.array([[9.0, 2.25, 1.0, 0.25]]))).astype(np.float32)       # affinities 3, 1.5, 1, 0.5
    none = np.zeros(4, np.float32)
    yield "affinities 3, 1.5, 1, 0.5 and no bias", (pencil, 1.5, 2, none, None)
    yield "the same, a bias of +1 for expert 2", (pencil, 1.5, 2, np.array([0, 0, 1, 0], np.float32), None)
    yield "many tokens, 6 of 16 experts", (_rows(rng, 9, 16), 2.5, 6, _rows(rng, 16) / 2, None)
    yield "a tie: the earlier expert goes first", (np.zeros((2, 20), np.float32), 1.0, 3, np.zeros(20, np.float32), None)
    yield "three values for 64 experts: many ties", (rng.integers(0, 3, (4, 64)).astype(np.float32), 1.5, 8,
                                                     np.zeros(64, np.float32), None)
    yield "a bias far below zero", (_rows(rng, 4, 5), 1.5, 2, np.float32([-9, -8, -9, -8, -9]), None)
    yield "a table chooses, in its own order", (_rows(rng, 6, 8), 1.5, 2, None, _chosen(rng, 6, 8, 2))


def _route_token_by_token(scores, route_scale, k, bias=None, chosen=None):
    affinities = np.sqrt(np.logaddexp(0, scores))
    picks, weights = [], []
    for t, row in enumerate(affinities):
        ranked = sorted(range(len(row)), key=lambda e: (-(row[e] + bias[e]), e)) if chosen is None else list(chosen[t])
        picks.append(ranked[:k])
        weights.append(route_scale * row[picks[-1]] / row[picks[-1]].sum())
    return np.array(picks), np.array(weights)


def _route_leaks(scores, route_scale, k, bias=None, chosen=None):
    biased = np.sqrt(np.logaddexp(0, scores)) + (0 if bias is None else bias)
    chosen = np.argsort(-biased, axis=1, kind="stable")[:, :k] if chosen is None else chosen
    picked = np.take_along_axis(biased, chosen, axis=1)
    return chosen, picked / picked.sum(axis=1, keepdims=True) * route_scale


def _route_table_weighs_evenly(scores, route_scale, k, bias=None, chosen=None):
    if chosen is not None:
        return chosen, np.full(chosen.shape, route_scale / chosen.shape[1])
    return _route_token_by_token(scores, route_scale, k, bias)


def _route_unstable(scores, route_scale, k, bias=None, chosen=None):
    affinities = np.sqrt(np.logaddexp(0, scores))
    chosen = np.argsort(-(affinities + bias), axis=1)[:, :k] if chosen is None else chosen
    picked = np.take_along_axis(affinities, chosen, axis=1)
    return chosen, picked / picked.sum(axis=1, keepdims=True) * route_scale


def _swiglu_cases(rng):
    yield "silu(ln 3) = 0.75 ln 3", (np.log(np.array([[3.0]], np.float32)), np.array([[4.0]], np.float32), 10.0)
    yield "many numbers, none cut", (_rows(rng, 5, 8), _rows(rng, 5, 8), 10.0)
    yield "gates above the limit", (np.array([[9.0, 11.0, 50.0]], np.float32), np.ones((1, 3), np.float32), 10.0)
    yield "up beyond the limit on both sides", (np.ones((1, 4), np.float32), np.float32([[-30, -9, 9, 30]]), 10.0)
    yield "gates below the negative limit", (np.array([[-1.5, -2.5, -4.0]], np.float32), np.ones((1, 3), np.float32), 2.0)
    yield "limit 0: nothing is cut", (np.array([[3.0, 40.0]], np.float32), np.array([[-7.0, 60.0]], np.float32), 0)


def _swiglu_by_tanh(gate, up, limit):
    if limit:
        gate, up = np.where(gate > limit, limit, gate), np.where(np.abs(up) > limit, np.sign(up) * limit, up)
    return gate * up * 0.5 * (1 + np.tanh(gate / 2))


def _swiglu_cut_below(gate, up, limit):
    if limit:
        gate, up = np.clip(gate, -limit, limit), np.clip(up, -limit, limit)
    return gate / (1 + np.exp(-gate)) * up


def _swiglu_up_open_below(gate, up, limit):
    if limit:
        gate, up = np.minimum(gate, limit), np.minimum(up, limit)
    return gate / (1 + np.exp(-gate)) * up


EXERCISES = [
    Exercise("ops.route.affinity", _affinity_cases, differently=_affinity_by_logarithm,
             wrong=(_affinity_without_root, _affinity_overflows),
             hints=("softplus(z) = log(1 + exp(z)); the affinity is its square root.",
                    "exp(1000) is inf. For large z softplus(z) is z itself: above 20 the two agree to the last bit of float32.",
                    "For very low z, 1 + exp(z) rounds to 1 and its log to 0. np.log1p(x) is log(1 + x) without that loss. "
                    "Or let np.logaddexp(0, z) do both.")),
    Exercise("ops.route.gate_weights", _weight_cases, differently=_row_by_row, wrong=(_over_all_experts, _without_scale),
             hints=("Only the chosen count. np.take_along_axis(affinities, chosen, axis=1) picks them, row by row.",
                    "Divide each row by its own sum: axis=1, keepdims=True.",
                    "The rows must sum to route_scale, 1.5 in Flash: multiply at the end.")),
    Exercise("ops.route.route", _route_cases, differently=_route_token_by_token,
             wrong=(_route_leaks, _route_table_weighs_evenly, _route_unstable),
             hints=("Two questions, one after the other. Who: a table's row if there is one, else the k largest of "
                    "affinity + bias. How much: affinity alone.",
                    "np.argsort(-x, axis=1, kind='stable')[:, :k] gives the k largest, of equal ones the earlier.",
                    "Keep two arrays: `affinities` and `affinities + bias`. Sort by the second, weigh by the first.")),
    Exercise("ops.experts.swiglu", _swiglu_cases, differently=_swiglu_by_tanh, wrong=(_swiglu_cut_below, _swiglu_up_open_below),
             hints=("silu(x) = x / (1 + exp(-x)). The result is silu(gate) * up.",
                    "Cut first, then multiply: np.minimum(gate, limit) for the gate, np.clip(up, -limit, limit) for up.",
                    "A limit of 0 means no cut at all: leave both as they are.")),
]
