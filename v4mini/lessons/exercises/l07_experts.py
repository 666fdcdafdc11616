"""Lesson 07: how much each chosen expert counts."""

import numpy as np

from v4mini.lessons.exercise import Exercise


def _cases(rng):
    yield "two of three", (np.array([[1.0, 2.0, 3.0]], np.float32), np.array([[2, 0]]), 1.0)
    yield "Flash's scale", (rng.uniform(0.1, 2, (4, 8)).astype(np.float32), _chosen(rng, 4, 8, 2), 1.5)
    yield "all of them", (rng.uniform(0.1, 2, (3, 4)).astype(np.float32), _chosen(rng, 3, 4, 4), 2.5)
    yield "one of many", (rng.uniform(0.1, 2, (2, 64)).astype(np.float32), _chosen(rng, 2, 64, 1), 1.5)


def _chosen(rng, T, E, K):
    return np.argsort(rng.random((T, E)), axis=1)[:, :K]


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


EXERCISES = [
    Exercise("ops.route.gate_weights", _cases, differently=_row_by_row, wrong=(_over_all_experts, _without_scale),
             hints=("Only the chosen count. np.take_along_axis(affinities, chosen, axis=1) picks them, row by row.",
                    "Divide each row by its own sum: axis=1, keepdims=True.",
                    "The rows must sum to route_scale, 1.5 in Flash: multiply at the end.")),
]
