"""Products with stored matrices."""

import ml_dtypes
import numpy as np
import pytest
from ops import naive
from tolerances import OP

from v4mini.numerics.blocks import quantise_fp4, quantise_fp8
from v4mini.numerics.matrix import Matrix
from v4mini.ops import linear
from v4mini.shapes import Refused


def stored(weight, format, keep=False):                 # float32 [out, in] -> Matrix
    if format in ("fp8", "fp4"):
        matrix = {"fp8": quantise_fp8, "fp4": quantise_fp4}[format](weight)
        return Matrix(matrix.codes, matrix.scale, keep, "w")
    return Matrix(weight.astype({"f32": np.float32, "bf16": ml_dtypes.bfloat16}[format]), keep=keep, name="w")


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("format", ["f32", "bf16", "fp8", "fp4"])
@pytest.mark.parametrize("T", [0, 1, 5])
def test_a_token_meets_each_row_of_the_weight(rng, T, format, keep):
    weight = stored(rng.standard_normal((33, 64), dtype=np.float32), format, keep)
    x = rng.standard_normal((T, 64), dtype=np.float32)
    wanted = np.array([naive.linear(row, weight.dense()) for row in x]).reshape(T, 33)
    np.testing.assert_allclose(linear.linear(x, weight), wanted, rtol=OP["rtol"], atol=64 * OP["atol"])


def test_decoding_a_few_rows_at_a_time_changes_no_product(rng, monkeypatch):
    weight, x = rng.standard_normal((300, 64), dtype=np.float32), rng.standard_normal((4, 64), dtype=np.float32)
    whole = linear.linear(x, stored(weight, "fp8", keep=True))
    monkeypatch.setattr(linear, "ROWS_AT_ONCE", 7)      # not a divisor of 300, nor of a tile's 128
    np.testing.assert_allclose(linear.linear(x, stored(weight, "fp8")), whole, **OP)


def test_leading_axes_pass_through(rng):
    weight, x = stored(rng.standard_normal((6, 8), dtype=np.float32), "f32"), rng.standard_normal((2, 3, 8), dtype=np.float32)
    assert linear.linear(x, weight).shape == (2, 3, 6)


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("T", [0, 1, 4])
def test_each_group_meets_its_own_rows_only(rng, T, groups):
    weight, x = rng.standard_normal((groups * 5, 7), dtype=np.float32), rng.standard_normal((T, groups * 7), dtype=np.float32)
    wanted = [[naive.linear(row[7 * g: 7 * g + 7], weight[5 * g: 5 * g + 5]) for g in range(groups)] for row in x]
    np.testing.assert_allclose(linear.grouped_linear(x, stored(weight, "f32"), groups),
                               np.array(wanted).reshape(T, groups * 5), **OP)


@pytest.mark.parametrize("format", ["f32", "bf16", "fp8", "fp4"])
def test_an_embedding_is_a_row_of_the_table(rng, format):
    table, ids = stored(rng.standard_normal((50, 32), dtype=np.float32), format), np.array([49, 0, 7, 7])
    assert np.array_equal(linear.embed(ids, table), table.dense()[ids])


def test_a_weight_of_another_width_is_refused_by_name(rng):
    with pytest.raises(Refused, match="w: expected rows of 8 numbers, got 9"):
        linear.linear(np.zeros((1, 8), np.float32), stored(np.zeros((3, 9), np.float32), "f32"))
