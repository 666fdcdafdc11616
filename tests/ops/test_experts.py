"""Clamped SwiGLU experts."""

from types import SimpleNamespace

import numpy as np
import pytest
from ops import naive
from tolerances import OP

from v4mini.numerics.matrix import Matrix
from v4mini.ops.experts import expert, experts, swiglu
from v4mini.ops.linear import linear

D, INTER, LIMIT = 6, 5, 1.25


def an_expert(rng):
    shapes = {"w1": (INTER, D), "w2": (D, INTER), "w3": (INTER, D)}
    return SimpleNamespace(**{name: Matrix(rng.standard_normal(shape, dtype=np.float32) * 2) for name, shape in shapes.items()})


def one(x, w, limit, weight=1.0):
    return naive.expert(x, w.w1.dense(), w.w2.dense(), w.w3.dense(), limit, weight)


@pytest.mark.parametrize("gate, up, wanted_gate, wanted_up", [
    (9, 9, 2, 2), (-9, -9, -9, -2), (1.5, -1.5, 1.5, -1.5), (9, -9, 2, -2), (-9, 9, -9, 2), (0, 5, 0, 2)])
def test_the_gate_is_cut_above_only_and_up_on_both_sides(gate, up, wanted_gate, wanted_up):
    got = swiglu(np.float32([[gate]]), np.float32([[up]]), 2.0)
    np.testing.assert_allclose(got, naive.silu(wanted_gate) * wanted_up, **OP)


@pytest.mark.parametrize("limit", [0.0, 0.5, 10.0])
def test_swiglu_is_silu_of_the_gate_times_up(rng, limit):
    gate, up = (rng.standard_normal((9, 5), dtype=np.float32) * 8 for _ in range(2))
    wanted = np.vectorize(lambda g, u: naive.swiglu(float(g), float(u), limit))(gate, up)
    np.testing.assert_allclose(swiglu(gate, up, limit), wanted, **OP)


@pytest.mark.parametrize("gate", [-1e30, -1e4, -89.0, -88.0])
def test_a_very_negative_gate_gives_zero_and_no_warning(gate):
    np.testing.assert_allclose(swiglu(np.float32([[gate]]), np.float32([[3]]), 10.0), 0, atol=1e-30)


@pytest.mark.parametrize("T", [0, 1, 7])
@pytest.mark.parametrize("limit", [0.0, LIMIT])
def test_one_expert(rng, T, limit):
    x, w = rng.standard_normal((T, D), dtype=np.float32), an_expert(rng)
    np.testing.assert_allclose(expert(x, w, limit, linear), np.array([one(row, w, limit) for row in x]).reshape(T, D), **OP)


@pytest.mark.parametrize("T, E, K", [(0, 3, 2), (1, 3, 2), (9, 4, 1), (9, 4, 4)])
def test_a_token_gets_the_weighed_sum_of_its_own_experts(rng, T, E, K):
    x, pool = rng.standard_normal((T, D), dtype=np.float32), [an_expert(rng) for _ in range(E)]
    chosen = np.array([rng.permutation(E)[:K] for _ in range(T)], np.int64).reshape(T, K)
    weights = rng.random((T, K), dtype=np.float32)
    wanted = [sum(one(x[t], pool[e], LIMIT, w) for e, w in zip(chosen[t], weights[t])) for t in range(T)]
    np.testing.assert_allclose(experts(x, chosen, weights, pool, LIMIT, linear), np.array(wanted).reshape(T, D), **OP)


def test_an_expert_that_nobody_chose_is_never_touched(rng):
    pool = [an_expert(rng), None, an_expert(rng)]       # touching None would raise
    chosen = np.array([[0, 2], [2, 0], [0, 2]])
    experts(rng.standard_normal((3, D), dtype=np.float32), chosen, np.ones((3, 2), np.float32), pool, LIMIT, linear)


def test_the_routing_weight_is_applied_before_w2(rng):
    """Where w2's input is rounded, before or after is not the same; the reference weighs first."""
    seen = []

    def watch(x, weight):
        seen.append(x)
        return linear(x, weight)

    w, x = an_expert(rng), rng.standard_normal((2, D), dtype=np.float32)
    expert(x, w, LIMIT, watch, np.float32([0, 2]))
    hidden = swiglu(linear(x, w.w1), linear(x, w.w3), LIMIT)
    assert np.array_equal(seen[-1], hidden * np.float32([[0], [2]]))
