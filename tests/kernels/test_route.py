"""Experts are chosen and weighed as in ops.route: the same ones, in the same order."""

import numpy as np
import pytest
from tolerances import OP

from v4mini.kernels import route
from v4mini.ops import route as numpy_route
from v4mini.shapes import Refused


def expect_equal(got, wanted):
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_allclose(got[1], wanted[1], **OP)


@pytest.mark.parametrize("T, E, k", [(0, 4, 2), (1, 1, 1), (5, 5, 5), (33, 16, 2), (40, 7, 3)])
def test_agrees_with_numpy(normal, T, E, k, either_way):
    scores, bias = normal(T, E) * 8, normal(E)
    expect_equal(route.route(scores, 1.5, k, bias), numpy_route.route(scores, 1.5, k, bias))
    expect_equal(route.route(scores, 1.5, k), numpy_route.route(scores, 1.5, k, np.zeros(E, np.float32)))


def test_a_table_decides(normal, rng):
    scores, chosen = normal(9, 6), rng.integers(0, 6, (9, 3)).astype(np.int32)
    expect_equal(route.route(scores, 2.5, 3, chosen=chosen), numpy_route.route(scores, 2.5, 3, chosen=chosen))


def test_ties_go_to_the_earlier_expert(rng):
    scores = rng.integers(-1, 2, (50, 8)).astype(np.float32)
    expect_equal(route.route(scores, 1.0, 4), numpy_route.route(scores, 1.0, 4, np.zeros(8, np.float32)))
    assert route.route(np.zeros((1, 5), np.float32), 1.0, 3)[0].tolist() == [[0, 1, 2]]


def test_very_large_and_very_small_scores():
    scores = np.array([[60, 20, 20.001, -30, 3e4], [-60, -80, -87, -20, -50]], np.float32)
    expect_equal(route.route(scores, 1.5, 3), numpy_route.route(scores, 1.5, 3, np.zeros(5, np.float32)))


def test_a_score_that_is_no_number_comes_last():
    scores = np.array([[np.nan, 1, np.nan, 2]], np.float32)
    assert route.route(scores, 1.0, 4)[0].tolist() == numpy_route.choose(scores, 0, 4).tolist() == [[3, 1, 0, 2]]


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    scores = normal(300, 8)
    same_bits(lambda: route.route(scores, 1.5, 3))


def test_a_table_of_other_experts_is_refused(normal):
    with pytest.raises(Refused, match="chosen: expected experts 0 to 3, got 1 to 4"):
        route.route(normal(1, 4), 1.0, 2, chosen=np.array([[1, 4]]))
