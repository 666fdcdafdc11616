"""Rotary positions: gradients against nudges."""

import numpy as np
import pytest
from ops import naive
from training.backward.nudges import FLOAT32, expect, nudged

from v4mini.training.rules import Rules, numba_rules

FREQS = np.array([1.0, 0.25], np.float32)


def turned(x, positions, freqs, inverse):
    rows = x.reshape(len(x), -1, x.shape[-1])
    return np.array([[naive.rope(row, p, freqs, inverse) for row in heads] for heads, p in zip(rows, positions)]).reshape(x.shape)


@pytest.mark.parametrize("rules", [Rules(), numba_rules()], ids=["numpy", "numba"])
@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 4), (1, 5)], ids=str)
def test_the_gradient_is_turned_back(rules, draw, shape, inverse):
    """Angles are float32 products and so are sine and cosine, hence the wider bound for NumPy too."""
    x, g, positions = draw(*shape), draw(*shape), np.arange(shape[0]) * 7 + 3
    wanted, = nudged(lambda x: turned(x, positions, FREQS, inverse), [x], g)
    expect(rules.rope(np.float32(g), positions, FREQS, inverse), wanted, FLOAT32)


def test_there_and_back_is_the_identity(engine, draw):
    g, positions = draw(5, 3, 8), np.array([0, 1, 50, 4000, 100_000])
    there, = engine.given(g)
    for inverse in (False, True):
        back = engine.rules.rope(engine.rules.rope(there, positions, FREQS, inverse), positions, FREQS, not inverse)
        expect(back, g, FLOAT32)
