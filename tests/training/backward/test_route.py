"""The gate: gradients of its weights against finite differences. No gradient passes through the choice."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import FLOAT64, expect, finite_difference

from v4mini.ops import route as forward
from v4mini.training.backward.route import affinity


def weights_of(chosen, scale):
    def weights(scores):
        return np.array([[w for _, w in naive.route(row, None, 0, scale, table=mine)] for row, mine in zip(scores, chosen)])
    return weights


def check(engine, draw, scores, chosen, scale=1.5):
    g = draw(*chosen.shape)
    given, (g_here,) = engine.given(scores), engine.given(g)
    weights = forward.route(given[0], scale, chosen.shape[1], chosen=chosen)[1]
    found = engine.gradients.route(g_here, given[0], chosen, weights, scale)
    engine.agrees([found], weights_of(chosen, scale), [scores], g)
    return found


@pytest.mark.parametrize("size", [1.0, 8.0])
@pytest.mark.parametrize("T, E, K", [(4, 5, 2), (3, 6, 6), (1, 3, 2)])
def test_learned_layers(engine, draw, T, E, K, size):
    """Choices by affinity and bias; nothing comes back to those that were not chosen."""
    scores, bias = draw(T, E, size=size), draw(E)
    chosen = forward.choose(forward.affinity(scores), bias, K)
    found = check(engine, draw, scores, chosen)
    others = np.ones((T, E), bool)
    np.put_along_axis(others, chosen, False, axis=1)
    assert not found[others].any()


def test_where_every_affinity_is_next_to_nothing_shares_still_learn(engine, draw):
    """At -90 e^90 is beyond float32 and the affinities are 3e-20, yet what counts is how they compare."""
    check(engine, draw, np.float64(np.float32(-90 + draw(3, 4, size=0.5))), np.array([[0, 1], [3, 2], [1, 3]]))


def test_hash_layers(engine, draw):
    check(engine, draw, draw(4, 5), np.array([[4, 0], [1, 2], [0, 4], [3, 1]]))


def test_an_expert_that_a_table_names_twice_collects_twice(engine, draw):
    check(engine, draw, draw(2, 4), np.array([[2, 2], [0, 3]]))
    check(engine, draw, draw(1, 4), np.array([[1, 1, 3]]))


def test_one_expert_alone_always_weighs_the_same(engine, draw):
    given, g = engine.given(draw(3, 4), draw(3, 1))
    chosen, weights = forward.route(given, 1.5, 1, bias=np.zeros(4, engine.dtype))
    found = engine.gradients.route(g, given, chosen, weights, 1.5)
    np.testing.assert_allclose(found, 0, atol=1e-6)


def test_of_equal_experts_the_earlier_learns(engine, draw):
    """A tie at the edge of the choice: where it tips nothing is defined, so the gradient is that of what was chosen."""
    scores = np.array([[0.5, 1.0, 0.5, 0.5]])
    chosen = forward.choose(forward.affinity(scores), np.zeros(4), 2)
    assert chosen.tolist() == [[1, 0]]
    found = check(engine, draw, scores, chosen)
    assert found[0, 0] and found[0, 1] and not found[0, 2:].any()


def test_the_slope_of_an_affinity(draw):
    z = np.concatenate([draw(20, size=5), [-60, -30, -1e-3, 0, 1e-3, 19.99, 20.01, 21, 300]])[None]
    wanted, = finite_difference(np.vectorize(naive.affinity), [z], np.ones_like(z))
    expect(affinity(z, forward.affinity(z)), wanted, FLOAT64)


@pytest.mark.parametrize("dtype, lowest", [(np.float32, -120), (np.float64, -800)])
def test_where_softplus_underflows_nothing_is_divided_by_0(dtype, lowest):
    z = np.array([[lowest, -1e30, -np.inf, 0, 1e30]], dtype)
    slope = affinity(z, forward.affinity(z))
    assert slope.dtype == dtype
    np.testing.assert_allclose(slope, [[0, 0, 0, 0.5 / (2 * np.log(2) ** 0.5), 0]], rtol=1e-6, atol=1e-14)
