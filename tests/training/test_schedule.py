"""The rate's shape: warm-up, constant, cosine."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.training.schedule import rate_at


def test_the_shape_by_hand():
    rates = [rate_at(step, 10, peak=1.0, end=0.1, warm_up=4, decay_steps=4) for step in range(10)]
    falling = [0.1 + 0.45 * (1 + 2**-0.5), 0.55, 0.1 + 0.45 * (1 - 2**-0.5), 0.1]
    np.testing.assert_allclose(rates, [0.25, 0.5, 0.75, 1, 1, 1, *falling])


@pytest.mark.parametrize("step", [0, 3, 9])
def test_without_anything_else_it_is_constant(step):
    assert rate_at(step, 10, peak=0.3) == 0.3


@given(st.integers(1, 50), st.integers(0, 20), st.integers(0, 30))
def test_it_rises_stays_and_falls(steps, warm_up, decay_steps):
    if warm_up + decay_steps > steps:
        return
    rates = [rate_at(step, steps, 1.0, 0.05, warm_up, decay_steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
    assert (np.diff(rates[:warm_up]) > 0).all() and set(rates[warm_up: steps - decay_steps]) <= {1.0}
    assert (np.diff(rates[steps - decay_steps:]) < 0).all()
    assert not decay_steps or rates[-1] == pytest.approx(0.05)
