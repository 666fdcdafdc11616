"""Rotary positions: gradients against finite differences."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import FLOAT32, expect, finite_difference

from v4mini.training.gradients import Gradients, numba_gradients

FREQS = np.array([1.0, 0.25], np.float32)


def turned(x, positions, freqs, inverse):
    rows = x.reshape(len(x), -1, x.shape[-1])
    return np.array([[naive.rope(row, p, freqs, inverse) for row in heads] for heads, p in zip(rows, positions)]).reshape(x.shape)


@pytest.mark.parametrize("gradients", [Gradients(), numba_gradients()], ids=["numpy", "numba"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 4), (1, 5)], ids=str)
def test_the_gradient_is_turned_back(gradients, draw, shape, inverse):
    """Angles are float32 products and so are sine and cosine, hence the wider bound for NumPy too."""
    x, g, positions = draw(*shape), draw(*shape), np.arange(shape[0]) * 7 + 3
    wanted, = finite_difference(lambda x: turned(x, positions, FREQS, inverse), [x], g)
    expect(gradients.rope(np.float32(g), positions, FREQS, inverse), wanted, FLOAT32)


def test_there_and_back_is_the_identity(engine, draw):
    g, positions = draw(5, 3, 8), np.array([0, 1, 50, 4000, 100_000])
    there, = engine.given(g)
    for inverse in (False, True):
        back = engine.gradients.rope(engine.gradients.rope(there, positions, FREQS, inverse), positions, FREQS, not inverse)
        expect(back, g, FLOAT32)
