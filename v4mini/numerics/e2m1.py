"""FP4 e2m1fn: sign, 2 exponent bits (bias 1), 1 mantissa bit. Sixteen codes, no NaN, no infinity.

    code    0  1    2  3    4  5  6  7      8..15 the negatives, 8 is -0
    value   0  0.5  1  1.5  2  3  4  6

Two codes share a byte. In the released files the even index lies in the low nibble:
    values 1.5, -2   ->   codes 3, 12   ->   byte 0xC3.    Swapped nibbles load fine and answer nonsense.

Not here: scales.
"""

import numpy as np

from v4mini.numerics.minifloat import decode_table, nearest_magnitude
from v4mini.numerics.strips import elementwise
from v4mini.shapes import Refused

MAX = np.float32(6)

TABLE = decode_table(exponent_bits=2, mantissa_bits=1, bias=1)     # [16]
TABLE.flags.writeable = False

_BYTES = np.arange(256)
PAIRS = TABLE[np.stack([_BYTES & 15, _BYTES >> 4], axis=-1)]       # [256, 2]: both values of every byte,
PAIRS = PAIRS.view(np.uint64).reshape(256)                         # [256]: seen as one, so that they are copied in one go
PAIRS.flags.writeable = False


def encode(x):                                          # float32 [...] -> uint8 [...]
    """The nearest code 0..15, ties to the even code; beyond 6, and at infinity, the code of 6.

    NaN has no code and is Refused.
    Source: OCP Microscaling Formats (MX) specification; bit for bit ml_dtypes' cast of numbers.
    """
    x = np.asarray(x, np.float32)
    if np.isnan(x).any():
        raise Refused("e2m1.encode: FP4 has no code for NaN. Look for the first NaN upstream.")
    return elementwise(_codes, x, np.uint8)


def decode(codes):                                      # uint8 [...] -> float32 [...]
    """The value of each code 0..15: exact."""
    return elementwise(TABLE.__getitem__, np.asarray(codes), np.float32)


def round_e2m1(x):                                      # float32 [...] -> float32 [...]
    """The nearest number that e2m1 can hold, at most 6. NaN stays NaN: it has no code, but float32 can carry it."""
    x = np.asarray(x, np.float32)
    rounded = elementwise(lambda strip: TABLE[_codes(strip)], x, np.float32)
    np.copyto(rounded, x, where=np.isnan(x))
    return rounded


def pack(codes):                                        # uint8 [..., n] -> int8 [..., n/2]
    """Two codes per byte, the even index in the low nibble. n must be even, or Refused."""
    codes = np.asarray(codes, np.uint8)
    if codes.shape[-1] % 2:
        raise Refused(f"e2m1.pack: two codes share a byte, so the last axis must be even, got {codes.shape[-1]}.")
    return (codes[..., 0::2] | codes[..., 1::2] << 4).view(np.int8)


def unpack(packed):                                     # int8 [..., n/2] -> uint8 [..., n]
    """Codes 0..15 again, the low nibble first."""
    packed = packed.view(np.uint8)
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], 2 * packed.shape[-1])


def decode_packed(packed):                              # int8 [..., n/2] -> float32 [..., n]
    """decode(unpack(packed)), one look-up per byte."""
    pairs = elementwise(PAIRS.__getitem__, packed.view(np.uint8), np.uint64)
    return pairs.view(np.float32)


def _codes(x):                                          # float32 [n] -> uint32 [n]
    code = np.minimum(nearest_magnitude(x, mantissa_bits=1, bias=1), 7)
    code |= (x.view(np.uint32) >> 28) & 8               # the sign, moved from bit 31 to bit 3
    return code
