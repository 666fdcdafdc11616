"""The rule that all small floats share: one sign bit, a few exponent bits, a few mantissa bits.

    value = (-1)^sign * 2^(exponent - bias) * (1 + mantissa / 2^m)       exponent > 0: normal
    value = (-1)^sign * 2^(1 - bias) * (mantissa / 2^m)                  exponent = 0: subnormal

Read as integers, the codes without their sign are in the order of their values. So neighbours in value are
neighbours in code, rounding up is adding one, and a tie goes to the even code.

Not here: what a format does at its top (NaN, saturation), which each format says in its own file.
"""

import numpy as np

MAGNITUDE = np.uint32(0x7FFFFFFF)        # float32 without its sign
EXPONENT = np.uint32(0x7F800000)         # float32's exponent field alone, read as a float: a power of two
FAR_ABOVE = np.float32(2.0**16).view(np.uint32)


def decode_table(exponent_bits, mantissa_bits, bias):   # -> float32 [2^(1 + exponent_bits + mantissa_bits)]
    """The value of every code, by the formula above; no code means NaN or infinity yet."""
    code = np.arange(1 << (1 + exponent_bits + mantissa_bits))
    sign = code >> (exponent_bits + mantissa_bits)
    exponent = (code >> mantissa_bits) & ((1 << exponent_bits) - 1)
    mantissa = code & ((1 << mantissa_bits) - 1)
    is_normal = exponent > 0
    significand = is_normal + mantissa / 2.0**mantissa_bits
    value = np.ldexp(significand, np.where(is_normal, exponent, 1) - bias)
    return np.where(sign, -value, value).astype(np.float32)


def nearest_magnitude(x, mantissa_bits, bias):          # float32 [n] -> uint32 [n]
    """The code nearest to |x|, ties to the even code, as if the format had no largest value.

    float32's own addition does the rounding. Between 2^E and 2^(E+1) the format's step is 2^(E-m). The last bit of a
    float32 near 2^(E-m+23) has just that weight, so |x| + 2^(E-m+23) is rounded to whole steps, ties to even, and
    the steps can be read off as an integer. Below the smallest normal the step no longer shrinks, nor does E.
    From 2^16 on, and for infinity and NaN, the code is merely above every finite one.
    Example, e2m1 (m = 1): 2.6 has E = 1 and step 1. 2.6 + 2^23 is rounded to 3 + 2^23: 3 steps. The exponents below
    hold 2 codes more. Code 5 is 3.0.
    """
    bits = np.minimum(x.view(np.uint32) & MAGNITUDE, FAR_ABOVE)
    smallest_normal = np.uint32((128 - bias) << 23)     # 2^(1 - bias)
    power = np.maximum(bits, smallest_normal)
    power &= EXPONENT                                   # 2^E
    ruler = power + np.uint32((23 - mantissa_bits) << 23)
    total = bits.view(np.float32) + ruler.view(np.float32)
    code = total.view(np.uint32)
    code -= ruler                                       # |x| in steps: 2^m .. 2^(m+1) of them if normal
    power -= smallest_normal
    power >>= 23 - mantissa_bits                        # 2^m codes for each exponent above the smallest
    code += power
    return code
