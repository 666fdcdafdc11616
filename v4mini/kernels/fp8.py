"""Products with FP8 (e4m3) weights: a byte each, a power-of-two scale for every tile of 128 x 128.

Moved up by seven places an e4m3 code is a half-precision number, 2^8 times smaller, subnormals included, and processors with F16C
widen many of those in one instruction: the fast kernel does that, in LLVM's own language since Numba has no word for half. The
plain kernel computes the same values from their bits, on any machine. Not here: FP4 (fp4.py), bf16 and who calls (packed.py).
"""

import functools

import numpy as np
from llvmlite import ir
from numba import config, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from v4mini.kernels.compiled import njit
from v4mini.kernels.emit import emit_constant, emit_load, emit_prefetch
from v4mini.kernels.schedule import in_small_chunks
from v4mini.kernels.vector import processor_has, ue8m0
from v4mini.numerics.matrix import TILE

ROWS_PER_THREAD = 32            # rows a thread takes at a time
PARALLEL_FROM = 3 << 20         # bytes of weights: below, waking a second thread costs more than it saves
PREFETCH_BYTES = 8192           # bytes of codes to ask memory for in advance
SIMD_WIDTH = 32


def matvec(codes, scale, first, x, out):    # int8 [n, in], uint8 [.., ceil(in / 128)], row first + r, [G, in] -> out [n]
    """out = weights @ x; of G groups of n / G rows each meets its own x. Threads share out rows."""
    rows, all_ = (_rows_by_half, _matvec_by_half) if half_floats() else (_rows_by_bits, _matvec_by_bits)
    if codes.nbytes < PARALLEL_FROM:
        rows(codes, scale, first, x, out, 0, len(out))
    else:
        in_small_chunks(all_, len(out) // ROWS_PER_THREAD, codes, scale, first, x, out)


@functools.cache
def half_floats():                                      # -> bool
    """Whether this processor widens half-precision numbers; otherwise the plain kernel runs."""
    return not config.DISABLE_JIT and processor_has("f16c")


@njit(parallel=True)
def decode(codes, scale, first, out):                   # int8 [n, in], ..., row first + r -> out [n, in]
    """The weights themselves, bit for bit those of Matrix.rows. Threads share out rows."""
    for r in prange(len(codes)):
        of = scale[(first + r) // TILE]
        for tile in range(len(of)):
            factor, a, b = ue8m0(of[tile]), tile * TILE, min(codes.shape[1], (tile + 1) * TILE)
            row, values = codes[r, a:b], out[r, a:b]
            for d in range(b - a):
                values[d] = _e4m3(row[d]) * factor


@njit(parallel=True)
def _matvec_by_bits(codes, scale, first, x, out):
    for block in prange((len(codes) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _rows_by_bits(codes, scale, first, x, out, block * ROWS_PER_THREAD, min(len(codes), (block + 1) * ROWS_PER_THREAD))


@njit
def _rows_by_bits(codes, scale, first, x, out, start, stop):
    scaled, of, rows = np.empty(x.shape[1], np.float32), (-1, -1), len(codes) // len(x)
    for r in range(start, stop):
        if _place(r, first, rows) != of:
            of = _place(r, first, rows)
            _scale_tiles(x[of[0]], scale[of[1]], scaled)
        out[r] = _dot(codes[r], scaled, 0)


@njit
def _place(r, first, rows):                             # -> group, row of tiles
    return r // rows, (first + r) // TILE


@njit
def _scale_tiles(x, scale, scaled):                     # x times the scales of one row of tiles: powers of two, exact
    for tile in range(len(scale)):
        factor, own, into = ue8m0(scale[tile]), x[tile * TILE: (tile + 1) * TILE], scaled[tile * TILE:]
        for d in range(len(own)):
            into[d] = own[d] * factor


@njit(fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not vanish
def _dot(row, x, start):                                # of row[start:] and x[start:]
    total = np.float32(0)
    for d in range(start, len(x)):
        total += _e4m3(row[d]) * x[d]
    return total


SIGN, PLACES, BIAS = np.int32(-(2**31)), np.int32(-(2**31) + 0x07F00000), np.int32(120 << 23)


@njit
def _e4m3(code):
    """Exponent and mantissa move to their places in a float32, and the bias of 7 becomes one of 127.

    Codes with exponent 0 mean mantissa * 2^-9 and have no leading one: read as 2^-7 (1 + mantissa / 8) they lose the one and
    double; -0, whose rest is +0, gets its sign back. A plain shift would make them float32 subnormals, which cost some
    processors a hundred cycles each.
    """
    code = np.int32(code)                               # from int8: the sign is on top
    bits = np.int32(((code << 20) & PLACES) + BIAS)
    normal = bits.view(np.float32)
    rest = normal - np.int32((bits & SIGN) | BIAS).view(np.float32)     # the leading one, with the code's sign, is 2^-7
    small = np.int32(np.float32(rest + rest).view(np.int32) | (bits & SIGN)).view(np.float32)
    value = normal if code & 0x78 else small
    return value if code & 0x7F != 0x7F else np.float32(np.nan)


# ---- the fast kernel ----

I8, I16, I32, F16, F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.HalfType(), ir.FloatType()


@njit(parallel=True)
def _matvec_by_half(codes, scale, first, x, out):
    for block in prange((len(codes) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _rows_by_half(codes, scale, first, x, out, block * ROWS_PER_THREAD, min(len(codes), (block + 1) * ROWS_PER_THREAD))


@njit
def _rows_by_half(codes, scale, first, x, out, start, stop):
    scaled, of, rows = np.empty(x.shape[1], np.float32), (-1, -1), len(codes) // len(x)
    r, whole = start, len(scaled) // SIMD_WIDTH * SIMD_WIDTH
    while r < stop:
        if _place(r, first, rows) != of:
            of = _place(r, first, rows)
            _scale_tiles(x[of[0]], scale[of[1]], scaled)
        s = min(r + 1, stop - 1)
        s = s if _place(s, first, rows) == of else r    # a last row, of all or of its tiles, goes alone, as both of a pair
        a, b = _two_rows(codes[r], codes[s], scaled)
        if whole < len(scaled):
            a, b = a + _dot(codes[r], scaled, whole), b + _dot(codes[s], scaled, whole)
        out[r], out[s] = a, b
        r = s + 1


@intrinsic
def _two_rows(typingctx, codes0, codes1, x):
    """Dot products of two rows with the same x, over as many whole vectors as there are. -> two float32"""
    signature = types.UniTuple(types.float32, 2)(codes0, codes1, x)

    def generate(context, builder, sig, args):
        arrays = [context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args)]
        length, = cgutils.unpack_tuple(builder, arrays[2].shape)
        numbers, bytes_ = ir.VectorType(F32, SIMD_WIDTH), ir.VectorType(I8, SIMD_WIDTH)
        totals = [cgutils.alloca_once_value(builder, ir.Constant(numbers, [0.0] * SIMD_WIDTH)) for _ in range(2)]
        nothing = ir.Constant(ir.VectorType(ir.IntType(1), SIMD_WIDTH), [0] * SIMD_WIDTH)
        broken = [cgutils.alloca_once_value(builder, nothing) for _ in range(2)]
        pair = builder.shl(length, length.type(1))      # whole pairs of rows ahead, since this pair's own bytes come anyway
        pairs_ahead = builder.mul(pair, builder.udiv(builder.add(pair, length.type(PREFETCH_BYTES - 1)), pair))
        with cgutils.for_range(builder, builder.udiv(length, length.type(SIMD_WIDTH))) as loop:
            theirs = emit_load(builder, arrays[2].data, loop.index, numbers, 4)
            for array, total, bad in zip(arrays, totals, broken):
                ahead = builder.add(builder.mul(loop.index, length.type(SIMD_WIDTH)), pairs_ahead)
                emit_prefetch(builder, cgutils.pointer_add(builder, array.data, ahead))
                codes = emit_load(builder, array.data, loop.index, bytes_, 1)
                product = builder.fmul(_widened(builder, codes), theirs, flags=("contract",))
                builder.store(builder.fadd(product, builder.load(total), flags=("contract",)), total)
                builder.store(builder.or_(builder.load(bad), _is_nan(builder, codes)), bad)
        return context.make_tuple(builder, sig.return_type, [
            _finish(builder, builder.load(total), builder.load(bad)) for total, bad in zip(totals, broken)])

    return signature, generate


def _widened(builder, codes):                           # vector of int8 -> float32, 2^8 times too small
    wide = builder.shl(builder.sext(codes, ir.VectorType(I16, SIMD_WIDTH)), emit_constant(I16, SIMD_WIDTH, 7))
    half = builder.bitcast(builder.and_(wide, emit_constant(I16, SIMD_WIDTH, 0xBF80 - 0x10000)), ir.VectorType(F16, SIMD_WIDTH))
    return builder.fpext(half, ir.VectorType(F32, SIMD_WIDTH))


def _is_nan(builder, codes):                            # 0x7F, with either sign; as a half it would be a number
    seven_bits = emit_constant(I8, SIMD_WIDTH, 0x7F)
    return builder.icmp_unsigned("==", builder.and_(codes, seven_bits), seven_bits)


def _finish(builder, total, bad):                       # the sum of all lanes, times 2^8; NaN if any code was
    width = SIMD_WIDTH
    while width > 1:
        width //= 2
        order = [ir.Constant(ir.VectorType(I32, width), list(range(start, start + width))) for start in (0, width)]
        a, b = (builder.shuffle_vector(total, total, o) for o in order)
        total = builder.fadd(a, b)
    sum_ = builder.fmul(builder.extract_element(total, I32(0)), ir.Constant(F32, 256.0))
    any_ = builder.icmp_unsigned("!=", builder.bitcast(bad, ir.IntType(SIMD_WIDTH)), ir.IntType(SIMD_WIDTH)(0))
    return builder.select(any_, ir.Constant(F32, float("nan")), sum_)
