"""The lightning indexer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops import naive
from tolerances import OP

from v4mini.ops import index
from v4mini.ops.index import index_scores, index_topk, top_k


def case(rng, T, N, Hi=3, di=4):
    return (rng.standard_normal((T, Hi, di), dtype=np.float32), rng.standard_normal((N, di), dtype=np.float32),
            rng.standard_normal((T, Hi), dtype=np.float32))


def padded(entries, width):
    return entries + [-1] * (width - len(entries))


@pytest.mark.parametrize("T, N", [(0, 3), (1, 1), (5, 0), (7, 30)])
def test_a_score_is_a_signed_sum_of_relus(rng, T, N):
    q, keys, weights = case(rng, T, N)
    wanted = [[naive.index_score(q[t], key, weights[t]) for key in keys] for t in range(T)]
    np.testing.assert_allclose(index_scores(q, keys, weights), np.array(wanted).reshape(T, N), **OP)


def test_a_score_may_be_negative():
    ones = np.ones((1, 1, 1), np.float32)
    assert index_scores(ones, ones[0], -ones[0]) == -1  # forced positive (softplus), the order would turn round
    assert index_scores(ones, -ones[0], -ones[0]) == 0  # the relu comes before the weight


@pytest.mark.parametrize("T, N, k", [(0, 5, 2), (1, 1, 1), (6, 0, 3), (9, 20, 4), (9, 20, 20), (9, 20, 64), (40, 10, 1)])
def test_picks_are_the_best_of_the_visible_as_brute_force_finds_them(rng, T, N, k):
    q, keys, weights = case(rng, T, N)
    visible = rng.integers(0, N + 1, T)
    scores = index_scores(q, keys, weights)             # in float32: brute force is about the choice
    wanted = [padded(naive.best_entries(scores[t], visible[t], k), min(k, N)) for t in range(T)]
    picks = index_topk(q, keys, weights, visible, k)
    assert picks.dtype == np.int64 and picks.shape == (T, min(k, N))
    assert picks.tolist() == wanted


def test_of_scores_that_are_all_exactly_zero_the_earliest_entries_win():
    q, keys = np.ones((3, 2, 4), np.float32), -np.ones((6, 4), np.float32)     # every product negative: relu gives 0
    picks = index_topk(q, keys, np.array([[1, 1], [-1, -1], [1, -1]], np.float32), np.array([6, 2, 0]), 3)
    assert picks.tolist() == [[0, 1, 2], [0, 1, -1], [-1, -1, -1]]


def test_a_zero_beats_a_negative_score_and_loses_to_a_positive_one():
    scores = np.array([[-1.0, 0.0, -0.0, 2.0, 0.0]], np.float32)
    assert top_k(scores, 4).tolist() == [[3, 1, 2, 4]]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(-2, 2), max_size=12), st.integers(1, 14))
def test_top_k_ranks_by_score_then_by_place(scores, k):
    row = np.array([scores], np.float32)
    assert top_k(row, k)[0].tolist() == sorted(range(len(scores)), key=lambda e: (-scores[e], e))[:k]


def test_entries_that_are_not_visible_are_never_picked_however_high_they_score(rng):
    q, keys, weights = case(rng, 8, 16)
    weights, q[:] = np.abs(weights), 1
    keys[8:] = 1e6
    assert index_topk(q, keys, weights, np.full(8, 8), 16).max() == 7


def test_picking_a_few_rows_at_a_time_changes_nothing(rng, monkeypatch):
    q, keys, weights = case(rng, 50, 30)
    visible = rng.integers(0, 31, 50)
    whole = index_topk(q, keys, weights, visible, 5)
    monkeypatch.setattr(index, "SCORES_AT_ONCE", 1)
    assert np.array_equal(index_topk(q, keys, weights, visible, 5), whole)
