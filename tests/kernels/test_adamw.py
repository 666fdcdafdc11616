"""A step of AdamW in one pass is that of training/adamw.py, tensor by tensor."""

import numpy as np
import pytest

from v4mini.kernels import adamw
from v4mini.shapes import Refused
from v4mini.training.adamw import update as formula

SETTINGS = (0.9, 0.95), 0.02, 1.3, 0.998, 1e-20


@pytest.mark.parametrize("shape", [(0,), (1,), (5, 7), (300, 301)])
@pytest.mark.parametrize("size", [1, 1e-25, 1e15])
def test_agrees_with_the_formula(normal, shape, size):
    values, gradient, mean, square = (normal(*shape) for _ in range(4))
    gradient, mean, square = gradient * np.float32(size), mean * np.float32(size), (square * np.float32(size)) ** 2
    wanted = [array.astype(np.float64) for array in (values, gradient, mean, square)]
    formula(*wanted, *SETTINGS)
    adamw.update(values, gradient, mean, square, *SETTINGS)
    for got, right in zip((values, mean, square), (wanted[0], *wanted[2:])):
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, right, rtol=2e-6, atol=1e-6 * np.abs(right).max(initial=1e-38))


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    given = [normal(70_000) for _ in range(3)]

    def run():
        values, gradient, mean = (array.copy() for array in given)
        square = gradient * gradient
        adamw.update(values, gradient, mean, square, *SETTINGS)
        return values, mean, square
    same_bits(run)


def test_a_gradient_of_another_shape_is_refused_and_nan_stays_where_it_is(normal):
    values, gradient, mean, square = (normal(6) for _ in range(4))
    with pytest.raises(Refused, match=r"gradient: expected \[6\], got \[5\]"):
        adamw.update(values, gradient[:5], mean, square, *SETTINGS)
    with pytest.raises(Refused, match="mean: expected a plain float32 array to write to, got float64"):
        adamw.update(values, gradient, mean.astype(np.float64), square, *SETTINGS)
    square, gradient[2] = square * square, np.nan
    adamw.update(values, gradient, mean, square, *SETTINGS)
    assert np.isnan(values).tolist() == [False, False, True, False, False, False]
