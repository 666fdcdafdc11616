"""RMS norms: gradients against finite differences."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import expect


def unit(x, eps):
    return np.array([naive.rms_unit(row, eps) for row in x.reshape(-1, x.shape[-1])]).reshape(x.shape)


@pytest.mark.parametrize("shape, eps", [((4, 5), 1e-6), ((2, 3, 4), 1e-6), ((3, 7), 0.5), ((2, 1), 0.5)], ids=str)
def test_without_a_weight(engine, draw, shape, eps):
    x, g = draw(*shape), draw(*shape)
    engine.agrees([engine.gradients.rms_unit(*engine.given(g, x), eps)], lambda x: unit(x, eps), [x], g)


def test_a_number_alone_has_no_length_to_learn(engine):
    """It is divided by itself: the answer is its sign, whatever its size."""
    found = engine.gradients.rms_unit(*engine.given([[3.0], [3.0]], [[2.0], [-5.0]]), 1e-12)
    np.testing.assert_allclose(found, 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4), (1, 6)], ids=str)
def test_with_a_weight(engine, draw, shape):
    x, weight, g = draw(*shape), draw(shape[-1]), draw(*shape)
    found = engine.gradients.rms_norm(*engine.given(g, x, weight), 1e-6)
    engine.agrees(found, lambda x, weight: unit(x, 1e-6) * weight, [x, weight], g, ["g_x", "g_weight"])


def test_a_row_of_zeros_has_the_slope_of_its_eps(engine, draw):
    g = draw(2, 3)
    expect(engine.gradients.rms_unit(*engine.given(g, np.zeros((2, 3))), 1e-6), g * 1e3, engine.share)
    engine.agrees([engine.gradients.rms_unit(*engine.given(g, np.zeros((2, 3))), 0.25)], lambda x: unit(x, 0.25),
                  [np.zeros((2, 3))], g)


@pytest.mark.parametrize("size", [1e-2, 1e4])
def test_small_and_large_rows(engine, draw, size):
    x, g = draw(3, 5, size=size), draw(3, 5)
    # nudged at size 1: rms_unit(s x, s^2 eps) = rms_unit(x, eps), so the gradient is that one divided by s
    found = engine.gradients.rms_unit(*engine.given(g, x), 1e-6) * size
    engine.agrees([found], lambda x: unit(x, 1e-6 / size**2), [x / size], g)


@pytest.mark.parametrize("rows", [63, 64, 65, 200])
def test_loops_say_the_same_of_many_rows(twins, draw, rows):
    twins("rms_norm", draw(rows, 33), draw(rows, 33), draw(33), 1e-6)
    twins("rms_unit", draw(rows, 3, 16), draw(rows, 3, 16), 1e-6)
