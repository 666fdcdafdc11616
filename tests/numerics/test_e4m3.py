"""All 256 codes of FP8 e4m3fn, every tie, and what happens beyond 448."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.numerics import e4m3

FP8 = ml_dtypes.float8_e4m3fn
CODES = np.arange(256, dtype=np.uint8)
VALUES = CODES.view(FP8).astype(np.float32)
POSITIVE = VALUES[:0x7F]                        # 0 .. 448


def same_codes(x):
    x = np.asarray(x, np.float32)
    with np.errstate(invalid="ignore"):                  # the oracle complains about signalling NaN
        wanted = x.astype(FP8)
    np.testing.assert_array_equal(e4m3.encode(x).view(np.uint8), wanted.view(np.uint8))


def test_all_256_codes_decode_as_in_ml_dtypes():
    decoded = e4m3.decode(CODES.view(FP8))
    is_number = ~np.isnan(VALUES)
    np.testing.assert_array_equal(decoded.view(np.uint32)[is_number], VALUES.view(np.uint32)[is_number])
    np.testing.assert_array_equal(CODES[np.isnan(decoded)], [0x7F, 0xFF])


@pytest.mark.parametrize("code, value", [(0x01, 2**-9), (0x08, 2**-6), (0x38, 1), (0x39, 1.125), (0x7E, 448), (0xB8, -1)])
def test_codes_one_can_check_with_a_pencil(code, value):
    assert e4m3.TABLE[code] == value
    assert e4m3.encode(value).view(np.uint8) == code


def test_every_code_survives_decode_and_encode():
    np.testing.assert_array_equal(e4m3.encode(VALUES).view(np.uint8), VALUES.astype(FP8).view(np.uint8))
    is_number = ~np.isnan(VALUES)
    np.testing.assert_array_equal(e4m3.encode(VALUES).view(np.uint8)[is_number], CODES[is_number])


def test_ties_go_to_the_even_code():
    middle = (POSITIVE[:-1] + POSITIVE[1:]) / 2          # exact in float32
    code = np.arange(126)
    np.testing.assert_array_equal(e4m3.encode(middle).view(np.uint8), code + code % 2)
    np.testing.assert_array_equal(e4m3.encode(-middle).view(np.uint8), 0x80 | (code + code % 2))


def test_beside_a_tie_the_nearer_code_wins():
    middle = (POSITIVE[:-1] + POSITIVE[1:]) / 2
    np.testing.assert_array_equal(e4m3.encode(np.nextafter(middle, np.float32(0))).view(np.uint8), np.arange(126))
    np.testing.assert_array_equal(e4m3.encode(np.nextafter(middle, np.float32(999))).view(np.uint8), np.arange(126) + 1)


def test_agrees_with_ml_dtypes_on_every_bfloat16_and_its_neighbours():
    bits = np.arange(65536, dtype=np.uint32) << 16
    for lower_half in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        same_codes((bits | np.uint32(lower_half)).view(np.float32))


def test_beyond_464_an_overflow_is_nan_not_448():
    np.testing.assert_array_equal(e4m3.round_e4m3([448, 449, 464, -464]), [448, 448, 448, -448])
    beyond = np.array([np.nextafter(np.float32(464), np.float32(465)), 480, 1e30, np.inf, -np.inf, np.nan], np.float32)
    assert np.isnan(e4m3.round_e4m3(beyond)).all()
    same_codes(beyond)


def test_shapes_and_strides_pass_through(rng):
    x = rng.standard_normal((5, 6, 7)).astype(np.float32)
    for view in (x, x.T, x[:, ::2], x[0, 0, 0], x[:0]):
        assert e4m3.encode(view).shape == view.shape
        same_codes(view)


@given(st.floats(-448, 448, width=32))
def test_off_by_half_a_step_at_most_against_float64(x):
    step = 2.0 ** (max(np.frexp(x)[1], -5) - 4)          # 4 significant bits; the exponent ends at 2^-6
    rounded = float(e4m3.round_e4m3(x))
    assert rounded == np.rint(x / step) * step           # np.rint too sends ties to even
    assert float(e4m3.round_e4m3(rounded)) == rounded


@given(st.floats(2.0**-6, 224, width=32))
def test_doubling_a_normal_number_doubles_its_rounding(x):
    assert e4m3.round_e4m3(2 * x) == 2 * e4m3.round_e4m3(x)
