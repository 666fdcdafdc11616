"""A diary of precision: where a digit was lost or could be, what it would have cost, and that it is not lost now.

Each test tells one story. They keep a later change from being "simplified" back.
"""

import numpy as np
import pytest
from ops import naive

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.sampling import distribution
from v4mini.numerics.blocks import round_activations
from v4mini.ops import route
from v4mini.ops.attention import attention_weights
from v4mini.ops.experts import swiglu
from v4mini.ops.mix import sinkhorn
from v4mini.ops.norm import rms_unit
from v4mini.ops.rope import frequencies, rope

ULP = 2.0**-23                      # from 1 to the next float32


def test_affinity_is_exact_to_a_few_units_in_the_last_place_at_both_ends():
    """softplus has two traps: exp(x) overflows above 88, and log(1 + exp(x)) is 0 below -17 where log1p(exp(x)) is not."""
    z = np.linspace(-80, 100, 20_001, dtype=np.float32)
    exact = np.vectorize(naive.affinity)(np.float64(z))
    np.testing.assert_allclose(route.affinity(z[None])[0], exact, rtol=4 * ULP)
    forgotten = np.log(1 + np.exp(np.float32([-20])))
    assert forgotten == 0 and route.affinity(np.float32([[-20]])) > 4e-5


def test_one_last_bit_can_be_a_sixteenth_after_rounding():
    """Why affinity keeps the reference's formula, log1p(exp(x)), although np.logaddexp is no less exact.

    In float32 a last bit stays a last bit. Where inputs are rounded to FP8 it now and then tips one over to the neighbouring
    code, 1/16 away, and all that follows hears of it. Against DeepSeek's simulated run the median logit moved from 6e-7 to 2e-4.
    """
    z = np.linspace(-10, 10, 20_001, dtype=np.float32)
    ours, other = np.log1p(np.exp(z)), np.logaddexp(z, np.float32(0))
    np.testing.assert_allclose(ours, other, rtol=8 * ULP)
    assert np.mean(ours != other) > 0.01
    boundary = np.float32([1.0625])                     # halfway between two e4m3 numbers, 1 and 1.125, times the group's scale
    group = np.full((2, 128), 256, np.float32)          # fixes the scale at 1
    group[0, 0], group[1, 0] = boundary[0], np.nextafter(boundary[0], np.float32(2))
    rounded = round_activations(group)[:, 0]
    assert rounded.tolist() == [1.0, 1.125]


class Nudged(Backend):
    """Gate weights a hundred float32 above what they are."""

    def route(self, *args, **more):
        chosen, weights = super().route(*args, **more)
        return chosen, weights * np.float32(1 + 1e-5)


def test_a_small_change_of_a_gate_stays_small_in_float32_but_not_where_inputs_are_rounded(model_of):
    ids = np.arange(48) * 37 % 2048
    apart = {simulate: np.abs(model_of(Config.mini(), Nudged(simulate)).logits(ids)
                              - model_of(Config.mini(), Backend(simulate)).logits(ids)).max() for simulate in (None, "released")}
    # a rounded input swallows the change, until one code tips over: here 7e-5 against 1.2
    assert apart[None] < 1e-3 and apart["released"] > 10 * apart[None]


def test_rope_angles_are_float32_products_as_the_reference_has_them():
    """At position 10^6 the first pair's angle is 10^6 radians, which a float32 knows to 0.03: worth agreeing on.

    A float64 angle would be more exact and would not be V4: weights were trained, and are compared, with float32 angles.
    """
    freqs, row = frequencies(64, 10000.0), np.tile(np.float32([1, 0]), 32)[None]
    position = 999_999
    cos = rope(row, [position], freqs)[0, 0::2]
    product = np.float32(position) * freqs              # rounded to float32 before cos
    np.testing.assert_allclose(cos, np.cos(np.float64(product)), atol=4 * ULP)
    exact = np.cos(position * 10000.0 ** (-np.arange(32) / 32))
    assert 1e-3 < np.abs(cos - exact).max() < 0.07


def test_positions_up_to_a_million_are_exact_in_float32_and_not_beyond_16_million():
    assert np.float32(2**20 - 1) == 2**20 - 1 and np.float32(2**24 + 1) == 2**24


def test_frequencies_are_float32_powers():
    """A float64 power rounded once is another number in the last bit for some pairs, and the angle multiplies it by a million."""
    freqs = frequencies(64, 160000.0)
    assert freqs.dtype == np.float32
    np.testing.assert_allclose(freqs, 160000.0 ** (-np.arange(32) / 32), rtol=8 * ULP)


def test_a_sink_far_above_the_logits_overflowed_once():
    """The reference takes the maximum over real logits only; exp(sink - maximum) is infinite from 89 on, the sink's share NaN."""
    q, rows = np.full((1, 1, 4), 20, np.float32), np.full((1, 4), -20, np.float32)      # logit -800
    near, _, nothing = attention_weights(q, rows, np.zeros(1, int), np.float32([0]), 1, 0.5)
    assert nothing == 1 and near == 0


def test_a_row_of_tiny_numbers_is_not_blown_up_to_size_one():
    """eps stands inside the root: a row far below 1e-3 stays small, as in the reference; beside the root it would not."""
    tiny = np.full((1, 8), 1e-6, np.float32)
    np.testing.assert_allclose(rms_unit(tiny, 1e-6), tiny * 1e3, rtol=1e-5)


def test_silu_of_a_large_negative_gate_is_zero_not_not_a_number():
    """exp(-gate) is infinite below -88; gate / infinity is -0, while gate * sigmoid written as exp/(1 + exp) is NaN at +89."""
    gates = np.float32([[-200, -89, 89, 200]])
    np.testing.assert_allclose(swiglu(gates, np.ones_like(gates), 0.0), [[0, 0, 89, 200]], atol=1e-30)


def test_sinkhorn_needs_its_eps_to_divide_by_a_column_of_zeros():
    """A softmax of differences above 104 underflows to exact zeros; a column of them would be 0 / 0 without eps."""
    logits = np.float32([[[0, -200], [0, -200]]])
    comb = sinkhorn(logits, 20, 1e-6)
    assert np.isfinite(comb).all()
    np.testing.assert_allclose(comb.sum(axis=1), 1, atol=1e-4)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(sinkhorn(logits, 20, 0.0)).any()


def test_probabilities_are_float64_because_a_float32_running_sum_drifts():
    """Over 129,280 equal tokens a float32 running sum ends at 1.001, and top_p = 0.9 would lose 140 of them."""
    V, wanted = 129_280, 116_352
    p = np.full(V, 1 / V, np.float32)
    kept = int(np.sum(np.cumsum(p) - p < np.float32(0.9)))
    assert wanted - kept > 100
    assert abs(int(np.sum(distribution(np.zeros(V, np.float32), 1.0, 0.9) > 0)) - wanted) <= 1


def test_index_scores_of_exactly_zero_are_common_so_their_order_is_stated():
    """relu gives exact zeros: with few heads whole entries score 0, and torch.topk ranks equal ones as it likes."""
    from v4mini.ops.index import index_scores

    draw = np.random.default_rng(0)
    scores = index_scores(draw.standard_normal((50, 3, 16), dtype=np.float32), draw.standard_normal((60, 16), dtype=np.float32),
                          draw.standard_normal((50, 3), dtype=np.float32))
    assert 0.05 < np.mean(scores == 0) < 0.25           # one in eight
