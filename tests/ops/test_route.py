"""Which experts, and how much of each."""

import numpy as np
import pytest
from ops import naive
from tolerances import OP

from v4mini.engines import choose_backend
from v4mini.ops.route import affinity, choose, gate_weights, route


@pytest.mark.parametrize("size", [0.0, 1.0, 20.0, 80.0, 1e6])
def test_affinity_is_the_root_of_softplus(rng, size):
    z = np.abs(rng.standard_normal((5, 7), dtype=np.float32)) * np.float32(size) - np.float32(min(size, 40))
    np.testing.assert_allclose(affinity(z), np.vectorize(naive.affinity)(np.float64(z)), rtol=OP["rtol"], atol=0)


@pytest.mark.parametrize("T, E, K", [(0, 4, 2), (1, 1, 1), (9, 5, 2), (9, 256, 6), (4, 6, 6)])
def test_learned_layers_choose_by_affinity_plus_bias_and_weigh_by_affinity(rng, T, E, K):
    scores, bias = rng.standard_normal((T, E), dtype=np.float32), rng.standard_normal(E, dtype=np.float32)
    chosen, weights = route(scores, 1.5, K, bias=bias)
    wanted = [naive.route(row, bias, K, 1.5) for row in scores]
    assert chosen.tolist() == [[e for e, _ in row] for row in wanted]
    np.testing.assert_allclose(weights, np.array([[w for _, w in row] for row in wanted]).reshape(T, K), **OP)


def test_hash_layers_take_the_table_and_still_weigh_by_score(rng):
    scores, table = rng.standard_normal((6, 5), dtype=np.float32), np.array([rng.permutation(5)[:2] for _ in range(6)])
    chosen, weights = route(scores, 2.5, 2, chosen=table)
    assert np.array_equal(chosen, table)
    wanted = [[w for _, w in naive.route(row, None, 2, 2.5, table=picked)] for row, picked in zip(scores, table)]
    np.testing.assert_allclose(weights, wanted, **OP)
    assert np.abs(weights[:, 0] - weights[:, 1]).min() > 1e-4       # uniform 1/k is a known mistake


@pytest.mark.parametrize("route_scale", [0.5, 1.0, 1.5, 2.5])
def test_weights_sum_to_route_scale(rng, route_scale):
    _, weights = route(rng.standard_normal((20, 9), dtype=np.float32) * 5, route_scale, 3, bias=np.zeros(9, np.float32))
    np.testing.assert_allclose(weights.sum(1), route_scale, **OP)


def test_a_bias_that_changes_no_choice_changes_no_weight(rng):
    scores = rng.standard_normal((20, 6), dtype=np.float32)
    _, without = route(scores, 1.5, 6, bias=np.zeros(6, np.float32))
    chosen, weights = route(scores, 1.5, 6, bias=np.float32([3, -1, 0, 2, 9, -5]))
    plain, _ = route(scores, 1.5, 6, bias=np.zeros(6, np.float32))
    by_expert = [np.take_along_axis(w, np.argsort(c, 1), 1) for w, c in ((weights, chosen), (without, plain))]
    np.testing.assert_allclose(*by_expert, **OP)


def test_a_large_bias_draws_every_token():
    chosen, _ = route(np.zeros((4, 5), np.float32), 1.0, 1, bias=np.float32([0, 0, 0, 9, 0]))
    assert chosen.tolist() == [[3]] * 4


def test_of_equal_experts_the_earlier_is_chosen():
    assert choose(np.ones((2, 6), np.float32), np.zeros(6, np.float32), 3).tolist() == [[0, 1, 2]] * 2


def test_weights_follow_the_order_of_the_chosen():
    weights = gate_weights(np.float32([[1, 2, 3]]), np.array([[2, 0]]), 1.0)
    np.testing.assert_allclose(weights, [[0.75, 0.25]], **OP)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_number_to_choose_by_that_is_none_shows_in_the_weights_of_that_token_alone(rng, engine):
    ops = choose_backend(engine)
    scores, bias = rng.standard_normal((3, 7), dtype=np.float32), np.zeros(7, np.float32)
    scores[1, 4] = np.nan               # expert 4 is not chosen, as NaN ranks last; but it might have been
    chosen, weights = ops.route(scores, 1.5, 2, bias=bias)
    assert 4 not in chosen[1] and np.isnan(weights[1]).all() and np.isfinite(weights[[0, 2]]).all()
    bias[3] = np.nan
    assert np.isnan(ops.route(scores[:1], 1.5, 2, bias=bias)[1]).all()
    table = np.array([[0, 1], [2, 3], [5, 6]])
    assert np.isfinite(ops.route(scores, 1.5, 2, chosen=table)[1]).all()                # nothing was chosen by them
