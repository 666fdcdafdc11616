"""A Matrix decodes to code * scale, bit for bit, from any row, out of any memory."""

import ml_dtypes
import numpy as np
import pytest

from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused

FP8, BF16, E8M0 = ml_dtypes.float8_e4m3fn, ml_dtypes.bfloat16, ml_dtypes.float8_e8m0fnu
FP4_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
SHAPES = [(1, 32), (128, 128), (129, 160), (300, 96), (257, 384), (700, 128)]


def random_scale(rng, *shape):
    return rng.integers(100, 150, shape, dtype=np.uint8).view(E8M0)


def random_matrix(rng, format, out, width, **kwargs):
    """A Matrix of random codes, and the weights it stands for by ml_dtypes' casts and np.repeat."""
    if format == "fp8":
        codes = rng.integers(0, 256, (out, width), dtype=np.uint8)
        codes[codes % 128 == 127] = 0                    # no NaN
        codes = codes.view(FP8)
        scale = random_scale(rng, -(-out // 128), -(-width // 128))
        per_weight = np.repeat(np.repeat(scale.astype(np.float32), 128, 0), 128, 1)[:out, :width]
        return Matrix(codes, scale, **kwargs), codes.astype(np.float32) * per_weight
    if format == "fp4":
        codes = rng.integers(0, 256, (out, width // 2), dtype=np.uint8)
        values = FP4_VALUES[np.stack([codes & 15, codes >> 4], -1).reshape(out, width)]
        scale = random_scale(rng, out, width // 32)
        return Matrix(codes.view(np.int8), scale, **kwargs), values * np.repeat(scale.astype(np.float32), 32, 1)
    codes = rng.standard_normal((out, width)).astype({"f32": np.float32, "bf16": BF16}[format])
    return Matrix(codes, **kwargs), codes.astype(np.float32)


@pytest.mark.parametrize("format", ["f32", "bf16", "fp8", "fp4"])
@pytest.mark.parametrize("out, width", SHAPES)
def test_decodes_to_code_times_scale_from_any_row(rng, format, out, width):
    matrix, wanted = random_matrix(rng, format, out, width)
    assert matrix.format == format and matrix.shape == (out, width) and matrix.is_quantised == (format in ("fp8", "fp4"))
    bits = wanted.view(np.uint32)
    np.testing.assert_array_equal(matrix.dense().view(np.uint32), bits)
    for start, stop in [(0, out), (0, 0), (out, out), (out // 3, out), (out // 2, out // 2 + 1), (out - 1, out)]:
        np.testing.assert_array_equal(matrix.rows(start, stop).view(np.uint32), bits[start:stop], err_msg=f"{start}:{stop}")
    ids = rng.integers(0, out, 9)
    np.testing.assert_array_equal(matrix.take(ids).view(np.uint32), bits[ids])
    assert matrix.take([]).shape == (0, width)


@pytest.mark.parametrize("format, codes_bytes, scale_bytes", [("f32", 153600, 0), ("bf16", 76800, 0), ("fp8", 38400, 3),
                                                              ("fp4", 19200, 1200)])
def test_counts_its_bytes(rng, format, codes_bytes, scale_bytes):
    matrix, _ = random_matrix(rng, format, 300, 128)
    assert matrix.nbytes == codes_bytes + scale_bytes
    assert matrix.dense_nbytes == matrix.dense().nbytes == 153600


@pytest.mark.parametrize("format", ["bf16", "fp8", "fp4"])
def test_dense_is_kept_only_on_request(rng, format):
    forgetful, _ = random_matrix(rng, format, 40, 64)
    keeping, _ = random_matrix(rng, format, 40, 64, keep=True)
    assert forgetful.dense() is not forgetful.dense()
    assert keeping.dense() is keeping.dense()


def test_float32_is_not_copied(rng):
    matrix, _ = random_matrix(rng, "f32", 40, 64)
    assert matrix.dense() is matrix.codes and np.shares_memory(matrix.rows(3, 7), matrix.codes)


@pytest.mark.parametrize("format", ["f32", "bf16", "fp8", "fp4"])
def test_reads_unaligned_read_only_files(rng, tmp_path, format):
    matrix, wanted = random_matrix(rng, format, 130, 96)
    path = tmp_path / "weights"
    path.write_bytes(b"\0" + matrix.codes.tobytes())
    codes = np.memmap(path, matrix.codes.dtype, "r", offset=1, shape=matrix.codes.shape)
    np.testing.assert_array_equal(Matrix(codes, matrix.scale).dense(), wanted)
    np.testing.assert_array_equal(Matrix(codes, matrix.scale).rows(5, 129), wanted[5:129])
    np.testing.assert_array_equal(Matrix(codes, matrix.scale).take([7, 7, 129]), wanted[[7, 7, 129]])


@pytest.mark.parametrize("format, place", [("fp8", (1, 0)), ("fp4", (7, 2))])
def test_a_nan_scale_is_refused_when_first_decoded_not_before(rng, format, place):
    good, _ = random_matrix(rng, format, 300, 128)
    scale = good.scale.copy()
    scale.view(np.uint8)[place] = 0xFF
    matrix = Matrix(good.codes, scale, name="layers.0.w1")
    for decode in (matrix.check_scales, matrix.dense, lambda: matrix.rows(299, 300), lambda: matrix.take([299])):
        with pytest.raises(Refused, match=rf"layers.0.w1 scale: NaN code at \[{place[0]}, {place[1]}\]"):
            decode()
    good.check_scales()


def test_a_nan_weight_stays_nan(rng):
    matrix = Matrix(np.full((2, 128), 0x7F, np.uint8).view(FP8), random_scale(rng, 1, 1))
    assert np.isnan(matrix.dense()).all()


def zeros(dtype, *shape):
    return np.zeros(shape, np.dtype(dtype))


@pytest.mark.parametrize("codes, scale, message", [
    (zeros(np.float64, 2, 2), None, "expected codes of dtype float32, bfloat16, float8_e4m3fn, int8, got float64"),
    (zeros(np.float32, 4), None, r"expected codes \[out, in\], got \[4\]"),
    (zeros(np.float32, 2, 2), zeros(E8M0, 1, 1), r"expected no scale for f32 weights \[2, 2\], got scale \[1, 1\]"),
    (zeros(FP8, 129, 128), None, r"expected scale \[2, 1\] for fp8 weights \[129, 128\], got no scale"),
    (zeros(FP8, 129, 128), zeros(E8M0, 1, 1), r"expected scale \[2, 1\] .* got scale \[1, 1\]"),
    (zeros(FP8, 128, 128), zeros(np.float32, 1, 1), "scale: expected dtype float8_e8m0fnu, got float32"),
    (zeros(np.int8, 4, 32), zeros(E8M0, 4, 1), r"expected scale \[4, 2\] for fp4 weights \[4, 64\]"),
    (zeros(np.int8, 4, 24), zeros(E8M0, 4, 2), "32 weights of a row each, got rows of 48"),
])
def test_what_does_not_fit_together_is_refused(codes, scale, message):
    with pytest.raises(Refused, match=message):
        Matrix(codes, scale)


def test_rows_that_are_not_there_are_refused(rng):
    matrix, _ = random_matrix(rng, "bf16", 4, 8)
    for start, stop in [(-1, 2), (0, 5), (3, 2)]:
        with pytest.raises(Refused, match=r"rows within 0\.\.4"):
            matrix.rows(start, stop)
    for wrong in (-1, 4):
        with pytest.raises(Refused, match=f"ids within 0..3, got {wrong}"):
            matrix.take([0, wrong])
    with pytest.raises(Refused, match=r"expected ids \[n\], got \[1, 1\]"):
        matrix.take([[0]])


def test_says_in_a_line_what_it_is(rng):
    matrix, _ = random_matrix(rng, "fp4", 64, 128, name="layers.0.ffn.experts.0.w1")
    assert repr(matrix) == "<layers.0.ffn.experts.0.w1: fp4 [64, 128], 4,352 bytes>"
