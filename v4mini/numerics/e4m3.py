"""FP8 e4m3fn: sign, 4 exponent bits (bias 7), 3 mantissa bits. "fn": finite numbers and NaN, no infinity.

    0x00 zero    0x01 2^-9, the smallest    0x08 2^-6, the smallest normal    0x7E 448, the largest    0x7F NaN

Two neighbours differ by 1/8 to 1/16 of their value, so a number is off by at most 1/16 of itself; and the whole
range spans 2^18, so numbers need a scale near them first (blocks.py).

Not here: scales.
"""

import ml_dtypes
import numpy as np

from v4mini.numerics.minifloat import decode_table, nearest_magnitude
from v4mini.numerics.strips import elementwise

MAX = np.float32(448)
NAN = 0x7F

TABLE = decode_table(exponent_bits=4, mantissa_bits=3, bias=7)     # [256]
TABLE[[NAN, 0x80 | NAN]] = np.nan        # by the formula 480: the one value given up for NaN
TABLE.flags.writeable = False


def encode(x):                                          # float32 [...] -> float8_e4m3fn [...]
    """The nearest code, ties to the even code.

    Up to 464, half a step above 448, values become 448; larger ones, infinities and NaN become NaN, so an overflow
    is seen. GPUs and torch 2.13 saturate at 448 instead; the reference clips before it casts, and so do callers here,
    which makes all of them agree.
    Source: OCP 8-bit floating point specification, non-saturating mode; bit for bit ml_dtypes' cast.
    """
    x = np.asarray(x, np.float32)
    return elementwise(_codes, x, np.uint8).view(ml_dtypes.float8_e4m3fn)


def decode(codes):                                      # float8_e4m3fn or uint8 [...] -> float32 [...]
    """The value of each code: exact. 0x7F and 0xFF are NaN."""
    return elementwise(TABLE.__getitem__, codes.view(np.uint8), np.float32)


def round_e4m3(x):                                      # float32 [...] -> float32 [...]
    """The nearest number that e4m3 can hold: decode(encode(x)), with encode's rule beyond 448."""
    return decode(encode(x))


def _codes(x):                                          # float32 [n] -> uint32 [n]
    code = np.minimum(nearest_magnitude(x, mantissa_bits=3, bias=7), NAN)
    code |= (x.view(np.uint32) >> 24) & 0x80            # the sign, moved from bit 31 to bit 7
    return code
