"""All sixteen codes of FP4, all ties, and the order of nibbles."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.numerics import e2m1
from v4mini.shapes import Refused

FP4 = ml_dtypes.float4_e2m1fn
CODES = np.arange(16, dtype=np.uint8)
VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)
BYTES = np.arange(256).astype(np.int8)


def test_all_16_codes_decode_as_written_and_as_in_ml_dtypes():
    decoded = e2m1.decode(CODES)
    np.testing.assert_array_equal(decoded.view(np.uint32), VALUES.view(np.uint32))
    np.testing.assert_array_equal(decoded.view(np.uint32), CODES.view(FP4).astype(np.float32).view(np.uint32))


def test_every_code_survives_decode_and_encode():
    np.testing.assert_array_equal(e2m1.encode(VALUES), CODES)


def test_ties_go_to_the_even_code():
    ties = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5], np.float32)
    np.testing.assert_array_equal(e2m1.round_e2m1(ties), [0, 1, 1, 2, 2, 4, 4])
    np.testing.assert_array_equal(e2m1.round_e2m1(-ties), [0, -1, -1, -2, -2, -4, -4])
    np.testing.assert_array_equal(e2m1.encode(np.nextafter(ties, np.float32(0))), np.arange(7))
    np.testing.assert_array_equal(e2m1.encode(np.nextafter(ties, np.float32(9))), np.arange(1, 8))


def test_agrees_with_ml_dtypes_on_every_bfloat16_and_its_neighbours():
    bits = np.arange(65536, dtype=np.uint32) << 16
    for lower_half in (0, 1, 0x7FFF, 0x8000, 0xFFFF):
        x = (bits | np.uint32(lower_half)).view(np.float32)
        x = x[~np.isnan(x)]
        np.testing.assert_array_equal(e2m1.encode(x), x.astype(FP4).view(np.uint8))


def test_beyond_6_saturates_and_nan_is_refused():
    np.testing.assert_array_equal(e2m1.round_e2m1([6.1, 7, 1e30, np.inf, -np.inf]), [6, 6, 6, 6, -6])
    with pytest.raises(Refused, match="no code for NaN"):
        e2m1.encode([1, np.nan])
    np.testing.assert_array_equal(e2m1.round_e2m1([1, np.nan]), [1, np.nan])


def test_the_low_nibble_is_the_even_index():
    packed = e2m1.pack(e2m1.encode([1.5, -2]))
    assert packed.dtype == np.int8 and packed.view(np.uint8).tolist() == [0xC3]
    np.testing.assert_array_equal(e2m1.decode_packed(packed), [1.5, -2])


def test_all_256_bytes_unpack_decode_and_pack_again():
    codes = e2m1.unpack(BYTES)
    np.testing.assert_array_equal(codes.reshape(256, 2), [[byte % 16, byte // 16] for byte in range(256)])
    np.testing.assert_array_equal(e2m1.pack(codes), BYTES)
    np.testing.assert_array_equal(e2m1.decode_packed(BYTES).view(np.uint32), e2m1.decode(codes).view(np.uint32))


@pytest.mark.parametrize("shape", [(2,), (3, 4), (2, 0), (0, 6), (2, 3, 8)])
def test_packing_keeps_leading_axes(rng, shape):
    codes = rng.integers(0, 16, shape, dtype=np.uint8)
    assert e2m1.pack(codes).shape == (*shape[:-1], shape[-1] // 2)
    np.testing.assert_array_equal(e2m1.unpack(e2m1.pack(codes)), codes, strict=True)


def test_an_odd_number_of_codes_is_refused():
    with pytest.raises(Refused, match="must be even, got 3"):
        e2m1.pack(np.zeros(3, np.uint8))


@given(st.floats(-6, 6, width=32))
def test_off_by_half_a_step_at_most_against_float64(x):
    step = 2.0 ** (max(np.frexp(x)[1], 1) - 2)           # 2 significant bits; the exponent ends at 2^0
    rounded = float(e2m1.round_e2m1(x))
    assert rounded == np.rint(x / step) * step
    assert float(e2m1.round_e2m1(rounded)) == rounded
