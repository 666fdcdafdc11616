"""Products with stored weights agree with ops.linear, however they are stored and however many tokens there are."""

import numpy as np
import pytest
from kernels.stored import FORMATS, stored
from tolerances import OP

from v4mini.kernels import linear
from v4mini.ops import linear as numpy_linear
from v4mini.shapes import Refused


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape, out", [((0, 64), 5), ((64,), 1), ((1, 96), 131), ((4, 160), 33), ((5, 32), 40), ((3, 3, 64), 7)])
def test_agrees_with_numpy(normal, format, shape, out, either_way):
    for keep in (False, True):
        x, weight = normal(*shape), stored(normal, format, out, shape[-1], keep)
        np.testing.assert_allclose(linear.linear(x, weight), numpy_linear.linear(x, weight), **OP)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("T", [0, 1, 3, 9])
def test_grouped_agrees_with_numpy(normal, format, T, either_way):
    x, weight = normal(T, 3 * 64), stored(normal, format, 3 * 50, 64)
    np.testing.assert_allclose(linear.grouped_linear(x, weight, 3), numpy_linear.grouped_linear(x, weight, 3), **OP)


@pytest.mark.parametrize("format", FORMATS)
def test_one_thread_and_two_give_the_same_bits(normal, same_bits, format):
    x, weight = normal(1, 64), stored(normal, format, 203, 64)
    same_bits(lambda: linear.linear(x, weight))


@pytest.mark.parametrize("format", FORMATS)
def test_read_only_codes_and_strided_tokens(normal, format):
    weight = stored(normal, format, 9, 64)
    weight.codes.flags.writeable = False
    x = normal(3, 128)[:, ::2]
    np.testing.assert_allclose(linear.linear(x, weight), numpy_linear.linear(x, weight), **OP)


def test_refuses_rows_of_another_width(normal):
    with pytest.raises(Refused, match="w: expected rows of 32 numbers, got 64"):
        linear.linear(normal(2, 32), stored(normal, "fp8", 3, 64))
    with pytest.raises(Refused, match="w: expected 2 groups of 64 numbers, got rows of 64"):
        linear.grouped_linear(normal(2, 64), stored(normal, "f32", 4, 64), 2)
