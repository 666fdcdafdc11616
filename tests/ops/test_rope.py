"""Rotary positions and YaRN."""

import numpy as np
import pytest
from ops import naive
from tolerances import OP, ROTATED

from v4mini.ops.rope import frequencies, rope


@pytest.mark.parametrize("rd, theta", [(2, 10000.0), (8, 500.0), (64, 10000.0)])
def test_frequencies_fall_by_one_constant_factor(rd, theta):
    np.testing.assert_allclose(frequencies(rd, theta), [theta ** (-2 * i / rd) for i in range(rd // 2)], **OP)


@pytest.mark.parametrize("rd, base, original, factor, fast, slow", [
    (64, 160000.0, 65536, 16, 32, 1),                   # the released one
    (32, 160000.0, 4096, 16, 32, 1), (8, 160000.0, 64, 16, 32, 1), (2, 10.0, 7, 3, 5, 5), (4, 1e6, 2, 40, 32, 1)])
def test_yarn_is_the_formula_of_the_reference(rd, base, original, factor, fast, slow):
    wanted = [naive.frequency(i, rd, base, original, factor, fast, slow) for i in range(rd // 2)]
    np.testing.assert_allclose(frequencies(rd, base, original, factor, fast, slow), wanted, rtol=2e-5)


def test_released_yarn_leaves_pairs_to_15_alone_and_slows_pairs_from_25():
    plain, yarn = frequencies(64, 160000.0), frequencies(64, 160000.0, 65536, 16, 32, 1)
    slowed = plain / yarn
    assert np.all(slowed[:16] == 1) and slowed[16] > 1 and slowed[24] < 16
    np.testing.assert_allclose(slowed[25:], 16, rtol=1e-6)
    assert np.all(np.diff(slowed) >= 0)


@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (5, 24), (5, 3, 24), (2, 3, 2, 10)], ids=str)
@pytest.mark.parametrize("inverse", [False, True])
def test_neighbours_turn_as_complex_numbers(rng, shape, inverse):
    x, freqs = rng.standard_normal(shape, dtype=np.float32), frequencies(4, 100.0)
    positions = rng.integers(0, 300, shape[0])
    wanted = [[naive.rope(row, p, freqs, inverse) for row in rows.reshape(-1, shape[-1])] for rows, p in zip(x, positions)]
    np.testing.assert_allclose(rope(x, positions, freqs, inverse), np.array(wanted).reshape(shape), **ROTATED)


def test_only_the_last_numbers_turn_and_the_input_stays(rng):
    x = rng.standard_normal((3, 10), dtype=np.float32)
    before = x.copy()
    turned = rope(x, [5, 6, 7], frequencies(4, 100.0))
    assert np.array_equal(turned[:, :6], x[:, :6]) and np.array_equal(x, before)
    assert not np.isclose(turned[:, 6:], x[:, 6:]).all()


def test_position_zero_turns_nothing(rng):
    x = rng.standard_normal((2, 8), dtype=np.float32)
    assert np.array_equal(rope(x, [0, 0], frequencies(8, 10000.0)), x)


def test_turning_there_and_back_gives_the_row_again(rng):
    x, freqs, at = rng.standard_normal((9, 2, 16), dtype=np.float32), frequencies(16, 10000.0), rng.integers(0, 10**6, 9)
    np.testing.assert_allclose(rope(rope(x, at, freqs), at, freqs, inverse=True), x, **OP)


def test_a_product_of_turned_rows_knows_only_their_distance(rng):
    q, k = rng.standard_normal((2, 1, 8), dtype=np.float32)
    freqs = frequencies(8, 100.0)
    products = [float((rope(q, [p + 17], freqs) * rope(k, [p], freqs)).sum()) for p in (0, 1, 40, 250)]
    np.testing.assert_allclose(products, products[0], **ROTATED)


def test_values_turned_back_at_the_query_leave_only_relative_positions(rng):
    """V4's keys are its values: what a query reads carries absolute positions until the output is turned back."""
    rows, freqs, share = rng.standard_normal((3, 8), dtype=np.float32), frequencies(8, 100.0), np.array([0.2, 0.5, 0.3])

    def read(shift):                                    # three rows at 0, 5, 9, a query at 11, all moved by `shift`
        values = rope(rows, np.array([0, 5, 9]) + shift, freqs)
        return rope((share @ values).astype(np.float32)[None], [11 + shift], freqs, inverse=True)

    np.testing.assert_allclose(read(200), read(0), **ROTATED)
    np.testing.assert_allclose(read(0)[0], sum(s * naive.rope(row, at - 11, freqs) for s, row, at in zip(share, rows, (0, 5, 9))),
                               **ROTATED)
