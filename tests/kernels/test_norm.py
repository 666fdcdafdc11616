"""The norms are those of ops.norm, for any row."""

import numpy as np
import pytest
from tolerances import OP

from v4mini.kernels import norm
from v4mini.ops import norm as numpy_norm
from v4mini.shapes import Refused

SHAPES = [(0, 8), (1, 8), (7, 33), (3, 5, 24), (130, 48)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 1e-12, 1e12])
def test_agrees_with_numpy(normal, shape, size, either_way):
    x, weight = normal(*shape) * np.float32(size), normal(shape[-1])
    np.testing.assert_allclose(norm.rms_norm(x, weight, 1e-6), numpy_norm.rms_norm(x, weight, 1e-6), **OP)
    np.testing.assert_allclose(norm.rms_unit(x, 1e-6), numpy_norm.rms_unit(x, 1e-6), **OP)


def test_rows_of_zeros_stay_zero_and_nan_stays_in_its_row(normal):
    x = normal(3, 16)
    x[0], x[1, 4] = 0, np.nan
    out = norm.rms_norm(x, normal(16), 1e-6)
    assert (out[0] == 0).all() and np.isnan(out[1]).all() and np.isfinite(out[2]).all()


def test_read_only_and_strided_inputs(normal):
    x, weight = normal(6, 40), normal(40)
    wanted = numpy_norm.rms_norm(x[::2, ::2], weight[::2])
    x.flags.writeable = weight.flags.writeable = False
    np.testing.assert_allclose(norm.rms_norm(x[::2, ::2], weight[::2]), wanted, **OP)


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    x, weight = normal(200, 64), normal(64)
    same_bits(lambda: norm.rms_norm(x, weight, 1e-6))
    same_bits(lambda: norm.rms_unit(x, 1e-6))


def test_a_weight_of_another_length_is_refused(normal):
    with pytest.raises(Refused, match=r"weight: expected \[8\], got \[9\]"):
        norm.rms_norm(normal(2, 8), normal(9))
