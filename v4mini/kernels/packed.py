"""Products of few tokens with weights as they are stored: float32, bf16 and FP8 here, FP4 in fp4.py.

One token's product reads each weight once and takes as long as memory takes: for FP8 one byte a weight instead of four.
Twin of numerics/matrix.py's decoding too. Not here: products of many tokens (BLAS, from linear.py).
"""

import numpy as np
from numba import njit, prange

from v4mini.kernels import fp4
from v4mini.kernels.door import expect_shape, floats, plain
from v4mini.numerics.matrix import TILE
from v4mini.shapes import Refused

ROWS = 32                       # rows a thread takes at a time
SERIAL = 1 << 20                # bytes of weights: below, waking a second thread costs more than it saves


def matvec(weight, x, first, out):                      # Matrix [.., in], [in], rows first .. first + n -> out [n]
    """out = weight[first: first + n] @ x, for a weight that is not float32. Threads share out rows."""
    codes, scale = _stored(weight, first, first + len(out))
    expect_shape("x", x, weight.shape[1])
    x, few = floats(x), (0, len(out)) if codes.nbytes < SERIAL else ()
    if weight.format == "fp4":
        fp4.matvec(codes, scale, x, out)
    elif weight.format == "fp8":
        (_fp8_rows if few else _fp8_matvec)(codes, scale, first, x, out, *few)
    else:
        (_bf16_rows if few else _bf16_matvec)(codes, x, out, *few)


def dense_matvec(weight, x, out):                       # float32 [n, in], [in] -> out [n]
    """out = weight @ x. Threads share out rows. From memory up to twice as fast as BLAS, which reads several rows at once."""
    expect_shape("x", x, weight.shape[1])
    expect_shape("out", out, weight.shape[0])
    few = (0, len(out)) if weight.nbytes < SERIAL else ()
    (_dense_rows if few else _dense_matvec)(floats(weight), floats(x), out, *few)


def rows(weight, start, stop):                          # -> float32 [stop - start, in]
    """Twin of Matrix.rows: decoded, bit for bit. Threads share out rows."""
    codes, scale = _stored(weight, start, stop)
    out = np.empty((stop - start, weight.shape[1]), np.float32)
    if weight.format == "fp4":
        fp4.decode(codes, scale, out)
    elif weight.format == "fp8":
        _fp8_decode(codes, scale, start, out)
    else:
        _bf16_decode(codes, out)
    return out


def is_dense(weight):                                   # its float32 numbers stay in memory
    return weight.keep or weight.format == "f32"


def _stored(weight, start, stop):                       # -> codes of these rows, and scales, as integers
    if not 0 <= start <= stop <= weight.shape[0]:
        raise Refused(f"{weight.name}: expected rows within 0..{weight.shape[0]}, got {start}..{stop}.")
    weight.check_scales()
    if weight.format == "bf16":
        return plain(weight.codes.view(np.uint16)[start:stop], np.uint16), None
    kind, scale = np.int8 if weight.format == "fp8" else np.uint8, weight.scale.view(np.uint8)
    scale = scale if weight.format == "fp8" else scale[start:stop]
    return plain(weight.codes.view(kind)[start:stop], kind), plain(scale, np.uint8)


@njit(parallel=True, cache=True)
def _dense_matvec(weight, x, out):                      # float32 [n, in], [in] -> out [n]
    for block in prange((len(weight) + ROWS - 1) // ROWS):
        _dense_rows(weight, x, out, block * ROWS, min(len(weight), (block + 1) * ROWS))


@njit(cache=True, fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not vanish
def _dense_rows(weight, x, out, start, stop):
    for r in range(start, stop):
        row, total = weight[r], np.float32(0)
        for d in range(len(x)):
            total += row[d] * x[d]
        out[r] = total


@njit(parallel=True, cache=True)
def _bf16_matvec(codes, x, out):                        # uint16 [n, in], float32 [in] -> out [n]
    for block in prange((len(codes) + ROWS - 1) // ROWS):
        _bf16_rows(codes, x, out, block * ROWS, min(len(codes), (block + 1) * ROWS))


@njit(cache=True, fastmath={"reassoc", "contract"})
def _bf16_rows(codes, x, out, start, stop):
    for r in range(start, stop):
        row, total = codes[r], np.float32(0)
        for d in range(len(x)):
            total += _bf16(row[d]) * x[d]
        out[r] = total


@njit(parallel=True, cache=True)
def _bf16_decode(codes, out):                           # uint16 [n, in] -> out [n, in]
    for r in prange(len(codes)):
        row, values = codes[r], out[r]
        for d in range(len(row)):
            values[d] = _bf16(row[d])


@njit(parallel=True, cache=True)
def _fp8_matvec(codes, scale, first, x, out):           # int8 [n, in], uint8 [.., ceil(in / 128)], row first + r -> out [n]
    n = len(codes)
    for block in prange((n + ROWS - 1) // ROWS):
        _fp8_rows(codes, scale, first, x, out, block * ROWS, min(n, (block + 1) * ROWS))


@njit(cache=True)
def _fp8_rows(codes, scale, first, x, out, start, stop):
    scaled, of = np.empty(len(x), np.float32), -1       # x times the scales of one row of tiles: a power of two, exact
    for r in range(start, stop):
        if (first + r) // TILE != of:
            of = (first + r) // TILE
            for tile in range(scale.shape[1]):
                factor, own, into = _ue8m0(scale[of, tile]), x[tile * TILE: (tile + 1) * TILE], scaled[tile * TILE:]
                for d in range(len(own)):
                    into[d] = own[d] * factor
        out[r] = _fp8_dot(codes[r], scaled)


@njit(cache=True, fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not vanish
def _fp8_dot(row, x):
    total = np.float32(0)
    for d in range(len(x)):
        total += _e4m3(row[d]) * x[d]
    return total


@njit(parallel=True, cache=True)
def _fp8_decode(codes, scale, first, out):              # int8 [n, in], ..., row first + r -> out [n, in]
    for r in prange(len(codes)):
        of = scale[(first + r) // TILE]
        for tile in range(len(of)):
            factor, a, b = _ue8m0(of[tile]), tile * TILE, min(codes.shape[1], (tile + 1) * TILE)
            row, values = codes[r, a:b], out[r, a:b]
            for d in range(b - a):
                values[d] = _e4m3(row[d]) * factor


@njit(cache=True)
def _bf16(code):                                        # the upper half of a float32
    return np.uint32(np.uint32(code) << 16).view(np.float32)


@njit(cache=True)
def _ue8m0(code):                                       # 2^(code - 127); 0 is the subnormal 2^-127
    return np.uint32(max(np.uint32(code) << 23, 1 << 22)).view(np.float32)


SIGN, PLACES, BIAS = np.int32(-(2**31)), np.int32(-(2**31) + 0x07F00000), np.int32(120 << 23)


@njit(cache=True)
def _e4m3(code):
    """Exponent and mantissa move to their places in a float32, and the bias of 7 becomes one of 127.

    Codes with exponent 0 mean mantissa * 2^-9 and have no leading one: read as 2^-7 (1 + mantissa / 8) they lose the one and
    double. A plain shift would make them float32 subnormals, which cost some processors a hundred cycles each.
    """
    code = np.int32(code)                               # from int8: the sign is on top
    bits = np.int32(((code << 20) & PLACES) + BIAS)
    normal = bits.view(np.float32)
    rest = normal - np.int32((bits & SIGN) | BIAS).view(np.float32)     # the leading one, with the code's sign, is 2^-7
    value = normal if code & 0x78 else rest + rest
    return value if code & 0x7F != 0x7F else np.float32(np.nan)
