"""Walking in pieces changes nothing but time."""

import numpy as np
import pytest

from v4mini.numerics.strips import STRIP, elementwise, row_strips


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (3, 7), (STRIP - 1,), (STRIP,), (STRIP + 1,), (2, STRIP, 2)])
def test_elementwise_is_the_rule_on_the_whole(rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    np.testing.assert_array_equal(elementwise(np.negative, x, np.float32), -x, strict=True)


def test_elementwise_follows_the_order_of_a_transposed_array(rng):
    x = rng.standard_normal((300, 200)).astype(np.float32).T
    np.testing.assert_array_equal(elementwise(np.negative, x, np.float32), -x)


@pytest.mark.parametrize("rows, width", [(0, 4), (1, 4), (7, STRIP), (7, STRIP * 3), (1000, 100), (3, 0)])
def test_row_strips_cover_each_row_once(rows, width):
    covered = [row for strip in row_strips(rows, width) for row in range(rows)[strip]]
    assert covered == list(range(rows))
