"""All 65,536 patterns of bfloat16, and every midpoint between them."""

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from v4mini.numerics.bf16 import from_bf16, round_bf16, to_bf16

PATTERNS = np.arange(65536, dtype=np.uint16)
BITS = PATTERNS.astype(np.uint32) << 16          # the same numbers in float32
VALUES = BITS.view(np.float32)
NUMBERS = ~np.isnan(VALUES)


def test_every_pattern_decodes_as_in_ml_dtypes():
    decoded = from_bf16(PATTERNS.view(ml_dtypes.bfloat16))
    np.testing.assert_array_equal(decoded.view(np.uint32), BITS)
    np.testing.assert_array_equal(decoded, PATTERNS.view(ml_dtypes.bfloat16).astype(np.float32))


def test_every_number_survives_rounding_bit_for_bit():
    np.testing.assert_array_equal(round_bf16(VALUES).view(np.uint32)[NUMBERS], BITS[NUMBERS])
    np.testing.assert_array_equal(to_bf16(VALUES).view(np.uint16)[NUMBERS], PATTERNS[NUMBERS])


def test_every_midpoint_and_its_neighbours_round_as_in_ml_dtypes():
    for lower_half in (0x0001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        x = (BITS | np.uint32(lower_half)).view(np.float32)
        with np.errstate(invalid="ignore"):              # the oracle complains about signalling NaN
            wanted = x.astype(ml_dtypes.bfloat16).view(np.uint16)
        np.testing.assert_array_equal(to_bf16(x).view(np.uint16), wanted, err_msg=f"{lower_half=:#x}")
        np.testing.assert_array_equal(round_bf16(x).view(np.uint32) >> 16, wanted, err_msg=f"{lower_half=:#x}")


def test_ties_go_to_the_even_neighbour():
    step = 2.0**-7
    np.testing.assert_array_equal(round_bf16([1 + step / 2, 1 + 3 * step / 2, -1 - step / 2]), [1, 1 + 2 * step, -1])


def test_nan_stays_nan_even_if_only_its_lowest_bit_says_so():
    x = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(round_bf16(x)).all() and np.isnan(from_bf16(to_bf16(x))).all()


def test_infinity_stays_and_the_largest_float32_becomes_infinite():
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(round_bf16([np.inf, -np.inf, largest, -largest]), [np.inf, -np.inf, np.inf, -np.inf])


@given(st.floats(width=32, allow_nan=False, min_value=-2.0**127, max_value=2.0**127))
def test_off_by_half_a_step_at_most_and_rounding_again_changes_nothing(x):
    rounded = float(round_bf16(x))
    step = 2.0 ** (max(np.frexp(x)[1], -125) - 8)        # 8 significant bits; the exponent ends at 2^-126
    assert abs(rounded - x) <= step / 2
    assert float(round_bf16(rounded)) == rounded
