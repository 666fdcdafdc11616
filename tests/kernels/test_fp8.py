"""FP8 codes in kernels: each of the 256 with any scale, whichever way this processor reads them."""

import ml_dtypes
import numpy as np
import pytest
from kernels.stored import stored
from tolerances import OP

from v4mini.kernels import fp8, linear, packed
from v4mini.numerics.matrix import Matrix


def test_every_fp8_code_and_every_scale():
    codes = np.tile(np.arange(256, dtype=np.uint8), (255, 1)).reshape(255, 256)
    for scale in (0, 1, 126, 127, 130, 200):
        weight = Matrix(codes[:2].view(ml_dtypes.float8_e4m3fn), np.full((1, 2), scale, np.uint8).view(ml_dtypes.float8_e8m0fnu))
        got, wanted = packed.rows(weight, 0, 2), weight.dense()
        np.testing.assert_array_equal(got, wanted)
        np.testing.assert_array_equal(np.signbit(got), np.signbit(wanted))          # of zeros too
    one_hot = np.eye(256, dtype=np.float32)
    weight = Matrix(codes[:1].view(ml_dtypes.float8_e4m3fn), np.full((1, 2), 127, np.uint8).view(ml_dtypes.float8_e8m0fnu))
    assert np.isnan(linear.linear(one_hot[0], weight)).all(), "a NaN code must be seen"


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("out, width", [(1, 128), (130, 64), (257, 416)])
def test_both_ways_to_widen_a_code(normal, monkeypatch, half, out, width):
    """By conversion of half floats, where the processor has it, and by bits."""
    if half and not fp8.half_floats():
        pytest.skip("this processor has no conversion of half floats")
    monkeypatch.setattr(fp8, "half_floats", lambda: half)
    weight, x, y = stored(normal, "fp8", out, width), normal(1, width), np.empty(out, np.float32)
    packed.matvec(weight, x, y)
    np.testing.assert_allclose(y, weight.dense().astype(np.float64) @ x[0], **OP)


def test_rows_from_the_middle_of_a_tile_keep_its_scale(normal):
    """`first` says which row of the weight the codes begin with: 127 and 128 lie in different tiles."""
    weight = stored(normal, "fp8", 256, 128)
    codes, scale = weight.codes.view(np.int8), weight.scale.view(np.uint8)
    scale[1] = scale[0] + 3
    x, out = normal(1, 128), np.empty(2, np.float32)
    fp8.matvec(codes[127:129], scale, 127, x, out)
    np.testing.assert_allclose(out, weight.rows(127, 129).astype(np.float64) @ x[0], **OP)
