"""bfloat16: the upper half of a float32. Same range, 8 significant bits instead of 24.

Activations of the released model are bf16, so the exact reference result is one that was rounded here and there.

Not here: where the model rounds (ops/, layers/).
"""

import ml_dtypes
import numpy as np

from v4mini.numerics.strips import elementwise


def round_bf16(x):                                      # float32 [...] -> float32 [...]
    """Round to the nearest bfloat16, ties to even, and stay in float32.

    Values that round past the largest bfloat16 become infinite, as in every IEEE format. NaN stays NaN.
    Source: IEEE 754 rounding, bit for bit ml_dtypes' and torch's cast.
    """
    x = np.asarray(x, np.float32)
    return elementwise(_rounded_bits, x, np.uint32).view(np.float32)


def to_bf16(x):                                         # float32 [...] -> bfloat16 [...]
    """The same rounding, stored in two bytes (an ml_dtypes.bfloat16 array)."""
    x = np.asarray(x, np.float32)
    return elementwise(lambda strip: _rounded_bits(strip) >> 16, x, np.uint16).view(ml_dtypes.bfloat16)


def from_bf16(codes):                                   # bfloat16 [...] -> float32 [...]
    """Put the missing lower half back as zeros: exact. NaN keeps its bits."""
    upper = codes.view(np.uint16)
    return elementwise(lambda strip: strip.astype(np.uint32) << 16, upper, np.uint32).view(np.float32)


def _rounded_bits(x):                                   # float32 [n] -> uint32 [n], lower halves zero
    bits = x.view(np.uint32)
    rounded = bits >> 16
    rounded &= 1                                        # 1 if the kept half is odd: then a tie must round up
    rounded += bits
    rounded += np.uint32(0x7FFF)
    rounded &= np.uint32(0xFFFF0000)
    is_nan = np.isnan(x)
    if is_nan.any():                                    # adding to a NaN's mantissa may carry it to infinity, or to zero
        rounded[is_nan] = (bits[is_nan] & np.uint32(0x80000000)) | np.uint32(0x7FC00000)
    return rounded
