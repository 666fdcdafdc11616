"""Products with packed FP4 (e2m1) weights: two in a byte, a power-of-two scale for every 32 of a row.

Sixteen values fit in one vector register, and processors with AVX can look up a register by index: the fast kernel does that,
in LLVM's own language since Numba has no word for it. The plain kernel computes the same values from their bits, on any machine.
Not here: FP8, bf16 and who calls (packed.py).
"""

import functools

import numpy as np
from llvmlite import ir
from numba import carray, config, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from v4mini.kernels.compiled import njit
from v4mini.kernels.emit import F32, emit_call, emit_constant, emit_fma, emit_load, emit_prefetch
from v4mini.kernels.schedule import in_small_chunks
from v4mini.kernels.vector import processor_has, ue8m0
from v4mini.numerics.e2m1 import TABLE

ROWS_PER_THREAD = 16            # rows a thread takes at a time
PARALLEL_FROM = 1 << 20         # bytes of weights: below, waking a second thread costs more than it saves
PREFETCH_BYTES = 8192           # bytes of codes to ask memory for in advance
SIMD_WIDTH = 16                 # bytes of one block of 32 weights; numbers of 32 bits in a register
REGISTER, STEP = 64, 128        # bytes, and weights in them
PAIRS = TABLE[np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1)]     # [256, 2]: both values of every byte


def matvecs(codes, scales, x, out):     # uint8 [n, in / 2] and [n, in / 32] for each of m, float32 [m or 1, in] -> out [m, n]
    """out[i] = weights[i] @ x[i], or @ x[0] for all. Threads share out the rows of all: they are woken once, not m times."""
    by_table = table_lookup() is not None
    few = config.DISABLE_JIT or sum(own.nbytes for own in codes) < PARALLEL_FROM
    x = _in_table_order(x) if by_table else _by_nibble(x)
    if few:
        run = _rows_by_table if by_table else _rows_by_bits
        for i, (own, scale) in enumerate(zip(codes, scales)):
            run(own, scale, x[i % len(x)], out[i], 0, out.shape[1])
    else:
        run = _matvecs_by_table if by_table else _matvecs_by_bits
        in_small_chunks(run, out.size // ROWS_PER_THREAD, _addresses(codes), _addresses(scales), codes[0].shape, x, out)


def _by_nibble(x):                                      # [m, in] -> [m, 2, blocks, 16]: an even index lies in a low nibble
    return np.ascontiguousarray(np.moveaxis(x.reshape(len(x), -1, SIMD_WIDTH, 2), 3, 1))


def _in_table_order(x):                                 # [m, in] -> [m, ceil(in / 128), 8, 16], zeros at the end
    """A register holds 64 bytes as 16 numbers of 32 bits. Shifts bring up the first weight of each, then the second, ..."""
    steps = -(-x.shape[1] // STEP)
    padded = np.zeros((len(x), steps * STEP), np.float32)
    padded[:, : x.shape[1]] = x
    return np.ascontiguousarray(padded.reshape(len(x), steps, SIMD_WIDTH, 8).swapaxes(2, 3))


def _addresses(arrays):                                 # -> uint64 [m]; a list of arrays would be unpacked at every call
    return np.array([array.__array_interface__["data"][0] for array in arrays], np.uint64)


def decode(codes, scale, out):                          # uint8 [n, in / 2], [n, in / 32] -> out [n, in]
    """The weights themselves, bit for bit those of Matrix.rows. Threads share out rows."""
    n, blocks = scale.shape
    _decode(codes.reshape(n, blocks, SIMD_WIDTH), scale, PAIRS, out.reshape(n, blocks, SIMD_WIDTH, 2))


@functools.cache
def table_lookup():                                     # -> "avx512bw", "avx2" or None
    """The instruction set by which the fast kernel looks up its table; None: the plain kernel runs."""
    if config.DISABLE_JIT:
        return None
    return next((name for name in ("avx512bw", "avx2") if processor_has(name)), None)


@intrinsic
def _bytes_at(typingctx, address):
    """The address as a pointer to bytes."""
    def generate(context, builder, sig, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.CPointer(types.uint8)(address), generate


@njit(parallel=True)
def _matvecs_by_bits(codes, scales, shape, x, out):     # addresses [m] twice, (n, in / 2), [m or 1, 2, B, 16] -> out [m, n]
    n, width = shape
    units = (n + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD
    for unit in prange(len(codes) * units):
        i, start = unit // units, unit % units * ROWS_PER_THREAD
        own, scale = carray(_bytes_at(codes[i]), (n, width)), carray(_bytes_at(scales[i]), (n, width // SIMD_WIDTH))
        _rows_by_bits(own, scale, x[i % len(x)], out[i], start, min(n, start + ROWS_PER_THREAD))


@njit(fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not vanish
def _rows_by_bits(codes, scale, x, out, start, stop):
    even, odd = x
    for r in range(start, stop):
        blocks, total = codes[r].reshape(len(even), SIMD_WIDTH), np.float32(0)
        for b in range(len(even)):
            row, low, high, part = blocks[b], even[b], odd[b], np.float32(0)
            for i in range(SIMD_WIDTH):
                part += _e2m1(row[i] & 15) * low[i] + _e2m1(row[i] >> 4) * high[i]
            total += part * ue8m0(scale[r, b])
        out[r] = total


@njit(parallel=True)
def _decode(codes, scale, pairs, out):                  # uint8 [n, B, 16], [n, B], float32 [256, 2] -> out [n, B, 16, 2]
    n, blocks, _ = codes.shape
    for r in prange(n):
        for b in range(blocks):
            row, values, factor = codes[r, b], out[r, b], ue8m0(scale[r, b])
            for i in range(SIMD_WIDTH):
                values[i, 0] = pairs[row[i], 0] * factor
                values[i, 1] = pairs[row[i], 1] * factor


@njit
def _e2m1(code):
    """Exponent and mantissa move to their places in a float32, and the bias of 1 becomes one of 127.

    Codes 0 and 1 have no leading one: read as (1 + mantissa / 2) / 2 they lose the one and double. A plain shift would make
    them float32 subnormals, which made this loop ten times slower.
    """
    size = np.uint32(code) & 7
    normal = np.uint32((size << 22) + (126 << 23)).view(np.float32)
    value = normal if size >= 2 else (normal - np.float32(0.5)) * np.float32(2)
    return -value if code >= 8 else value


# ---- the fast kernel ----

I8, I16, I32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
NUMBERS, WORDS = ir.VectorType(F32, SIMD_WIDTH), ir.VectorType(I32, SIMD_WIDTH)


@njit(parallel=True)
def _matvecs_by_table(codes, scales, shape, x, out):    # addresses [m] twice, (n, in / 2), [m or 1, S, 8, 16] -> out [m, n]
    n, width = shape
    units = (n + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD
    for unit in prange(len(codes) * units):
        i, start = unit // units, unit % units * ROWS_PER_THREAD
        own, scale = carray(_bytes_at(codes[i]), (n, width)), carray(_bytes_at(scales[i]), (n, width // SIMD_WIDTH))
        _rows_by_table(own, scale, x[i % len(x)], out[i], start, min(n, start + ROWS_PER_THREAD))


@njit
def _rows_by_table(codes, scale, x, out, start, stop):
    whole = codes.shape[1] // REGISTER
    rest, factors = np.zeros((2, REGISTER), np.uint8), np.zeros((2, 4), np.uint8)       # a last step that is not whole
    for r in range(start, stop, 2):
        s = min(r + 1, stop - 1)                        # an odd last row goes twice
        a, b = _two_rows(codes[r], codes[s], scale[r], scale[s], x[:whole])
        if whole < len(x):
            for i, row in enumerate((r, s)):
                for k in range(whole * REGISTER, codes.shape[1]):
                    rest[i, k - whole * REGISTER] = codes[row, k]
                for k in range(whole * 4, scale.shape[1]):
                    factors[i, k - whole * 4] = scale[row, k]
            more_a, more_b = _two_rows(rest[0], rest[1], factors[0], factors[1], x[whole:])
            a, b = a + more_a, b + more_b
        out[r], out[s] = a, b


@intrinsic
def _two_rows(typingctx, codes0, codes1, scale0, scale1, x):
    """Dot products of two rows with the same x, 128 weights at a step: the body of _rows_by_bits. -> two float32"""
    signature = types.UniTuple(types.float32, 2)(codes0, codes1, scale0, scale1, x)

    def generate(context, builder, sig, args):
        arrays = [context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args)]
        steps = cgutils.unpack_tuple(builder, arrays[4].shape)[0]
        codes, scales, x = [a.data for a in arrays[:2]], [a.data for a in arrays[2:4]], arrays[4].data
        totals = [cgutils.alloca_once_value(builder, ir.Constant(NUMBERS, [0.0] * SIMD_WIDTH)) for _ in range(2)]
        with cgutils.for_range(builder, steps) as loop:
            first = builder.mul(loop.index, steps.type(8))
            theirs = [emit_load(builder, x, builder.add(first, steps.type(place)), NUMBERS, 4) for place in range(8)]
            for own, scale, total in zip(codes, scales, totals):
                ahead = builder.add(builder.mul(loop.index, steps.type(REGISTER)), steps.type(PREFETCH_BYTES))
                emit_prefetch(builder, cgutils.pointer_add(builder, own, ahead))
                eights, part = emit_load(builder, own, loop.index, WORDS, 1), None
                for place in range(4):                  # each number of 32 bits holds eight weights
                    low, high = _look_up(builder, builder.lshr(eights, emit_constant(I32, SIMD_WIDTH, 4 * place)))
                    part = builder.fmul(low, theirs[place]) if part is None else emit_fma(builder, low, theirs[place], part)
                    part = emit_fma(builder, high, theirs[place + 4], part)
                factor = _factors(builder, emit_load(builder, scale, loop.index, ir.VectorType(I8, 4), 1))
                builder.store(emit_fma(builder, part, factor, builder.load(total)), total)
        return context.make_tuple(builder, sig.return_type, [_sum(builder, builder.load(total)) for total in totals])

    return signature, generate


def _factors(builder, scale):                           # 4 bytes -> 4 powers of two, each in 4 lanes; as ue8m0
    four = ir.VectorType(I32, 4)
    bits, least = builder.shl(builder.zext(scale, four), ir.Constant(four, [23] * 4)), ir.Constant(four, [1 << 22] * 4)
    bits = builder.select(builder.icmp_unsigned(">", bits, least), bits, least)
    return builder.bitcast(builder.shuffle_vector(bits, bits, ir.Constant(WORDS, [i // 4 for i in range(SIMD_WIDTH)])), NUMBERS)


def _look_up(builder, codes):                           # 16 x i32 -> the weights of their lowest 4 bits, and of bits 16 to 19
    if table_lookup() == "avx512bw":                    # 32 words of 16 bits at once, as bf16. A fifth bit of each counts: so the
        words = ir.VectorType(I16, 2 * SIMD_WIDTH)      # table stands there twice
        table = ir.Constant(words, 2 * (TABLE.view(np.uint32) >> 16).tolist())
        pair = emit_call(builder, "llvm.x86.avx512.permvar.hi.512", words, [table, builder.bitcast(codes, words)])
        pair = builder.bitcast(pair, WORDS)
        return (builder.bitcast(half, NUMBERS) for half in (builder.shl(pair, emit_constant(I32, SIMD_WIDTH, 16)),
                                                            builder.and_(pair, emit_constant(I32, SIMD_WIDTH, 0xFFFF0000))))
    return _magnitudes(builder, codes), _magnitudes(builder, builder.lshr(codes, emit_constant(I32, SIMD_WIDTH, 16)))


def _magnitudes(builder, codes):                        # eight of them by the lowest three bits, the sign by the fourth
    table = ir.Constant(ir.VectorType(F32, SIMD_WIDTH // 2), [float(value) for value in TABLE[:8]])
    order = [ir.Constant(ir.VectorType(I32, 8), list(range(start, start + 8))) for start in (0, 8)]
    halves = [builder.shuffle_vector(codes, codes, o) for o in order]
    found = [emit_call(builder, "llvm.x86.avx2.permps", table.type, [table, half]) for half in halves]
    sizes = builder.shuffle_vector(*found, ir.Constant(WORDS, list(range(SIMD_WIDTH))))
    sign = builder.shl(builder.lshr(codes, emit_constant(I32, SIMD_WIDTH, 3)), emit_constant(I32, SIMD_WIDTH, 31))
    return builder.bitcast(builder.xor(builder.bitcast(sizes, codes.type), sign), sizes.type)


def _sum(builder, x):                                   # of all lanes, by halves
    width = SIMD_WIDTH
    while width > 1:
        width //= 2
        order = [ir.Constant(ir.VectorType(I32, width), list(range(start, start + width))) for start in (0, width)]
        a, b = (builder.shuffle_vector(x, x, o) for o in order)
        x = builder.fadd(a, b)
    return builder.extract_element(x, I32(0))
