"""FP8, FP4 and their scales on tensors: the codes of v4mini.numerics, bit for bit, on any device.

Not here: which numbers of the model share a scale (v4mini/numerics/blocks.py), rows of a cache (rows.py).
"""

from functools import cache

import torch
from torch.nn.functional import pad

from v4mini.numerics import e2m1, ue8m0

TABLES = {"e2m1": e2m1.TABLE, "ue8m0": ue8m0.TABLE}


@cache
def _table(name, device):                               # 16 or 256 numbers, sent to a device once
    return torch.tensor(TABLES[name].tolist()).to(device)


def scales(codes):                                      # uint8 [...] -> float32 [...]
    """ue8m0: byte b means 2^(b - 127), 255 means NaN."""
    return _table("ue8m0", codes.device)[codes.int()]


def encode_fp8(x):                                      # float32 [...], at most 448 in magnitude -> uint8 [...]
    """e4m3fn, ties to even."""
    return x.to(torch.float8_e4m3fn).view(torch.uint8)


def decode_fp8(codes):                                  # uint8 [...] -> float32 [...]
    """Exact; 0x7F and 0xFF are NaN."""
    return codes.view(torch.float8_e4m3fn).float()


def encode_fp4(x):                                      # float32 [...] -> uint8 [...], 0 to 15
    """e2m1: 0, 0.5, 1, 1.5, 2, 3, 4, 6, then the negatives; ties to the even code, more than 6 to 6, NaN to 0."""
    size, code = x.abs(), torch.zeros_like(x, dtype=torch.uint8)
    for middle in (0.25, 1.25, 2.5, 5.0):               # above an even code: a tie stays there
        code += size > middle
    for middle in (0.75, 1.75, 3.5):
        code += size >= middle
    return code + 8 * (torch.signbit(x) & ~x.isnan()).to(torch.uint8)


def decode_fp4(codes):                                  # uint8 [...] -> float32 [...]
    """Exact."""
    return _table("e2m1", codes.device)[codes.int()]


def unpack(codes):                                      # uint8 [..., n / 2] -> uint8 [..., n]
    """Two codes a byte, the even place in the low nibble."""
    return torch.stack([codes & 15, codes >> 4], -1).flatten(-2)


def scaled(x, group, floor, top):                       # float32 [..., d] -> uint8 [..., ceil(d / group)], float32 [..., d]
    """The scale of each group: the smallest power of two that brings its largest number within `top`; and x divided by it.

    A group that holds NaN or infinity has the scale NaN.
    """
    d = x.shape[-1]
    groups = pad(x, (0, -d % group)).unflatten(-1, (-1, group))
    largest = groups.abs().amax(-1).clamp(min=float(floor)) / float(top)
    bits = largest.view(torch.int32).long() & 0x7FFFFFFF
    codes = ((bits + 0x7FFFFF) >> 23).clamp(max=ue8m0.NAN).to(torch.uint8)      # the exponent, one more unless a power of two
    values = (groups / scales(codes)[..., None]).clamp(-float(top), float(top))
    return codes, values.flatten(-2)[..., :d]


def spread(scale, group, width):                        # [..., ceil(width / group)] -> [..., width]
    """Each scale beside every number that it serves."""
    return scale.repeat_interleave(group, -1)[..., :width]


def rounded(x, group, floor, top, encode, decode):      # float32 [..., d] -> float32 [..., d]
    """There and back: the numbers that the codes stand for. Source: v4mini.numerics.blocks."""
    codes, values = scaled(x, group, floor, top)
    return decode(encode(values)) * spread(scales(codes), group, x.shape[-1])


def hadamard(x):                                        # float32 [..., d], d a power of two -> float32 [..., d]
    """v4mini.numerics.hadamard, sum by sum."""
    d, apart, y = x.shape[-1], 1, x
    while apart < d:
        a, b = y.reshape(*x.shape[:-1], d // (2 * apart), 2, apart).unbind(-2)
        y = torch.stack([a + b, a - b], -2)
        apart *= 2
    return y.reshape(x.shape) * d**-0.5
