"""All 256 scales, and the power of two above any float32."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.numerics import ue8m0
from v4mini.shapes import Refused

CODES = np.arange(256, dtype=np.uint8)
POWERS = 2.0 ** (np.arange(255) - 127)


def test_all_256_codes_decode_as_in_ml_dtypes():
    decoded = ue8m0.decode(CODES.view(ml_dtypes.float8_e8m0fnu))
    np.testing.assert_array_equal(decoded, CODES.view(ml_dtypes.float8_e8m0fnu).astype(np.float32), strict=True)
    np.testing.assert_array_equal(decoded[:255], POWERS)
    assert np.isnan(decoded[255])


def test_all_powers_encode_to_their_byte():
    codes = ue8m0.encode(POWERS)
    assert codes.dtype == ml_dtypes.float8_e8m0fnu
    np.testing.assert_array_equal(codes.view(np.uint8), CODES[:255])


@pytest.mark.parametrize("wrong", [0, -1, 3, 1 + 2**-23, 2.0**-128, np.inf, np.nan])
def test_anything_but_a_power_of_two_is_refused(wrong):
    with pytest.raises(Refused, match="not a power of two"):
        ue8m0.encode([1, wrong])


@given(st.floats(min_value=0, exclude_min=True, max_value=2.0**127, width=32))
def test_power_of_two_at_least_is_the_smallest_one(x):
    power = float(ue8m0.power_of_two_at_least(x))
    assert math.frexp(power)[0] == 0.5
    assert power / 2 < x <= power


def test_powers_answer_for_themselves_and_their_neighbours_do_not_err():
    powers = np.float32(POWERS[1:-1])                    # normal ones whose double is finite
    np.testing.assert_array_equal(ue8m0.power_of_two_at_least(powers), powers)
    np.testing.assert_array_equal(ue8m0.power_of_two_at_least(np.nextafter(powers, np.float32(0))), powers)
    np.testing.assert_array_equal(ue8m0.power_of_two_at_least(np.nextafter(powers, np.float32(np.inf))), powers * 2)


def test_at_the_ends():
    x = np.array([0, -0.0, 2.0**-149, 1.5 * 2.0**127, np.inf, np.nan, -1], np.float32)
    np.testing.assert_array_equal(ue8m0.power_of_two_at_least(x), [0, 0, 2.0**-149, np.inf, np.inf, np.nan, np.nan])


@pytest.mark.parametrize("top", [448, 6])
def test_dividing_or_multiplying_by_the_reciprocal_gives_the_same_scale(top):
    """The reference multiplies by 1/448; near a power of two the two products may differ, their scales must not."""
    amax = np.float32(top) * np.float32(2.0) ** np.arange(-100, 100, dtype=np.float32)
    for _ in range(50):
        np.testing.assert_array_equal(ue8m0.power_of_two_at_least(amax / np.float32(top)),
                                      ue8m0.power_of_two_at_least(amax * np.float32(1 / top)))
        amax = np.nextafter(amax, np.float32(np.inf))
