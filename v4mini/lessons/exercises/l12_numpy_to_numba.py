"""Lesson 12: unpacking four-bit weights, a value from its bits, and how many tokens share the reading of experts for free."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.numerics import e2m1, ue8m0


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


def from_bits(codes):                       # uint8 [n], 0 to 15 -> float32 [n]: sign, two bits of exponent, one of fraction
    return e2m1.TABLE[codes]


def _bit_cases(rng):
    yield "zero, a half, one, six", (np.array([0, 1, 2, 7], np.uint8),)
    yield "all sixteen", (np.arange(16, dtype=np.uint8),)
    yield "the negative ones", (np.arange(8, 16, dtype=np.uint8),)
    yield "many", (rng.integers(0, 16, 300).astype(np.uint8),)
    yield "none", (np.zeros(0, np.uint8),)


def _bits_by_arithmetic(codes):
    fraction, exponent = codes & 1, (codes >> 1 & 3).astype(np.float32)
    size = np.where(exponent > 0, (1 + fraction / 2) * 2 ** (exponent - 1), fraction / 2)
    return np.where(codes & 8, -size, size).astype(np.float32)


def _bits_without_subnormals(codes):
    size = (1 + (codes & 1) / 2) * 2.0 ** ((codes >> 1 & 3).astype(int) - 1)
    return np.where(codes & 8, -size, size)


def _bits_in_uint8(codes):                  # the exponent wraps: 0 - 1 is 255 in eight bits
    exponent = (codes >> 1 & 3) - np.uint8(1)
    with np.errstate(over="ignore"):
        size = np.where(codes & 6, (1 + (codes & 1) / 2) * 2.0**exponent, (codes & 1) / 2)
    return np.where(codes & 8, size, size)


def free_tokens(bytes_per_weight, per_second, bytes_per_second, experts, chosen):    # -> int, at least 1
    """The most tokens at once for which computing the experts takes no longer than reading those that are touched, on average."""
    def is_free(tokens):
        touched = experts * (1 - (1 - chosen / experts) ** tokens)
        return tokens * chosen / per_second <= touched * bytes_per_weight / bytes_per_second
    tokens = 1
    while is_free(tokens + 1):
        tokens += 1
    return tokens


def _free_cases(rng):
    yield "no experts, one matrix: 10 a second, 2 bytes, 4 bytes a second", (2, 10, 4, 1, 1)
    yield "not even one is free: one all the same", (0.5, 10, 100, 8, 2)
    yield "the bundled model, numbers of a laptop", (0.53125, 48e9, 20e9, 8, 2)
    yield "Flash, the laptop", (0.53125, 48e9, 4e9, 256, 6)
    yield "all experts are always asked", (2, 9, 4, 4, 4)
    yield "an H100, Flash, FP4 unpacked to BF16", (0.53125, 495e12, 3.35e12, 256, 6)


def _free_by_halving(bytes_per_weight, per_second, bytes_per_second, experts, chosen):
    def spare(tokens):
        return experts - experts * (1 - chosen / experts) ** tokens - tokens * chosen * bytes_per_second / (
            per_second * bytes_per_weight)
    low, high = 1, 2
    while spare(high) >= 0:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if spare(middle) >= 0 else (low, middle)
    return low


def _free_all_experts_read(bytes_per_weight, per_second, bytes_per_second, experts, chosen):
    return max(1, int(per_second * experts * bytes_per_weight / bytes_per_second // chosen))


def _free_as_one_matrix(bytes_per_weight, per_second, bytes_per_second, experts, chosen):
    return max(1, int(per_second * bytes_per_weight / bytes_per_second))


EXERCISES = [
    Exercise("ladder.unpack", _unpack_cases, ours=unpack, differently=_unpack_one_by_one,
             wrong=(_unpack_high_first, _unpack_scale_per_16),
             hints=("packed & 15 are the even weights' codes, packed >> 4 the odd ones'.",
                    "np.stack([low, high], axis=1).reshape(-1) puts them in turn: low, high, low, high.",
                    "np.repeat(scales, 32) has one scale for each weight; scale.astype(int) - 127 so that uint8 does not wrap.")),
    Exercise("ladder.from_bits", _bit_cases, ours=from_bits, differently=_bits_by_arithmetic, tolerance=0,
             wrong=(_bits_without_subnormals, _bits_in_uint8),
             hints=("Three parts: codes & 8 is the sign, codes >> 1 & 3 the exponent e, codes & 1 the fraction f.",
                    "e above 0: (1 + f / 2) * 2^(e - 1). e = 0: f / 2, the two values below 1.",
                    "codes is uint8, where 0 - 1 is 255: make the exponent an int or a float before you subtract. np.where "
                    "chooses between the two without a branch.")),
    Exercise("ladder.free_tokens", _free_cases, ours=free_tokens, differently=_free_by_halving, tolerance=0,
             wrong=(_free_all_experts_read, _free_as_one_matrix),
             hints=("T tokens ask T * chosen experts, each weight of which takes 1 / per_second to multiply.",
                    "They touch experts * (1 - (1 - chosen / experts) ** T) different ones on average, and each weight of these "
                    "takes bytes_per_weight / bytes_per_second to read.",
                    "Count T up while computing takes no longer than reading; at least 1. What is touched grows more and more "
                    "slowly, so once it is passed it stays passed.")),
]
