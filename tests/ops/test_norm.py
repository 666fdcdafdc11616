"""Root-mean-square norms."""

import numpy as np
import pytest
from ops import naive
from tolerances import OP

from v4mini.ops.norm import rms_norm, rms_unit
from v4mini.shapes import Refused


@pytest.mark.parametrize("size", [1e-30, 1e-4, 1.0, 1e4, 1e15], ids="{:.0e}".format)
@pytest.mark.parametrize("T, D", [(0, 8), (1, 1), (7, 63), (3, 4096)])
def test_each_row_is_divided_by_its_own_root_mean_square(rng, T, D, size):
    x = (rng.standard_normal((T, D)) * size).astype(np.float32)
    weight = rng.standard_normal(D, dtype=np.float32)
    wanted = np.array([naive.rms_unit(row, 1e-6) * weight for row in x]).reshape(T, D)
    np.testing.assert_allclose(rms_norm(x, weight, 1e-6), wanted, rtol=OP["rtol"], atol=OP["atol"] * min(size, 1))


def test_all_axes_but_the_last_are_rows(rng):
    x = rng.standard_normal((2, 3, 5), dtype=np.float32)
    assert np.array_equal(rms_unit(x, 1e-6).reshape(6, 5), rms_unit(x.reshape(6, 5), 1e-6))


def test_ten_times_the_row_gives_the_same_answer(rng):
    x, weight = rng.standard_normal((5, 64), dtype=np.float32), np.ones(64, np.float32)
    np.testing.assert_allclose(rms_norm(x * 10, weight, 1e-12), rms_norm(x, weight, 1e-12), **OP)


def test_a_row_of_zeros_stays_zero():
    assert not rms_unit(np.zeros((2, 8), np.float32), 1e-6).any()


def test_no_mean_is_subtracted():
    np.testing.assert_allclose(rms_unit(np.full((1, 8), 3, np.float32), 0), np.ones((1, 8)), **OP)


def test_a_weight_of_another_width_is_refused():
    with pytest.raises(Refused, match=r"weight: expected \[D\] with D = 8, got \[9\]"):
        rms_norm(np.zeros((1, 8), np.float32), np.ones(9, np.float32))
