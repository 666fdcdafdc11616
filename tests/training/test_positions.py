"""Positions of short rows: rising, within the span, jumps between blocks only, far distances common."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.training.positions import BLOCK, scattered

SPAN = 1 << 20


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 1 << 21), st.booleans(), st.integers(0, 1 << 30))
def test_they_rise_stay_below_the_span_and_jump_between_blocks(tokens, span, jumps, seed):
    got = scattered(np.random.default_rng(seed), tokens, span, jumps)
    assert got.shape == (tokens,) and got.dtype == np.int64
    assert got[0] >= 0 and (got[-1] < span or span // BLOCK <= -(-tokens // BLOCK))
    steps = np.diff(got)
    assert (steps >= 1).all() and (steps[np.arange(1, tokens) % BLOCK != 0] == 1).all()
    assert jumps or (steps == 1).all()
    if span // BLOCK > -(-tokens // BLOCK):
        assert (got[::BLOCK] % BLOCK == 0).all()


def test_all_scales_come_and_the_far_end_is_common(rng):
    reach = np.array([np.ptp(scattered(rng, 512, SPAN)) for _ in range(2000)])
    assert (reach < 4096).mean() > 0.1                  # log-uniform half
    assert (reach > SPAN / 2).mean() > 0.2              # uniform half
    starts = np.array([scattered(rng, 512, SPAN, jumps=False)[0] for _ in range(2000)])
    assert abs(starts.mean() / SPAN - 0.5) < 0.03


def test_a_row_as_long_as_the_span_stands_where_it_is(rng):
    np.testing.assert_array_equal(scattered(rng, 512, 512), np.arange(512))
