"""Experts run on the tokens that chose them, as in ops.experts."""

import dataclasses

import numpy as np
import pytest
from tolerances import OP, SAME_MODEL

from v4mini.kernels import blas, experts
from v4mini.kernels.linear import linear
from v4mini.numerics.matrix import Matrix
from v4mini.ops import experts as numpy_experts
from v4mini.ops.linear import linear as numpy_linear
from v4mini.shapes import Refused
from v4mini.weights.tree import Expert


def pool_of(normal, E, D, inter):
    return [Expert(*(Matrix(normal(*shape) / 4) for shape in ((inter, D), (D, inter), (inter, D)))) for _ in range(E)]


@pytest.mark.parametrize("T, inter", [(0, 5), (1, 1), (3, 33), (40, 24)])
@pytest.mark.parametrize("limit", [0, 2.0])
def test_swiglu_agrees_with_numpy(normal, T, inter, limit, either_way):
    gate, up = normal(T, inter) * 4, normal(T, inter) * 4
    np.testing.assert_allclose(experts.swiglu(gate, up, limit), numpy_experts.swiglu(gate, up, limit), **OP)


def test_swiglu_at_its_ends():
    gate = np.array([[-np.inf, -200, -88, 200, np.nan, 1, 0, 1e30]], np.float32)
    up = np.array([[1, 1e30, 1, 1, 1, np.nan, np.inf, -1e30]], np.float32)
    with np.errstate(invalid="ignore"):                 # -inf / inf
        got, wanted = experts.swiglu(gate, up, 10.0), numpy_experts.swiglu(gate, up, 10.0)
    np.testing.assert_array_equal(np.isnan(got[0, [4, 5]]), True)
    np.testing.assert_allclose(got[0, 1:], wanted[0, 1:], **OP)


@pytest.mark.parametrize("T, E, K", [(0, 3, 2), (1, 3, 2), (2, 1, 1), (37, 5, 2), (20, 6, 6)])
def test_experts_agree_with_numpy(normal, rng, T, E, K, either_way):
    pool, x, weights = pool_of(normal, E, 12, 7), normal(T, 12), normal(T, K)
    chosen = np.argsort(rng.random((T, E)), axis=1)[:, :K]
    np.testing.assert_allclose(experts.experts(x, chosen, weights, pool, 2.0, linear),
                               numpy_experts.experts(x, chosen, weights, pool, 2.0, numpy_linear), **SAME_MODEL)
    np.testing.assert_allclose(experts.expert(x, pool[0], 2.0, linear),
                               numpy_experts.expert(x, pool[0], 2.0, numpy_linear), **SAME_MODEL)


def test_experts_that_nobody_chose_are_not_touched(normal):
    pool = [*pool_of(normal, 1, 4, 4), None, None]
    experts.experts(normal(3, 4), np.zeros((3, 1), np.int64), normal(3, 1), pool, 2.0, linear)


def test_sorting_by_expert_keeps_tokens_in_order():
    chosen = np.array([[2, 0], [0, 3], [2, 3]])
    starts, tokens, weights, places = experts._by_expert(chosen, np.arange(6, dtype=np.float32).reshape(3, 2), 4)
    assert starts.tolist() == [0, 2, 2, 4, 6] and tokens.tolist() == [0, 1, 0, 2, 1, 2]
    assert places.tolist() == [[0, 2], [1, 4], [3, 5]]
    assert weights.tolist() == [1, 2, 0, 4, 3, 5]


def test_one_thread_and_two_give_the_same_bits(normal, rng, same_bits):
    pool, x, weights = pool_of(normal, 3, 130, 16), normal(30, 130), normal(30, 2)
    chosen = np.argsort(rng.random((30, 3)), axis=1)[:, :2]
    same_bits(lambda: experts.experts(x, chosen, weights, pool, 2.0, numpy_linear))


bound = pytest.mark.skipif(not blas.addresses()[0], reason="NumPy brought no OpenBLAS here, or nothing is compiled")


@bound
@pytest.mark.parametrize("T, E, K, D, inter", [(2, 1, 1, 3, 2), (5, 4, 3, 7, 33), (300, 3, 2, 64, 40), (700, 8, 2, 32, 96)])
def test_bound_experts_agree_with_numpy(normal, rng, same_bits, T, E, K, D, inter):
    pool, x, weights = tuple(pool_of(normal, E, D, inter)), normal(T, D), normal(T, K)
    chosen = np.argsort(rng.random((T, E)), axis=1)[:, :K]
    binding = experts.bind(pool)
    wanted = numpy_experts.experts(x, chosen, weights, pool, 2.0, numpy_linear)
    got = same_bits(lambda: experts.experts(x, chosen, weights, pool, 2.0, None, binding))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@bound
def test_one_expert_twice_for_a_token_counts_twice(normal):
    pool, x = tuple(pool_of(normal, 2, 8, 4)), normal(3, 8)
    chosen, weights = np.array([[1, 1], [0, 1], [0, 0]]), normal(3, 2)
    wanted = numpy_experts.experts(x, chosen, weights, pool, 2.0, numpy_linear)
    got = experts.experts(x, chosen, weights, pool, 2.0, None, experts.bind(pool))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@bound
def test_only_float32_weights_that_stay_are_bound(normal):
    pool = tuple(pool_of(normal, 2, 8, 4))
    streamed = type("Streamed", (Matrix,), {})(pool[0].w1.codes)
    assert experts.bind(pool) and experts.bind(list(pool)) is None and experts.bind(()) is None
    assert experts.bind((pool[0], dataclasses.replace(pool[1], w1=streamed))) is None
    assert experts.bind((pool[0], dataclasses.replace(pool[1], w1=pool[1].w2))) is None


def test_an_expert_that_does_not_exist_is_refused(normal):
    with pytest.raises(Refused, match="chosen: expected experts 0 to 1, got 0 to 2"):
        experts.experts(normal(2, 4), np.array([[0], [2]]), normal(2, 1), pool_of(normal, 2, 4, 4), 2.0, linear)
