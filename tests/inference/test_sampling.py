"""From scores to a token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.inference.sampling import check_sampling, distribution, sample
from v4mini.shapes import Refused

HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=200)
LOGITS = st.lists(st.floats(-60, 60, width=32), min_size=1, max_size=20)
TEMPERATURE = st.sampled_from([0, 1e-320, 1e-3, 0.6, 1.0, 3.0, 1e6])
TOP_P = st.floats(0.001, 1.0)


def entropy(p):
    return -float(np.sum(p[p > 0] * np.log(p[p > 0])))


@HYPOTHESIS
@given(LOGITS, TEMPERATURE, TOP_P)
def test_a_distribution_sums_to_one_and_keeps_the_order(logits, temperature, top_p):
    p = distribution(logits, temperature, top_p)
    assert p.dtype == np.float64 and np.isclose(p.sum(), 1, rtol=0, atol=1e-12) and np.all(p >= 0)
    assert p[int(np.argmax(logits))] == p.max() > 0
    by_score = p[np.argsort(-np.array(logits), kind="stable")]
    assert np.all(np.diff(by_score) <= 0)               # a better token is never less likely


@HYPOTHESIS
@given(LOGITS, st.sampled_from([0.6, 1.0, 3.0]), TOP_P)
def test_top_p_keeps_the_fewest_tokens_that_hold_it_in_their_old_proportions(logits, temperature, top_p):
    whole, cut = distribution(logits, temperature, 1.0), distribution(logits, temperature, top_p)
    kept = cut > 0
    assert whole[kept].sum() >= top_p - 1e-9
    assert whole[kept].sum() - whole[kept].min() < top_p + 1e-9         # without the last one it would be too little
    np.testing.assert_allclose(cut[kept] / cut[kept].sum(), whole[kept] / whole[kept].sum(), rtol=1e-9)


def test_by_hand():
    logits = np.log([0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(distribution(logits, 1.0, 1.0), [0.5, 0.3, 0.15, 0.05])
    np.testing.assert_allclose(distribution(logits, 1.0, 0.7), [0.625, 0.375, 0, 0])
    np.testing.assert_allclose(distribution(logits, 0.5, 1.0), np.array([25, 9, 2.25, 0.25]) / 36.5)
    assert distribution(logits, 1.0, 0.4).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("temperature, top_p, wanted", [
    (0, 1.0, [0, 1, 0, 0]), (1.0, 0.3, [0, 1, 0, 0]), (1.0, 0.6, [0, 0.5, 0, 0.5])])
def test_of_equal_tokens_the_earlier_is_better(temperature, top_p, wanted):
    assert distribution([1.0, 7.0, 2.0, 7.0], temperature, top_p) == pytest.approx(wanted)


def test_heat_evens_out():
    logits = np.random.default_rng(0).standard_normal(50) * 3
    heats = [entropy(distribution(logits, t, 1.0)) for t in (0, 0.3, 1.0, 3.0, 1e6)]
    assert heats == sorted(heats) and heats[0] == 0 and heats[-1] == pytest.approx(np.log(50))


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_only_differences_of_scores_matter(shift):
    logits = np.random.default_rng(0).standard_normal(9)
    np.testing.assert_allclose(distribution(logits + shift, 1.0, 0.9), distribution(logits, 1.0, 0.9), rtol=1e-9)


def test_scores_of_minus_infinity_are_never_drawn():
    logits = np.float32([-np.inf, 0, -np.inf, 1])
    assert distribution(logits, 1.0, 1.0)[[0, 2]].tolist() == [0, 0]


def test_draws_follow_the_distribution():
    logits, rng, n = np.log([0.5, 0.3, 0.15, 0.05]), np.random.default_rng(0), 4000
    share = np.bincount([sample(logits, rng) for _ in range(n)], minlength=4) / n
    np.testing.assert_allclose(share, [0.5, 0.3, 0.15, 0.05], atol=4 * (0.25 / n) ** 0.5)       # four standard deviations


def test_temperature_zero_draws_nothing_from_the_generator():
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    assert sample(np.float32([0, 5, 5]), rng, temperature=0) == 1 and rng.bit_generator.state == before


def test_a_token_is_a_plain_int():
    assert type(sample(np.zeros(3, np.float32), np.random.default_rng(0))) is int


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf"), "1", None, True, [1.0]])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(Refused, match="temperature: expected 0 or more"):
        check_sampling(temperature, 1.0)


@pytest.mark.parametrize("top_p", [0, -1, 1.0001, float("nan"), "1", None, True])
def test_a_top_p_out_of_range_is_refused(top_p):
    with pytest.raises(Refused, match="top_p: expected above 0, at most 1"):
        check_sampling(1.0, top_p)


@pytest.mark.parametrize("temperature, top_p", [(0, 1), (1, 1.0), (np.float32(0.5), np.float64(0.5)), (1e-320, 1e-320)])
def test_any_number_in_range_will_do(temperature, top_p):
    check_sampling(temperature, top_p)


def test_rows_of_the_head_that_are_padding_are_never_drawn():
    rng, logits = np.random.default_rng(0), np.float32([0, 1, 2, 50, 60])
    for temperature in (0, 1e-30, 1, 1e30):
        assert {sample(logits, rng, temperature, 1.0, vocabulary=3) for _ in range(50)} <= {0, 1, 2}
    assert distribution(logits, 1.0, 0.5, vocabulary=3).shape == (3,)
    assert sample(logits, rng, 0) == 4
