"""Block scales: the rule once more in float64, properties, and the lossless way from FP4 to FP8."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from v4mini.numerics import e2m1, ue8m0
from v4mini.numerics.blocks import even_tiles, fp4_to_fp8, quantise_fp4, quantise_fp8, round_activations, round_index, round_kv
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused

FP8_ROUND = {"top": 448, "digits": 4, "smallest": -6}    # significant bits; exponent of the smallest normal number
FP4_ROUND = {"top": 6, "digits": 2, "smallest": 0}


def round_group(x, floor, top, digits, smallest):
    """One group, in float64, from the definition: a scale by log2, a step per number, np.rint for ties to even."""
    x = np.float64(x)
    scale = 2.0 ** np.ceil(np.log2(max(np.abs(x).max(), floor) / top))
    exponent = np.maximum(np.floor(np.log2(np.maximum(np.abs(x / scale), 1e-300))), smallest)
    step = 2.0 ** (exponent - digits + 1)
    return np.rint(x / scale / step) * step * scale, scale


def round_by_groups(x, group, **rule):
    groups = x.reshape(-1, group)
    return np.array([round_group(row, **rule)[0] for row in groups]).reshape(x.shape)


def lively(rng, *shape):
    """Rows of very different sizes, one group all zero, one outlier."""
    x = rng.standard_normal(shape) * 2.0 ** rng.integers(-20, 20, (*shape[:-1], 1))
    x[..., 0] *= 100
    x[0] = 0
    return x.astype(np.float32)


def test_activations_agree_with_the_float64_rule(rng):
    x = lively(rng, 6, 5, 256)
    np.testing.assert_array_equal(round_activations(x), round_by_groups(x, 128, floor=np.float32(1e-4), **FP8_ROUND))


def test_index_rows_agree_with_the_float64_rule(rng):
    x = lively(rng, 6, 5, 128)
    np.testing.assert_array_equal(round_index(x), round_by_groups(x, 32, floor=6 * 2.0**-126, **FP4_ROUND))


def test_kv_rows_agree_with_the_float64_rule_and_leave_the_rotated_dims(rng):
    x = lively(rng, 40, 192 + 16)
    rounded = round_kv(x, rope_head_dim=16)
    wanted = round_by_groups(np.ascontiguousarray(x[:, :192]), 64, floor=np.float32(1e-4), **FP8_ROUND)
    np.testing.assert_array_equal(rounded[:, :192], wanted)
    np.testing.assert_array_equal(rounded[:, 192:], x[:, 192:])


def test_below_the_floor_the_scale_stops_shrinking():
    """amax 1e-4 gives the scale 2^-22; half of FP8's smallest number at that scale, 2^-32, is rounded to zero."""
    x = np.zeros(128, np.float32)
    x[:3] = 2.0**-31, 2.0**-32, 1.01 * 2.0**-32
    np.testing.assert_array_equal(round_activations(x)[:3], [2.0**-31, 0, 2.0**-31])
    assert not round_index(np.zeros(32)).any()


@pytest.mark.parametrize("round_rows, group, top", [(round_activations, 128, 448), (round_index, 32, 6),
                                                    (lambda x: round_kv(x, 0), 64, 448)])
def test_where_the_scale_jumps(round_rows, group, top):
    """amax exactly 448 (or 6) keeps scale 1; the next float32 doubles it."""
    probe = 1.125 if top == 448 else 0.5                 # representable at scale 1, a tie between codes at scale 2
    x = np.full(group, probe, np.float32)
    x[0] = top
    np.testing.assert_array_equal(round_rows(x), x)
    x[0] = np.nextafter(np.float32(top), np.float32(1000))
    assert round_rows(x)[0] == top and round_rows(x)[1] == (1.125 if top == 448 else 0)


@pytest.mark.parametrize("round_rows, group", [(round_activations, 128), (round_index, 32), (lambda x: round_kv(x, 0), 64)])
def test_a_bad_number_spoils_its_group_visibly_and_no_other(rng, round_rows, group):
    for bad in (np.nan, np.inf, -np.inf):
        x = rng.standard_normal((2, 2 * group)).astype(np.float32)
        x[1, 3] = bad
        rounded = round_rows(x)
        assert np.isnan(rounded[1, :group]).all()
        np.testing.assert_array_equal(rounded[0], round_rows(x[0]))
        assert np.isfinite(rounded[1, group:]).all()


def test_empty_batches_and_long_ones(rng):
    assert round_activations(np.zeros((0, 256))).shape == (0, 256)
    assert round_kv(np.zeros((0, 3, 80)), 16).shape == (0, 3, 80)
    x = rng.standard_normal((1500, 128)).astype(np.float32)
    np.testing.assert_array_equal(round_activations(x), np.stack([round_activations(row) for row in x]))


def test_the_input_stays_as_it_was(rng):
    x = rng.standard_normal((4, 128)).astype(np.float32)
    x.flags.writeable = False
    round_activations(x), round_kv(x, 64), round_index(x), quantise_fp8(x), quantise_fp4(x)


@pytest.mark.parametrize("call, message", [
    (lambda: round_activations(np.zeros((2, 100))), "activations: .* groups of 128, got 100"),
    (lambda: round_kv(np.zeros((2, 100)), 16), "rotated dims: .* groups of 64, got 84"),
    (lambda: round_kv(np.zeros((2, 64)), 65), r"rope_head_dim within 0\.\.64, got 65"),
    (lambda: round_index(np.zeros(48)), "index row: .* groups of 32, got 48"),
    (lambda: quantise_fp4(np.zeros((2, 48))), "32 weights of a row each, got rows of 48"),
    (lambda: quantise_fp8(np.zeros(128)), r"expected \[out, in\], got \[128\]"),
    (lambda: quantise_fp8(np.array([[1, np.inf]]), name="w"), r"w: the weight at \[0, 1\] is inf"),
    (lambda: fp4_to_fp8(quantise_fp8(np.zeros((1, 32)))), "expects fp4, got fp8"),
])
def test_what_cannot_be_done_is_refused(call, message):
    with pytest.raises(Refused, match=message):
        call()


rows = hnp.arrays(np.float32, 32, elements=st.floats(-2.0**20, 2.0**20, width=32))
shifts = st.integers(-30, 30)


@given(rows, shifts)
def test_scaling_by_a_power_of_two_commutes_and_rounding_again_changes_nothing(row, shift):
    row[0] = 1                                           # so that amax stays away from the floors
    power = np.float32(2.0**shift)
    for round_rows, x in ((round_index, row), (round_activations, np.tile(row * np.float32(2.0**30), 4))):
        rounded = round_rows(x)
        np.testing.assert_array_equal(round_rows(x * power), rounded * power)
        np.testing.assert_array_equal(round_rows(rounded), rounded)
        np.testing.assert_array_equal(round_rows(-x), -rounded)


@given(rows)
def test_index_rows_are_off_by_half_a_step_at_most(row):
    _, scale = round_group(row, floor=6 * 2.0**-126, **FP4_ROUND)
    step = np.where(np.abs(row) >= 4 * scale, 2, np.where(np.abs(row) >= 2 * scale, 1, 0.5)) * scale
    assert (np.abs(np.float64(round_index(row)) - row) <= step / 2).all()


@pytest.mark.parametrize("out, width", [(1, 1), (128, 128), (129, 130), (256, 300), (5, 1000)])
def test_fp8_weights_agree_with_the_float64_rule_tile_by_tile(rng, out, width):
    w = lively(rng, out, width)
    matrix = quantise_fp8(w, name="w")
    dense, scale = matrix.dense(), matrix.scale.astype(np.float64)
    assert scale.shape == (-(-out // 128), -(-width // 128)) and matrix.name == "w"
    for i, j in np.ndindex(scale.shape):
        tile = np.s_[128 * i:128 * i + 128, 128 * j:128 * j + 128]
        wanted, wanted_scale = round_group(w[tile], floor=448 * 2.0**-126, **FP8_ROUND)
        assert scale[i, j] == wanted_scale
        np.testing.assert_array_equal(dense[tile], wanted)


def read_by_division(matrix):                           # as transformers does: a side divided by its number of scales
    scale, codes = matrix.scale.astype(np.float64), matrix.codes.astype(np.float64)
    (out, width), (down, across) = codes.shape, scale.shape
    return (codes.reshape(down, out // down, across, width // across) * scale[:, None, :, None]).reshape(out, width)


@pytest.mark.parametrize("out, width", [(256, 192), (192, 256), (192, 384), (192, 192), (96, 128), (256, 384), (384, 160)])
def test_even_tiles_mean_the_same_to_who_divides_a_side_by_its_scales(rng, out, width):
    w = lively(rng, out, width)
    plain = quantise_fp8(w)
    even = even_tiles(plain)
    np.testing.assert_array_equal(read_by_division(even), even.dense())
    step = plain.scale.astype(np.float64).max() * 2.0**-9           # of the smallest codes under the largest scale
    assert np.abs(np.float64(even.dense()) - plain.dense()).max() <= step / 2
    whole = all(size <= 128 or size % 128 == 0 for size in (out, width))
    assert (even is plain) == whole and (whole or (read_by_division(plain) != plain.dense()).any())


@pytest.mark.parametrize("out, width", [(1, 32), (128, 128), (130, 160), (7, 1024)])
def test_fp4_weights_agree_with_the_float64_rule_block_by_block(rng, out, width):
    w = lively(rng, out, width)
    matrix = quantise_fp4(w)
    np.testing.assert_array_equal(matrix.dense(), round_by_groups(w, 32, floor=6 * 2.0**-126, **FP4_ROUND))
    assert matrix.shape == (out, width) and matrix.codes.dtype == np.int8


@pytest.mark.parametrize("quantise", [quantise_fp8, quantise_fp4])
def test_zero_weights_get_the_smallest_normal_scale(quantise):
    matrix = quantise(np.zeros((128, 128)))
    assert (matrix.scale.astype(np.float32) == 2.0**-126).all() and not matrix.dense().any()


@pytest.mark.parametrize("quantise", [quantise_fp8, quantise_fp4])
def test_quantising_what_was_quantised_changes_no_weight(rng, quantise):
    dense = quantise(lively(rng, 130, 160)).dense()
    np.testing.assert_array_equal(quantise(dense).dense(), dense)


def fp4_matrix(rng, out, width, scale_bytes):
    codes = rng.integers(0, 256, (out, width // 2), dtype=np.uint8).view(np.int8)
    return Matrix(codes, scale_bytes.astype(np.uint8).view(ml_dtypes.float8_e8m0fnu), name="w1")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 236), st.integers(0, 14), st.sampled_from([(128, 128), (130, 160), (3, 96)]))
def test_fp4_to_fp8_changes_no_weight_while_scales_lie_within_2_to_the_14(seed, lowest, spread, shape):
    rng = np.random.default_rng(seed)
    out, width = shape
    matrix = fp4_matrix(rng, out, width, rng.integers(lowest, lowest + spread + 1, (out, width // 32)))
    converted = fp4_to_fp8(matrix)
    assert converted.format == "fp8" and converted.shape == shape and converted.name == "w1"
    np.testing.assert_array_equal(converted.dense().view(np.uint32), matrix.dense().view(np.uint32))


def test_fp4_to_fp8_takes_the_largest_scale_over_64(rng):
    scale = rng.integers(115, 126, (256, 8))
    scale[[0, 0, 200, 255], [1, 7, 0, 4]] = 126, 127, 128, 129
    converted = fp4_to_fp8(fp4_matrix(rng, 256, 256, scale))
    np.testing.assert_array_equal(converted.scale.view(np.uint8), [[120, 121], [122, 123]])


def test_fp4_to_fp8_refuses_a_tile_that_would_lose_bits(rng):
    scale = np.full((256, 8), 127)
    scale[130, 5] = 127 - 15
    matrix = fp4_matrix(rng, 256, 256, scale)
    matrix.codes[130, 80:96] = 0x11                      # 0.5, the weight that 2^-15 is too far for
    with pytest.raises(Refused, match=r"w1: .* tile \[1, 1\] spread over 2\^15, more than 2\^14, .* 32 weights"):
        fp4_to_fp8(matrix)
    matrix.codes[130, 80:96] = 0x22                      # 1.0 still fits
    np.testing.assert_array_equal(fp4_to_fp8(matrix).dense(), matrix.dense())


def test_fp4_to_fp8_is_not_held_back_by_zero_blocks(rng):
    w = rng.standard_normal((128, 128)).astype(np.float32)
    w[5, :32] = 0
    matrix = quantise_fp4(w)
    np.testing.assert_array_equal(fp4_to_fp8(matrix).dense(), matrix.dense())
    empty = quantise_fp4(np.zeros((128, 128)))
    assert not fp4_to_fp8(empty).dense().any()


def test_fp4_to_fp8_refuses_a_nan_scale(rng):
    with pytest.raises(Refused, match=r"NaN code at \[0, 0\]"):
        fp4_to_fp8(fp4_matrix(rng, 1, 32, np.full((1, 1), 255)))


def test_fp4_weights_one_can_check_with_a_pencil():
    """32 weights, largest 3 -> scale 2^-1 (3 / 6); 1.3 / 0.5 = 2.6 -> 3 -> 1.5."""
    w = np.zeros((1, 32), np.float32)
    w[0, :3] = 3, 1.3, -0.1
    matrix = quantise_fp4(w)
    assert ue8m0.decode(matrix.scale).tolist() == [[0.5]]
    assert e2m1.unpack(matrix.codes)[0, :4].tolist() == [7, 5, 8, 0]
    np.testing.assert_array_equal(matrix.dense()[0, :4], [3, 1.5, 0, 0])
