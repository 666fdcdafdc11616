"""ue8m0: eight exponent bits and nothing else. Byte b means 2^(b - 127); 0xFF means NaN.

It is the format of every scale in the released files. A power of two only moves the binary point, so multiplying
by a scale never rounds, and a weight is exactly code times scale.

Not here: how a scale is chosen (blocks.py).
"""

import ml_dtypes
import numpy as np

from v4mini.shapes import Refused

NAN = 0xFF

TABLE = np.append(np.ldexp(np.float32(1), np.arange(255) - 127), np.float32(np.nan))   # [256]; byte 0 is subnormal
TABLE.flags.writeable = False


def encode(x):                                          # float32 [...] -> float8_e8m0fnu [...]
    """The byte of each power of two from 2^-127 to 2^127. Anything else is Refused, never rounded."""
    x = np.asarray(x, np.float32)
    half, exponent = np.frexp(x)                        # x = half * 2^exponent, half in [0.5, 1)
    fits = (half == 0.5) & (exponent >= -126) & (exponent <= 128)
    if not fits.all():
        wrong = x[~fits].flat[0]
        raise Refused(f"ue8m0.encode: {wrong} is not a power of two from 2^-127 to 2^127. Try power_of_two_at_least.")
    return (exponent + 126).astype(np.uint8).view(ml_dtypes.float8_e8m0fnu)


def decode(codes):                                      # float8_e8m0fnu or uint8 [...] -> float32 [...]
    """The value of each byte: exact; 2^-127 is a subnormal float32."""
    return TABLE[codes.view(np.uint8)]


def power_of_two_at_least(x):                           # float32 [...] -> float32 [...]
    """2^ceil(log2(x)), exact: no logarithm is taken, the exponent is read.

    0 gives 0; above 2^127 the next power is infinity; NaN and negative numbers give NaN, as log2 would.
    Source: reference inference/kernel.py, fast_round_scale (which reads normal numbers only).
    """
    x = np.asarray(x, np.float32)
    half, exponent = np.frexp(x)
    exponent = exponent - (half == 0.5)                 # 8 = 0.5 * 2^4, but 8 is a power of two itself
    with np.errstate(over="ignore"):
        power = np.ldexp(np.float32(1), exponent)
    power = np.where((x > 0) & np.isfinite(x), power, x)            # 0, infinity and NaN answer for themselves
    return np.where(x < 0, np.float32(np.nan), power)
