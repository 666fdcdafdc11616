"""Lesson 12: the roof of a loop, unpacking four-bit weights, and how many tokens share a reading for free."""

import math

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.numerics import e2m1, ue8m0


def roof(multiply_adds, nbytes, per_second, bytes_per_second):      # -> (seconds, "read" or "compute")
    compute, read = multiply_adds / per_second, nbytes / bytes_per_second
    return max(compute, read), "read" if read > compute else "compute"


def _roof_cases(rng):
    yield "100 multiply-adds at 10 a second, 30 bytes at 1 a second", (100, 30, 10, 1)
    yield "100 multiply-adds at 2 a second, 30 bytes at 1 a second", (100, 30, 2, 1)
    yield "a draw", (10, 20, 1, 2)
    yield "nothing to read", (5, 0, 1e9, 1e9)
    yield "nothing to compute", (0, 1e9, 1e9, 2e9)


def _roof_by_sorting(multiply_adds, nbytes, per_second, bytes_per_second):
    # "compute" sorts before "read", and max keeps the first of equals
    return max([(multiply_adds / per_second, "compute"), (nbytes / bytes_per_second, "read")], key=lambda pair: pair[0])


def _roof_sum(multiply_adds, nbytes, per_second, bytes_per_second):
    seconds, bound = roof(multiply_adds, nbytes, per_second, bytes_per_second)
    return multiply_adds / per_second + nbytes / bytes_per_second, bound


def _roof_shorter(multiply_adds, nbytes, per_second, bytes_per_second):
    compute, read = multiply_adds / per_second, nbytes / bytes_per_second
    return min(compute, read), "read" if read < compute else "compute"


def unpack(packed, scale):                  # [n / 2], [n / 32] uint8 -> [n]
    return e2m1.decode_packed(packed) * np.repeat(ue8m0.decode(scale), 32)


def _unpack_cases(rng):
    yield "sixteen bytes 0x21: codes 1 and 2, scale 1", (np.full(16, 0x21, np.uint8), np.array([127], np.uint8))
    yield "every byte there is", (np.arange(256, dtype=np.uint8), np.full(16, 128, np.uint8))
    yield "scales below and above 1", (rng.integers(0, 256, 48, np.uint8), np.array([120, 127, 131], np.uint8))
    yield "codes 8 to 15 are the negatives", (np.full(16, 0xF9, np.uint8), np.array([126], np.uint8))
    yield "many blocks", (rng.integers(0, 256, 640, np.uint8), rng.integers(110, 140, 40).astype(np.uint8))


def _unpack_one_by_one(packed, scale):
    values = []
    for i, byte in enumerate(packed.tolist()):
        for code in (byte % 16, byte // 16):
            values.append(float(e2m1.TABLE[code]) * 2.0 ** (int(scale[i // 16]) - 127))
    return np.array(values)


def _unpack_high_first(packed, scale):
    return unpack(packed >> 4 | packed << 4, scale)


def _unpack_scale_per_16(packed, scale):
    return e2m1.decode_packed(packed) * np.resize(np.repeat(ue8m0.decode(scale), 16), 2 * len(packed))


def free_tokens(bytes_per_weight, per_second, bytes_per_second):    # -> int
    return max(1, math.floor(per_second * bytes_per_weight / bytes_per_second))


def _free_cases(rng):
    yield "10 a second, 2 bytes a weight, 4 bytes a second", (2, 10, 4)
    yield "reading is faster: still one", (0.5, 10, 100)
    yield "not a whole number: rounded down", (2, 9, 4)
    yield "an H100, BF16", (2, 495e12, 3.35e12)
    yield "an H100, FP4", (0.53125, 495e12, 3.35e12)


def _free_by_counting(bytes_per_weight, per_second, bytes_per_second):
    tokens = 1
    while (tokens + 1) / per_second <= bytes_per_weight / bytes_per_second:
        tokens += 1
    return tokens


def _free_rounded_up(bytes_per_weight, per_second, bytes_per_second):
    return max(1, math.ceil(per_second * bytes_per_weight / bytes_per_second))


def _free_upside_down(bytes_per_weight, per_second, bytes_per_second):
    return max(1, math.floor(bytes_per_second / per_second / bytes_per_weight))


EXERCISES = [
    Exercise("ladder.roof", _roof_cases, ours=roof, differently=_roof_by_sorting, wrong=(_roof_sum, _roof_shorter),
             hints=("Two times: multiply_adds / per_second, and nbytes / bytes_per_second.",
                    "A processor reads ahead while it computes, so the two overlap: the longer one counts, not their sum.")),
    Exercise("ladder.unpack", _unpack_cases, ours=unpack, differently=_unpack_one_by_one,
             wrong=(_unpack_high_first, _unpack_scale_per_16),
             hints=("packed & 15 are the even weights' codes, packed >> 4 the odd ones'.",
                    "np.stack([low, high], axis=1).reshape(-1) puts them in turn: low, high, low, high.",
                    "np.repeat(scales, 32) has one scale for each weight; scale.astype(int) - 127 so that uint8 does not wrap.")),
    Exercise("ladder.free_tokens", _free_cases, ours=free_tokens, differently=_free_by_counting, tolerance=0,
             wrong=(_free_rounded_up, _free_upside_down),
             hints=("T tokens take T / per_second for each weight; reading it takes bytes_per_weight / bytes_per_second.",
                    "Solve T / per_second <= bytes_per_weight / bytes_per_second for T; whole tokens only, and at least one.")),
]
