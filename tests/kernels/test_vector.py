"""The pieces that run in vector registers: exact where they move numbers, close where they compute."""

import numpy as np
import pytest
from numba import njit
from tolerances import OP

from v4mini.kernels import vector


@njit
def exponentials(x):
    out = np.empty_like(x)
    for i in range(len(x)):
        out[i] = vector.exp(x[i])
    return out


@njit
def products(a, b, first, n, out):
    vector.add_products(a, b[:, first: first + n], out[:, :n])


@njit
def products_alone(a, b, first, n, out):
    vector.set_products(a, b[:, first: first + n], out[:, :n])


@njit
def turned(x, out):
    vector.transpose(x, out)


def test_exp_is_right_to_two_units_in_the_last_place():
    x = np.linspace(-87, 87, 2001, dtype=np.float32)
    np.testing.assert_allclose(exponentials(x), np.exp(x.astype(np.float64)), rtol=2.4e-7)
    assert exponentials(np.float32([0, -0.0])).tolist() == [1, 1]


def test_exp_at_its_ends():
    got = exponentials(np.float32([-np.inf, -1e30, -87.5, 87.5, np.inf, np.nan]))
    assert got[:5].tolist() == [0, 0, 0, np.inf, np.inf] and np.isnan(got[5])


@pytest.mark.parametrize("R, K, n", [(0, 3, 5), (1, 0, 4), (4, 1, 1), (5, 7, 15), (7, 12, 64), (9, 5, 150)])
def test_products_are_added_and_nothing_else_is_touched(normal, R, K, n):
    a, b, out = normal(R, K), normal(K, 170), np.ones((R, 160), np.float32)
    products(a, b, 3, n, out)
    np.testing.assert_allclose(out[:, :n], 1 + a.astype(np.float64) @ b[:, 3: 3 + n], **OP)
    assert (out[:, n:] == 1).all()
    out[:, :n] = np.nan                                 # what was there before is not read
    products_alone(a, b, 3, n, out)
    np.testing.assert_allclose(out[:, :n], a.astype(np.float64) @ b[:, 3: 3 + n], **OP)
    assert (out[:, n:] == 1).all()


def test_a_product_does_not_depend_on_what_is_beside_it(normal):
    a, b = normal(9, 33), normal(33, 150)
    whole, alone = np.zeros((9, 150), np.float32), np.zeros((1, 150), np.float32)
    products(a, b, 0, 150, whole)
    products(a[5:6], b, 0, 150, alone)
    np.testing.assert_allclose(alone[0], whole[5], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n, m", [(0, 4), (1, 1), (16, 16), (33, 47), (160, 24)])
def test_transposing_moves_every_number_to_its_place(normal, n, m):
    x, out = normal(n, m), np.full((m, 200), 7, np.float32)
    turned(x, out)
    np.testing.assert_array_equal(out[:, :n], x.T)
    assert (out[:, n:] == 7).all()


def test_what_a_transpose_does_not_fill_stays(normal):
    x, out = normal(3, 18), np.zeros((20, 5), np.float32)
    turned(x, out)
    np.testing.assert_array_equal(out[:18, :3], x.T)
    assert not out[18:].any() and not out[:, 3:].any()
