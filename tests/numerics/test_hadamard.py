"""The butterflies against the matrix they stand for."""

import numpy as np
import pytest

from v4mini.numerics.hadamard import hadamard
from v4mini.shapes import Refused

# Sums of up to 512 float32 terms of size one: each of the log2(d) rounds adds half a unit in the last place.
TOLERANCE = 2e-6


def test_four_entries_as_a_picture():
    signs = 2 * hadamard(np.eye(4))
    np.testing.assert_array_equal(signs, [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])


@pytest.mark.parametrize("d", [1, 2, 4, 32, 128, 512])
def test_is_the_matrix_of_signs(rng, d):
    ones_in_common = np.array([[(i & j).bit_count() for j in range(d)] for i in range(d)])
    matrix = (-1.0) ** ones_in_common / np.sqrt(d)
    x = rng.standard_normal((3, 5, d))
    np.testing.assert_allclose(hadamard(x), np.float32(x) @ matrix, atol=TOLERANCE, rtol=0)
    assert hadamard(x).dtype == np.float32


def test_twice_gives_the_row_back_and_lengths_and_angles_stay(rng):
    q, k = rng.standard_normal((2, 7, 128), dtype=np.float32)
    np.testing.assert_allclose(hadamard(hadamard(q)), q, atol=TOLERANCE)
    np.testing.assert_allclose((hadamard(q) * hadamard(k)).sum(-1), (q * k).sum(-1), atol=50 * TOLERANCE)


def test_one_spike_spreads_evenly():
    spike = np.zeros(64, np.float32)
    spike[17] = 8
    np.testing.assert_array_equal(np.abs(hadamard(spike)), np.ones(64))


@pytest.mark.parametrize("d", [0, 3, 96])
def test_other_lengths_are_refused(d):
    with pytest.raises(Refused, match=f"power of two, got {d}"):
        hadamard(np.zeros((2, d)))


def test_no_rows_are_fine():
    assert hadamard(np.zeros((0, 8))).shape == (0, 8)
