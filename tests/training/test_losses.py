"""Losses: their values by plain sums in float64, their gradients against finite differences, and who is left out of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ops import naive
from training.backward.finite_differences import BLIND, FLOAT64, expect, finite_difference

from v4mini import Refused
from v4mini.kernels.backward import losses as loops
from v4mini.training import losses


@pytest.fixture
def draw(rng):
    return lambda *shape, size=1.0: rng.standard_normal(shape) * size


def slope_of(f, x):                                     # of a number
    return finite_difference(f, [x], 1.0)[0]


# ---- next token ----

def naive_cross_entropy(targets, weights):
    def loss(logits):
        surprises = [-math.log(naive.softmax(list(row))[target]) for row, target in zip(logits, targets)]
        return sum(w * s for w, s in zip(weights, surprises)) / sum(weights)
    return loss


@pytest.mark.parametrize("weights", [[1, 1, 1, 1], [0.5, 0, 2, 1e-3], [0, 0, 0, 3]], ids=str)
def test_cross_entropy(draw, weights):
    logits, targets, weights = draw(4, 5, size=2), np.array([0, 4, 4, 2]), np.array(weights, np.float64)
    value, g = losses.cross_entropy(logits, targets, weights)
    loss = naive_cross_entropy(targets, weights)
    assert value == pytest.approx(loss(logits), rel=1e-12)
    expect(g, slope_of(loss, logits), FLOAT64)
    assert not g[weights == 0].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_certain_answer_has_no_slope_and_a_certain_mistake_one_of_1(dtype):
    logits = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4]], dtype)
    value, g = losses.cross_entropy(logits, np.array([0, 2]), np.ones(2))
    assert g.dtype == dtype and value == pytest.approx(1e4)
    np.testing.assert_allclose(g, [[0, 0, 0], [0.5, 0, -0.5]], atol=1e-7)


def test_nothing_to_predict_is_refused():
    for weights in (np.zeros(2), np.zeros(0)):
        with pytest.raises(Refused, match="some prediction of weight above 0"):
            losses.cross_entropy(np.zeros((len(weights), 3)), np.zeros(len(weights), int), weights)


@pytest.mark.parametrize("size", [1.0, 1e4])
@pytest.mark.parametrize("n, V", [(1, 1), (3, 2), (30, 77)])
def test_the_loop_of_cross_entropy_is_the_formula_in_float64(rng, n, V, size):
    logits, targets = rng.standard_normal((n, V)) * size, rng.integers(0, V, n)
    weights = rng.random(n).astype(np.float32) * (rng.random(n) < 0.7)
    weights[0] = 1
    value, g = losses.cross_entropy(logits.astype(np.float32), targets, weights, loops.nll)
    wanted, slope = losses.cross_entropy(logits.astype(np.float32).astype(np.float64), targets, weights)
    assert value == pytest.approx(wanted, rel=1e-5, abs=1e-6) and g.dtype == np.float32
    np.testing.assert_allclose(g, slope, rtol=2e-5, atol=1e-7)
    assert not g[weights == 0].any()


def test_the_loop_of_cross_entropy_shows_nan_and_refuses_what_is_no_token(rng):
    logits, weights = rng.standard_normal((3, 5)).astype(np.float32), np.ones(3, np.float32)
    logits[1, 3] = np.nan
    surprise, g = loops.nll(logits, np.array([0, 1, 2]), weights)
    assert np.isnan(surprise[1]) and np.isnan(g[1]).all() and np.isfinite(surprise[[0, 2]]).all() and np.isfinite(g[[0, 2]]).all()
    for wrong in (-1, 5):
        with pytest.raises(Refused, match="targets: expected ids 0 to 4"):
            loops.nll(logits, np.array([0, wrong, 2]), weights)


@pytest.mark.parity
def test_torchs_cross_entropy_agrees(draw):
    import torch

    logits, targets = draw(6, 9, size=3), np.array([1, 8, 0, 0, 3, 5])
    theirs = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(theirs, torch.tensor(targets))
    loss.backward()
    value, g = losses.cross_entropy(logits, targets, np.ones(6))
    assert value == pytest.approx(float(loss.detach()), rel=1e-12)
    np.testing.assert_allclose(g, theirs.grad, atol=1e-15)


# ---- balance of experts ----

def naive_balance(chosen, lengths):
    def loss(scores):
        E, K, start, values = scores.shape[1], chosen.shape[1], 0, []
        for T in lengths:
            rows = range(start, start + T)
            start += T
            f = [E / (K * T) * sum(e in chosen[t] for t in rows) for e in range(E)]
            shares = [[naive.affinity(z) for z in scores[t]] for t in rows]
            P = [sum(row[e] / sum(row) for row in shares) / T for e in range(E)]
            values.append(sum(a * b for a, b in zip(f, P)))
        return sum(values) / len(values)
    return loss


@pytest.mark.parametrize("lengths", [[6], [1, 5], [3, 2, 1]], ids=str)
def test_balance(draw, rng, lengths):
    scores, chosen = draw(6, 4, size=2), np.array([rng.permutation(4)[:2] for _ in range(6)])
    ends = np.cumsum(lengths)
    value, g = losses.balance(scores, chosen, [slice(end - n, end) for end, n in zip(ends, lengths)])
    loss = naive_balance(chosen, lengths)
    assert value == pytest.approx(loss(scores), rel=1e-12)
    expect(g, slope_of(loss, scores), FLOAT64, "balance", BLIND)


def test_even_load_costs_1_and_teaches_nothing():
    chosen = np.array([[0, 1], [2, 3]])
    value, g = losses.balance(np.zeros((2, 4)), chosen, [slice(0, 2)])
    assert value == pytest.approx(1) and not g.any()


def test_an_expert_without_tokens_is_pulled_up_and_a_busy_one_down():
    _, g = losses.balance(np.zeros((3, 4)), np.array([[0, 1], [0, 2], [0, 1]]), [slice(0, 3)])
    assert (g[:, 0] > 0).all() and (g[:, 3] < 0).all()                  # against the gradient


# ---- the indexer ----

def naive_divergence(target, seen):
    def loss(scores):
        value = 0.0
        for z, p, mask in zip(scores, target, seen):
            if not p.sum():
                continue
            q = dict(zip(np.flatnonzero(mask), naive.softmax(list(z[mask]))))
            value += sum(p[n] * math.log(p[n] / p.sum() / q[n]) for n in np.flatnonzero(p))
        return value
    return loss


def test_index_divergence(draw, rng):
    """Row 0 sees nothing, row 1 sees but attends to nothing there, row 2 sees one entry, row 3 has an entry of weight 0."""
    seen = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]], bool)
    target = rng.random((5, 4)) * seen * 2
    target[1] = target[3, 1] = 0
    scores = draw(5, 4, size=3)
    value, g, mass = losses.index_divergence(scores, target, seen)
    loss = naive_divergence(target, seen)
    assert value == pytest.approx(loss(scores), rel=1e-12) and mass == pytest.approx(target.sum())
    expect(g, slope_of(loss, scores), FLOAT64)
    assert not g[~seen].any() and not g[:2].any() and abs(g[2, 1]) < 1e-15 and g[3, :3].all()


def test_scores_that_predict_exactly_cost_nothing(rng):
    target = rng.random((3, 5))
    value, g, _ = losses.index_divergence(np.log(target) + 7, target, np.ones((3, 5), bool))
    assert abs(value) < 1e-12
    np.testing.assert_allclose(g, 0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_far_apart_are_finite_and_no_entries_cost_nothing(dtype):
    seen = np.array([[True, True, False]])
    value, g, _ = losses.index_divergence(np.array([[1e4, -1e4, 1e30]], dtype), np.array([[0, 2, 0]], dtype), seen)
    assert value == pytest.approx(4e4)
    np.testing.assert_allclose(g, [[2, -2, 0]], atol=1e-6)
    none = np.zeros((2, 0), dtype)
    assert losses.index_divergence(none, none, none.astype(bool))[::2] == (0.0, 0.0)


def test_recall_by_hand():
    """Two picks. Token 0 sees too few to miss one; token 1 finds one of its two best, token 2 both, and weighs half."""
    seen = np.array([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]], bool)
    target = np.array([[0.9, 0.1, 0, 0], [0.4, 0.3, 0.2, 0.1], [0.01, 0.02, 0.3, 0.17]])
    picks = np.array([[0, 1], [0, 3], [2, 3]])
    hits, mass = losses.recall(target, picks, seen)
    assert mass == pytest.approx(1.5) and hits == pytest.approx(1 * 0.5 + 0.5 * 1)
    assert losses.recall(target[:1], picks[:1], seen[:1]) == (0, 0)


# ---- the balance rule ----

@given(st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_a_bias_moves_towards_even_load_by_the_speed_or_not_at_all(load):
    moved = losses.update_bias(np.zeros(len(load), np.float32), np.array(load), 0.25)
    mean = sum(load) / len(load)
    assert moved.dtype == np.float32 and moved.tolist() == [0.25 * ((n < mean) - (n > mean)) for n in load]
