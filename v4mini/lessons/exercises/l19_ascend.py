"""Lesson 19: what fits into a buffer, a gather whose addresses all exist, and FP8 without a unit for it."""

import ml_dtypes
import numpy as np

from v4mini.lessons.exercise import Exercise


def largest_tile(D, room):                  # int, bits -> heads: a power of two, 0 if not even one fits
    heads = 0
    for H in (1 << i for i in range(12)):
        bits = 3 * 32 * H * (D + 1) + 512
        if bits <= room:
            heads = H
    return heads


def _tile_cases(rng):
    yield "910B, Flash's heads of 512", (512, 1_572_864)
    yield "half the head: twice as many", (256, 1_572_864)
    yield "exactly full: 2 heads of 4", (4, 3 * 32 * 2 * 5 + 512)
    yield "one bit too little", (4, 3 * 32 * 2 * 5 + 511)
    yield "not even one head", (512, 40_000)


def _tile_by_logarithm(D, room):
    fit = (room - 512) // (96 * (D + 1))
    return 1 << (int(fit).bit_length() - 1) if fit > 0 else 0


def _tile_not_a_power(D, room):
    return max(0, (room - 512) // (96 * (D + 1)))


def _tile_rounded(D, room):
    return 1 << round(float(np.log2(max(1, (room - 512) / (96 * (D + 1))))))


def _tile_one_array(D, room):
    return _tile_by_logarithm(D, 3 * room)


def safe_gather(load, picks):               # load(int [K]) -> [K, D]; [K] int, -1 is nothing -> [K, D]
    return np.where(picks[:, None] >= 0, load(np.maximum(picks, 0)), np.float32(0))


def _memory(rows):                          # what a chip has: an address outside is an accident
    def load(index):
        if ((index < 0) | (index >= len(rows))).any():
            raise IndexError(f"a row outside of memory was loaded: {index[(index < 0) | (index >= len(rows))][0]}")
        return rows[index]
    return load


def _gather_cases(rng):
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    yield "rows 2 and 0", (_memory(rows), np.array([2, 0]))
    yield "the second is nothing", (_memory(rows), np.array([3, -1]))
    yield "nothing at all", (_memory(rows), np.array([-1, -1]))
    broken = rng.standard_normal((6, 3)).astype(np.float32)
    broken[0] = np.nan
    yield "row 0 is NaN, and nobody asked for it", (_memory(broken), np.array([5, -1, 2, -1]))
    yield "row 0 is NaN, and somebody did", (_memory(broken), np.array([0, -1, 4]))


def _gather_row_by_row(load, picks):
    D = load(np.array([0])).shape[1]
    return np.array([load(np.array([i]))[0] if i >= 0 else np.zeros(D) for i in picks], np.float32)


def _gather_unclamped(load, picks):
    return np.where(picks[:, None] >= 0, load(picks), np.float32(0))


def _gather_times_zero(load, picks):
    return load(np.maximum(picks, 0)) * (picks >= 0).astype(np.float32)[:, None]


def _gather_unmasked(load, picks):
    return load(np.maximum(picks, 0))


def e4m3(byte):                             # int8 [...] -> float32 [...]
    return byte.view(ml_dtypes.float8_e4m3fn).astype(np.float32)


def _e4m3_cases(rng):
    yield "1, 1.125, 2, -1", (np.array([56, 57, 64, 56 - 128], np.int8),)
    yield "zeros of both signs", (np.array([0, -128], np.int8),)
    yield "subnormal: 1/512 to 7/512, and the smallest normal", (np.arange(1, 9, dtype=np.int8),)
    yield "the largest, 448", (np.array([126, -2], np.int8),)
    codes = np.arange(256).astype(np.uint8)
    yield "every code but NaN", (codes[(codes & 127) != 127].view(np.int8),)


def _e4m3_by_bits(byte):
    b = byte.astype(np.int32) & 255
    value = (((b & 127) << 20) + (120 << 23)).view(np.float32)
    value = np.where((b & 120) == 0, (value - np.float32(2.0**-7)) * np.float32(2), value)
    return np.where(b >= 128, -value, value)


def _e4m3_by_parts(byte, subnormal=True, bias=7):
    b = byte.astype(np.int32) & 255
    exponent, mantissa = b >> 3 & 15, b & 7
    value = np.where((exponent == 0) & subnormal, mantissa * 2.0 ** (1 - bias - 3), (8 + mantissa) * 2.0 ** (exponent - bias - 3))
    return np.where(b >= 128, -value, value).astype(np.float32)


def _e4m3_no_subnormals(byte):
    return _e4m3_by_parts(byte, subnormal=False)


def _e4m3_bias_of_8(byte):
    return _e4m3_by_parts(byte, bias=8)


def _e4m3_sign_forgotten(byte):
    return np.abs(e4m3(byte))


EXERCISES = [
    Exercise("ascend.largest_tile", _tile_cases, ours=largest_tile, differently=_tile_by_logarithm, tolerance=0,
             wrong=(_tile_not_a_power, _tile_rounded, _tile_one_array),
             hints=("H heads need 3 * 32 * H * (D + 1) + 512 bits.",
                    "Try H = 1, 2, 4, ... as long as it fits; the last that fits is the answer.")),
    Exercise("ascend.safe_gather", _gather_cases, ours=safe_gather, differently=_gather_row_by_row, tolerance=0,
             wrong=(_gather_unclamped, _gather_times_zero, _gather_unmasked),
             hints=("load(np.maximum(picks, 0)): every address exists.",
                    "Then take out what is nothing: np.where(picks[:, None] >= 0, rows, 0), not a product with 0.")),
    Exercise("ascend.e4m3", _e4m3_cases, ours=e4m3, differently=_e4m3_by_bits, tolerance=0,
             wrong=(_e4m3_no_subnormals, _e4m3_bias_of_8, _e4m3_sign_forgotten),
             hints=("b = byte.astype(np.int32) & 255 is the code, 0 to 255: sign b >> 7, exponent b >> 3 & 15, mantissa b & 7.",
                    "Exponent 1 to 15: (8 + mantissa) * 2.0 ** (exponent - 10). Exponent 0: mantissa * 2.0 ** -9.",
                    "np.where(b >= 128, -value, value) gives zero its sign too.")),
]
