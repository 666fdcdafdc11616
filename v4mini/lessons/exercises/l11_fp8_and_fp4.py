"""Lesson 11: what a code means, the nearest code, a scale for each block, and weights as they lie in the file."""

import ml_dtypes
import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.numerics import e2m1, ue8m0
from v4mini.numerics.matrix import Matrix


def fp4_blocks(x, block):                   # float32 [n, d], int -> float32 [n, d]
    """FP4 round trip with one power of two per `block` neighbours; a block of zeros stays zero."""
    groups = x.reshape(-1, block)
    scale = ue8m0.power_of_two_at_least(np.abs(groups).max(axis=1, keepdims=True) / e2m1.MAX)
    scale = np.where(scale == 0, np.float32(1), scale)
    return (e2m1.round_e2m1(groups / scale) * scale).reshape(x.shape)


def decode_fp4(packed, scale):              # int8 [out, in / 2], uint8 [out, in / 32] -> float32 [out, in]
    return Matrix(packed, scale.view(ml_dtypes.float8_e8m0fnu)).dense()


def _table_cases(rng):
    yield "e2m1, FP4: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives", (2, 1, 1)
    yield "one exponent bit, one mantissa bit", (1, 1, 0)
    yield "e4m3, FP8, before any code is given up for NaN", (4, 3, 7)
    yield "e5m2, the other FP8", (5, 2, 15)
    yield "e3m0: no mantissa, powers of two and zero", (3, 0, 3)
    yield "six bits", (3, 2, 3)


def _table_code_by_code(exponent_bits, mantissa_bits, bias):
    half = []
    for exponent in range(2**exponent_bits):
        for mantissa in range(2**mantissa_bits):
            start = 2.0**(max(exponent, 1) - bias)
            half.append(start * ((exponent > 0) + mantissa / 2**mantissa_bits))
    return np.array(half + [-value for value in half])


def _table_without_subnormals(exponent_bits, mantissa_bits, bias):
    exponent, mantissa = np.divmod(np.arange(2**(exponent_bits + mantissa_bits)), 2**mantissa_bits)
    half = 2.0**(exponent - bias) * (1 + mantissa / 2**mantissa_bits)
    return np.concatenate([half, -half])


def _table_with_a_step_too_low(exponent_bits, mantissa_bits, bias):         # exponent 0 read as 2^(0 - bias)
    exponent, mantissa = np.divmod(np.arange(2**(exponent_bits + mantissa_bits)), 2**mantissa_bits)
    half = 2.0**(exponent - bias) * ((exponent > 0) + mantissa / 2**mantissa_bits)
    return np.concatenate([half, -half])


def _round_cases(rng):
    def numbers(*values):
        return (np.array(values, np.float32),)

    yield "by pencil: 2.4 -> 2, 2.6 -> 3, 0.2 -> 0, -1.4 -> -1.5", numbers(2.4, 2.6, 0.2, -1.4)
    yield "halfway between 0 0.5 1 1.5 2 3 4 6: to the even code", numbers(0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0)
    yield "the same, negative", numbers(-0.25, -0.75, -1.25, -1.75, -2.5, -3.5, -5.0)
    yield "beyond 6, and infinity", numbers(6.5, 7.0, 1000.0, -1e30, np.inf, -np.inf)
    yield "NaN has no code, and stays", numbers(np.nan, 1.0)
    yield "many numbers with two axes", (rng.standard_normal((5, 7)).astype(np.float32) * 3,)


def _round_by_steps(x):                     # below 2 in halves, below 4 in ones, above in twos; np.rint sends ties to even
    size = np.abs(x)
    step = np.where(size < 2, 0.5, np.where(size < 4, 1.0, 2.0))
    return np.sign(x) * np.minimum(np.rint(size / step) * step, 6)


def _round_ties_down(x):
    values = e2m1.TABLE[:8]
    nearest = values[np.argmin(np.abs(np.abs(np.nan_to_num(x, nan=0))[..., None] - values), axis=-1)]
    return np.where(np.isnan(x), x, np.sign(x) * nearest)


def _round_towards_zero(x):
    values = e2m1.TABLE[:8]
    below = values[np.clip(np.searchsorted(values, np.abs(np.nan_to_num(x, nan=0)), side="right") - 1, 0, 7)]
    return np.where(np.isnan(x), x, np.sign(x) * below)


def _block_cases(rng):
    yield "the block of this lesson", (np.array([[0.02, -0.05, 0.11, 0.3]], np.float32), 4)
    yield "two blocks, a large and a small one", (np.array([[40, 7, 0.03, 0.01]], np.float32), 2)
    yield "largest exactly 6: scale 1; a little more: scale 2", (np.array([[6, 1.5, 6.01, 1.5]], np.float32), 2)
    yield "a block of zeros", (np.array([[0, 0, 1, -3]], np.float32), 2)
    yield "the largest is negative", (np.array([[-5, 0.4, 0.2, 0.1]], np.float32), 4)
    yield "32 neighbours, very small weights", (rng.standard_normal((4, 64)).astype(np.float32) * np.float32(1e-20), 32)


def _blocks_one_by_one(x, block):
    out = np.empty_like(x)
    for row, start in np.ndindex(len(x), x.shape[1] // block):
        part = x[row, start * block: (start + 1) * block].astype(np.float64)
        largest = np.abs(part).max()
        scale = 2.0 ** np.ceil(np.log2(largest / 6)) if largest else 1.0
        out[row, start * block: (start + 1) * block] = _round_by_steps(part / scale) * scale
    return out


def _blocks_scale_too_small(x, block):      # the largest power of two at most: large numbers are cut off at 6
    groups = x.reshape(-1, block)
    scale = 2.0 ** np.floor(np.log2(np.maximum(np.abs(groups).max(axis=1, keepdims=True), 1e-30) / 6))
    return (_round_by_steps(groups / scale) * scale).reshape(x.shape)


def _blocks_one_scale(x, block):
    return fp4_blocks(x.reshape(1, -1), x.size).reshape(x.shape)


def _decode_cases(rng):
    def case(out, width, spread=2):
        packed = rng.integers(-128, 128, (out, width // 2)).astype(np.int8)
        return packed, rng.integers(127 - spread, 128 + spread, (out, width // 32)).astype(np.uint8)

    byte = np.zeros((1, 16), np.int8)
    byte[0, 0] = 0xC3 - 256                 # 1.5 and -2
    yield "one byte 0xC3, scale 1: 1.5, -2", (byte, np.array([[127]], np.uint8))
    yield "the same, scale byte 124", (byte, np.array([[124]], np.uint8))
    yield "every byte there is", (np.arange(-128, 128).astype(np.int8).reshape(16, 16), np.full((16, 1), 127, np.uint8))
    yield "several rows, several blocks", case(3, 96)
    yield "scales from 2^-60 to 2^60", case(4, 64, spread=60)


def _decode_by_strings(packed, scale):
    rows = [[e2m1.TABLE[int(digit, 16)] for byte in row for digit in reversed(f"{byte:02x}")] for row in packed.view(np.uint8)]
    return np.array(rows) * np.repeat(2.0 ** (scale.astype(np.int64) - 127), 32, axis=1)


def _decode_high_first(packed, scale):
    swapped = packed.view(np.uint8)
    return decode_fp4((swapped >> 4 | swapped << 4).view(np.int8), scale)


def _decode_scale_off_by_one(packed, scale):
    return decode_fp4(packed, scale) / 2


EXERCISES = [
    Exercise("numerics.minifloat.decode_table", _table_cases, differently=_table_code_by_code, tolerance=0,
             wrong=(_table_without_subnormals, _table_with_a_step_too_low),
             hints=("np.arange(2 ** (1 + e + m)) are all codes. Shifts and % cut out the sign, the exponent and the mantissa.",
                    "Exponent above 0: 2 ** (exponent - bias) * (1 + mantissa / 2 ** m).",
                    "Exponent 0: 2 ** (1 - bias) * mantissa / 2 ** m. There is no 1 before the point, and the power is that of "
                    "exponent 1, so that values go on in equal steps down to 0.")),
    Exercise("numerics.e2m1.round_e2m1", _round_cases, differently=_round_by_steps, tolerance=0,
             wrong=(_round_ties_down, _round_towards_zero),
             hints=("From 0 to 2 the values lie 0.5 apart, from 2 to 4 they lie 1 apart, from 4 to 6 they lie 2 apart.",
                    "np.rint rounds to whole numbers, and halves to the even one. What does x / step have to do with codes?",
                    "np.sign(x) * np.minimum(np.rint(np.abs(x) / step) * step, 6). NaN goes through by itself.")),
    Exercise("formats.fp4_blocks", _block_cases, ours=fp4_blocks, differently=_blocks_one_by_one, tolerance=0,
             wrong=(_blocks_scale_too_small, _blocks_one_scale),
             hints=("x.reshape(-1, block) has one block per row.",
                    "The scale is power_of_two_at_least(largest / 6), of each row. Then the largest lands between 3 and 6.",
                    "A block of zeros has scale 0, and 0 / 0 is NaN: give it any other scale.")),
    Exercise("formats.decode_fp4", _decode_cases, ours=decode_fp4, differently=_decode_by_strings, tolerance=0,
             wrong=(_decode_high_first, _decode_scale_off_by_one),
             hints=("packed.view(np.uint8) gives bytes from 0 to 255: byte & 15 is the low nibble, byte >> 4 the high one.",
                    "np.stack([low, high], axis=-1).reshape(out, -1) puts them side by side; e2m1.TABLE[...] gives their values.",
                    "The factor is 2.0 ** (scale - 127), with scale as a signed number: uint8 has no negatives. Each serves 32 "
                    "neighbours: np.repeat(..., 32, axis=1).")),
]
