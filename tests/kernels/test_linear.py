"""Products with stored weights agree with ops.linear, however they are stored and however many tokens there are."""

import ml_dtypes
import numpy as np
import pytest
from numba import config, njit
from tolerances import OP

from v4mini.kernels import fp4, linear, packed
from v4mini.numerics import blocks
from v4mini.numerics.matrix import Matrix
from v4mini.ops import linear as numpy_linear
from v4mini.shapes import Refused

FORMATS = ["f32", "bf16", "fp8", "fp4"]


def stored(normal, format, out, width, keep=False):
    w = normal(out, width) / np.float32(width**0.5)
    if format in ("fp8", "fp4"):
        matrix = {"fp8": blocks.quantise_fp8, "fp4": blocks.quantise_fp4}[format](w)
        return Matrix(matrix.codes, matrix.scale, keep, "w")
    return Matrix(w.astype(ml_dtypes.bfloat16) if format == "bf16" else w, None, keep, "w")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shape, out", [((0, 64), 5), ((64,), 1), ((1, 96), 131), ((4, 160), 33), ((5, 32), 40), ((3, 3, 64), 7)])
def test_agrees_with_numpy(normal, format, shape, out, either_way):
    for keep in (False, True):
        x, weight = normal(*shape), stored(normal, format, out, shape[-1], keep)
        np.testing.assert_allclose(linear.linear(x, weight), numpy_linear.linear(x, weight), **OP)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("T", [0, 1, 3, 9])
def test_grouped_agrees_with_numpy(normal, format, T, either_way):
    x, weight = normal(T, 3 * 64), stored(normal, format, 3 * 50, 64)
    np.testing.assert_allclose(linear.grouped_linear(x, weight, 3), numpy_linear.grouped_linear(x, weight, 3), **OP)


@pytest.mark.parametrize("format", ["bf16", "fp8", "fp4"])
def test_decodes_bit_for_bit_from_any_row(rng, normal, format):
    weight = stored(normal, format, 150, 160)
    for start, stop in [(0, 150), (0, 0), (127, 129), (149, 150)]:
        np.testing.assert_array_equal(packed.rows(weight, start, stop).view(np.uint32), weight.rows(start, stop).view(np.uint32))


def test_every_fp8_code_and_every_scale():
    codes = np.tile(np.arange(256, dtype=np.uint8), (255, 1)).reshape(255, 256)
    for scale in (0, 1, 126, 127, 130, 200):
        weight = Matrix(codes[:2].view(ml_dtypes.float8_e4m3fn), np.full((1, 2), scale, np.uint8).view(ml_dtypes.float8_e8m0fnu))
        np.testing.assert_array_equal(packed.rows(weight, 0, 2), weight.dense())
    one_hot = np.eye(256, dtype=np.float32)
    weight = Matrix(codes[:1].view(ml_dtypes.float8_e4m3fn), np.full((1, 2), 127, np.uint8).view(ml_dtypes.float8_e8m0fnu))
    assert np.isnan(linear.linear(one_hot[0], weight)).all(), "a NaN code must be seen"


def test_every_fp4_code_in_every_place(normal):
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16).view(np.int8)
    scale = np.array([0, 1, 100, 127, 128, 140] * 3, np.uint8)[:16, None].view(ml_dtypes.float8_e8m0fnu)
    weight = Matrix(codes, scale)
    np.testing.assert_array_equal(packed.rows(weight, 0, 16).view(np.uint32), weight.dense().view(np.uint32))
    for place in range(32):
        x = np.zeros(32, np.float32)
        x[place] = 1
        np.testing.assert_array_equal(linear.linear(x, weight), weight.dense()[:, place])


@pytest.mark.parametrize("way", ["avx512bw", "avx2", None])
def test_each_way_to_look_up_fp4(normal, monkeypatch, way):
    has = fp4.table_lookup()
    if way and (has is None or way > has):              # "avx512bw" < "avx2": a processor with the former has both
        way_is_there = has == "avx512bw"
        if not way_is_there:
            pytest.skip(f"this processor has {has}")
    monkeypatch.setattr(fp4, "table_lookup", lambda: way)
    if way and not config.DISABLE_JIT:                  # compiled anew, as the choice is made then
        monkeypatch.setattr(fp4, "_rows_by_table", njit(fp4._rows_by_table.py_func))
    for width in (96, 128, 416):                        # no whole register, one, three and a rest
        x, weight = normal(width), stored(normal, "fp4", 7, width)
        np.testing.assert_allclose(linear.linear(x, weight), numpy_linear.linear(x, weight), **OP)


@pytest.mark.parametrize("format", FORMATS)
def test_one_thread_and_two_give_the_same_bits(normal, same_bits, format):
    x, weight = normal(1, 64), stored(normal, format, 203, 64)
    same_bits(lambda: linear.linear(x, weight))


@pytest.mark.parametrize("format", FORMATS)
def test_read_only_codes_and_strided_tokens(normal, format):
    weight = stored(normal, format, 9, 64)
    weight.codes.flags.writeable = False
    x = normal(3, 128)[:, ::2]
    np.testing.assert_allclose(linear.linear(x, weight), numpy_linear.linear(x, weight), **OP)


def test_refuses_rows_of_another_width(normal):
    with pytest.raises(Refused, match="w: expected rows of 32 numbers, got 64"):
        linear.linear(normal(2, 32), stored(normal, "fp8", 3, 64))
    with pytest.raises(Refused, match="w: expected 2 groups of 64 numbers, got rows of 64"):
        linear.grouped_linear(normal(2, 64), stored(normal, "f32", 4, 64), 2)


def test_a_damaged_scale_is_refused(normal):
    weight = stored(normal, "fp4", 3, 32)
    weight.scale.view(np.uint8)[1] = 255
    with pytest.raises(Refused, match="w scale: NaN code"):
        linear.linear(normal(32), weight)
