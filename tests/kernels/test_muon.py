"""Newton-Schulz in float32 is that of training/muon.py in float64, matrix by matrix."""

import numpy as np
import pytest

from v4mini.kernels import muon
from v4mini.training.muon import ROUNDS
from v4mini.training.muon import newton_schulz as formula

SHAPES = [(1, 7), (7, 1), (16, 16), (24, 64), (64, 24), (4, 200), (100, 130)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 1e-30, 1e30])
def test_agrees_with_the_formula(normal, shape, size):
    matrices = normal(3, *shape) * np.float32(size)
    got = muon.newton_schulz(matrices, ROUNDS)
    assert got.dtype == np.float32 and got.shape == matrices.shape
    np.testing.assert_allclose(got, formula(matrices.astype(np.float64)), atol=1e-4)


def test_any_rounds(normal):
    matrices = normal(2, 12, 20)
    for rounds in (ROUNDS[:1], ROUNDS[-1:], ((1.0, 0.0, 0.0),)):
        np.testing.assert_allclose(muon.newton_schulz(matrices, rounds), formula(matrices.astype(np.float64), rounds), atol=1e-5)


def test_zeros_stay_zeros_and_nan_stays_in_its_matrix(normal):
    matrices = normal(3, 8, 12)
    matrices[0], matrices[1, 2, 3] = 0, np.nan
    got = muon.newton_schulz(matrices, ROUNDS)
    assert not got[0].any() and np.isnan(got[1]).all() and np.isfinite(got[2]).all()


@pytest.mark.parametrize("shape", [(9, 14), (14, 9)])
def test_inputs_stay_as_they_are_whatever_their_memory(normal, shape):
    matrices = normal(2, *shape)
    before = matrices.copy()
    matrices.flags.writeable = False
    wanted = muon.newton_schulz(matrices, ROUNDS)
    np.testing.assert_array_equal(matrices, before)
    wide = np.repeat(matrices, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(muon.newton_schulz(wide, ROUNDS), wanted)


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    matrices = normal(5, 40, 56)
    same_bits(lambda: muon.newton_schulz(matrices, ROUNDS))
