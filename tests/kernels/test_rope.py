"""Pairs turn as in ops.rope, for any number of heads and any position."""

import numpy as np
import pytest
from tolerances import OP

from v4mini.kernels import rope
from v4mini.ops import rope as numpy_rope
from v4mini.shapes import Refused


@pytest.mark.parametrize("shape, rd", [((0, 3, 8), 4), ((1, 8), 8), ((5, 3, 10), 6), ((33, 2, 24), 8), ((7, 2, 2, 12), 4)])
@pytest.mark.parametrize("inverse", [False, True])
def test_agrees_with_numpy(normal, shape, rd, inverse, either_way):
    x, freqs = normal(*shape), numpy_rope.frequencies(rd, 1e4)
    positions = np.arange(shape[0]) * 37 + 3
    np.testing.assert_allclose(rope.rope(x, positions, freqs, inverse), numpy_rope.rope(x, positions, freqs, inverse), **OP)


def test_angles_are_float32_products_at_a_million_tokens(normal):
    x, freqs, at = normal(4, 1, 16), numpy_rope.frequencies(16, 1.6e5, 65536, 16.0), np.array([2**20 - 1, 999_983, 2**20, 1])
    np.testing.assert_allclose(rope.rope(x, at, freqs), numpy_rope.rope(x, at, freqs), **OP)


def test_turning_back_gives_the_row(normal):
    x, at, freqs = normal(9, 2, 16), np.arange(9) * 1000, numpy_rope.frequencies(8, 1e4)
    np.testing.assert_allclose(rope.rope(rope.rope(x, at, freqs), at, freqs, inverse=True), x, **OP)


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    x, freqs = normal(70, 3, 16), numpy_rope.frequencies(8, 1e4)
    same_bits(lambda: rope.rope(x, np.arange(70), freqs))


def test_refuses_positions_and_frequencies_that_do_not_fit(normal):
    freqs = numpy_rope.frequencies(8, 1e4)
    with pytest.raises(Refused, match=r"positions: expected \[3\], got \[4\]"):
        rope.rope(normal(3, 8), np.arange(4), freqs)
    with pytest.raises(Refused, match=r"rope: expected freqs \[up to 3\]"):
        rope.rope(normal(3, 6), np.arange(3), freqs)
