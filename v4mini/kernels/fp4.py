"""Products with packed FP4 (e2m1) weights: two in a byte, a power-of-two scale for every 32 of a row.

Sixteen values fit in one vector register, and processors with AVX can look up a register by index: the fast kernel does that,
in LLVM's own language since Numba has no word for it. The plain kernel computes the same values from their bits, on any machine.
Not here: FP8, bf16 and who calls (packed.py).
"""

import functools

import numpy as np
from llvmlite import ir
from numba import carray, config, njit, prange, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from v4mini.kernels.vector import prefetch
from v4mini.numerics.e2m1 import TABLE

ROWS = 16                       # rows a thread takes at a time
SERIAL = 1 << 20                # bytes of weights: below, waking a second thread costs more than it saves
AHEAD = 8192                    # bytes of codes to ask memory for in advance
LANES = 16                      # low (and high) nibbles of one block of 32 weights
PAIRS = TABLE[np.stack([np.arange(256) & 15, np.arange(256) >> 4], axis=1)]     # [256, 2]: both values of every byte


def matvecs(codes, scales, x, out):     # uint8 [n, in / 2] and [n, in / 32] for each of m, float32 [m or 1, in] -> out [m, n]
    """out[i] = weights[i] @ x[i], or @ x[0] for all. Threads share out the rows of all: they are woken once, not m times."""
    pairs = x.reshape(len(x), -1, LANES, 2)             # [., blocks, 16, 2]: an even index lies in a low nibble
    even, odd = np.ascontiguousarray(pairs[..., 0]), np.ascontiguousarray(pairs[..., 1])
    codes = [own.reshape(*scale.shape, LANES) for own, scale in zip(codes, scales)]         # [n, blocks, 16]
    if config.DISABLE_JIT or sum(own.nbytes for own in codes) < SERIAL:
        run = _rows_by_table if table_lookup() else _rows_by_bits
        for i, (own, scale) in enumerate(zip(codes, scales)):
            run(own, scale, even[i % len(x)], odd[i % len(x)], out[i], 0, out.shape[1])
    else:
        run = _matvecs_by_table if table_lookup() else _matvecs_by_bits
        run(_addresses(codes), _addresses(scales), even, odd, out)


def _addresses(arrays):                                 # -> uint64 [m]; a list of arrays would be unpacked at every call
    return np.array([array.__array_interface__["data"][0] for array in arrays], np.uint64)


def decode(codes, scale, out):                          # uint8 [n, in / 2], [n, in / 32] -> out [n, in]
    """The weights themselves, bit for bit those of Matrix.rows. Threads share out rows."""
    n, blocks = scale.shape
    _decode(codes.reshape(n, blocks, LANES), scale, PAIRS, out.reshape(n, blocks, LANES, 2))


@functools.cache
def table_lookup():                                     # -> "avx512f", "avx2" or None
    """The instruction set by which the fast kernel looks up its table; None: the plain kernel runs."""
    if config.DISABLE_JIT:
        return None
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return next((name for name in ("avx512f", "avx2") if f"+{name}" in features), None)


@intrinsic
def _bytes_at(typingctx, address):
    """The address as a pointer to bytes."""
    def generate(context, builder, sig, args):
        return builder.inttoptr(args[0], ir.IntType(8).as_pointer())

    return types.CPointer(types.uint8)(address), generate


@njit(parallel=True, cache=True)
def _matvecs_by_bits(codes, scales, even, odd, out):    # addresses [m] twice, float32 [m or 1, B, 16] twice -> out [m, n]
    n, blocks = out.shape[1], even.shape[1]
    units = (n + ROWS - 1) // ROWS
    for unit in prange(len(codes) * units):
        i, start = unit // units, unit % units * ROWS
        own, scale = carray(_bytes_at(codes[i]), (n, blocks, LANES)), carray(_bytes_at(scales[i]), (n, blocks))
        _rows_by_bits(own, scale, even[i % len(even)], odd[i % len(odd)], out[i], start, min(n, start + ROWS))


@njit(cache=True, fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not vanish
def _rows_by_bits(codes, scale, even, odd, out, start, stop):
    for r in range(start, stop):
        total = np.float32(0)
        for b in range(len(even)):
            row, low, high, part = codes[r, b], even[b], odd[b], np.float32(0)
            for i in range(LANES):
                part += _e2m1(row[i] & 15) * low[i] + _e2m1(row[i] >> 4) * high[i]
            total += part * _ue8m0(scale[r, b])
        out[r] = total


@njit(parallel=True, cache=True)
def _decode(codes, scale, pairs, out):                  # uint8 [n, B, 16], [n, B], float32 [256, 2] -> out [n, B, 16, 2]
    n, blocks, _ = codes.shape
    for r in prange(n):
        for b in range(blocks):
            row, values, factor = codes[r, b], out[r, b], _ue8m0(scale[r, b])
            for i in range(LANES):
                values[i, 0] = pairs[row[i], 0] * factor
                values[i, 1] = pairs[row[i], 1] * factor


@njit(cache=True)
def _ue8m0(code):                                       # 2^(code - 127); 0 is the subnormal 2^-127
    return np.uint32(max(np.uint32(code) << 23, 1 << 22)).view(np.float32)


@njit(cache=True)
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

I32, F32 = ir.IntType(32), ir.FloatType()


@njit(parallel=True, cache=True)
def _matvecs_by_table(codes, scales, even, odd, out):   # as _matvecs_by_bits
    n, blocks = out.shape[1], even.shape[1]
    units = (n + ROWS - 1) // ROWS
    for unit in prange(len(codes) * units):
        i, start = unit // units, unit % units * ROWS
        own, scale = carray(_bytes_at(codes[i]), (n, blocks, LANES)), carray(_bytes_at(scales[i]), (n, blocks))
        _rows_by_table(own, scale, even[i % len(even)], odd[i % len(odd)], out[i], start, min(n, start + ROWS))


@njit(cache=True)
def _rows_by_table(codes, scale, even, odd, out, start, stop):
    factor0, factor1 = np.empty(len(even), np.float32), np.empty(len(even), np.float32)
    for r in range(start, stop, 2):
        s = min(r + 1, stop - 1)                        # an odd last row goes twice
        for b in range(len(even)):
            factor0[b], factor1[b] = _ue8m0(scale[r, b]), _ue8m0(scale[s, b])
        out[r], out[s] = _two_rows(codes[r], codes[s], factor0, factor1, even, odd)


@intrinsic
def _two_rows(typingctx, codes0, codes1, factor0, factor1, even, odd):
    """Dot products of two rows with the same x, the body of _rows_by_bits in vectors of 16. -> two float32"""
    signature = types.UniTuple(types.float32, 2)(codes0, codes1, factor0, factor1, even, odd)

    def generate(context, builder, sig, args):
        arrays = [context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args)]
        blocks = cgutils.unpack_tuple(builder, arrays[0].shape)[0]
        codes, factors, x = ([array.data for array in arrays[i: i + 2]] for i in (0, 2, 4))
        numbers, bytes_, single = (ir.VectorType(kind, n) for kind, n in ((F32, LANES), (ir.IntType(8), LANES), (F32, 1)))
        totals = [cgutils.alloca_once_value(builder, ir.Constant(numbers, [0.0] * LANES)) for _ in range(2)]
        with cgutils.for_range(builder, blocks) as loop:
            low, high = (_load(builder, data, loop.index, numbers, 4) for data in x)
            for row in range(2):
                ahead = builder.add(builder.mul(loop.index, blocks.type(LANES)), blocks.type(AHEAD))
                prefetch(builder, cgutils.pointer_add(builder, codes[row], ahead))
                nibbles = builder.zext(_load(builder, codes[row], loop.index, bytes_, 1), ir.VectorType(I32, LANES))
                # part = e2m1(row & 15) * low + e2m1(row >> 4) * high;  total += part * factor
                part = builder.fmul(_look_up(builder, nibbles), low)
                part = _fma(builder, _look_up(builder, builder.lshr(nibbles, _all(I32, 4))), high, part)
                factor = _load(builder, factors[row], loop.index, single, 4)
                factor = builder.shuffle_vector(factor, factor, _all(I32, 0))       # in all lanes
                builder.store(_fma(builder, part, factor, builder.load(totals[row])), totals[row])
        return context.make_tuple(builder, sig.return_type, [_sum(builder, builder.load(total)) for total in totals])

    return signature, generate


def _all(kind, value):                                  # a constant vector
    return ir.Constant(ir.VectorType(kind, LANES), [value] * LANES)


def _load(builder, data, index, kind, align):           # element `index` of an array of vectors
    return builder.load(builder.gep(builder.bitcast(data, kind.as_pointer()), [index]), align=align)


def _fma(builder, a, b, c):                             # a * b + c, in one step where the processor has it
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def _look_up(builder, codes):                           # vector of i32, of which the lowest four bits count -> float32
    if table_lookup() == "avx512f":
        table = ir.Constant(ir.VectorType(F32, LANES), [float(value) for value in TABLE])
        return _call(builder, "llvm.x86.avx512.permvar.sf.512", table.type, [table, codes])
    # half as wide: eight magnitudes by the lowest three bits, the sign by the fourth
    table = ir.Constant(ir.VectorType(F32, LANES // 2), [float(value) for value in TABLE[:8]])
    order = [ir.Constant(ir.VectorType(I32, 8), list(range(start, start + 8))) for start in (0, 8)]
    halves = [builder.shuffle_vector(codes, codes, o) for o in order]
    found = [_call(builder, "llvm.x86.avx2.permps", table.type, [table, half]) for half in halves]
    sizes = builder.shuffle_vector(*found, ir.Constant(ir.VectorType(I32, LANES), list(range(LANES))))
    sign = builder.shl(builder.lshr(codes, _all(I32, 3)), _all(I32, 31))
    return builder.bitcast(builder.xor(builder.bitcast(sizes, codes.type), sign), sizes.type)


def _call(builder, name, result, args):
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def _sum(builder, x):                                   # of all lanes, by halves
    width = LANES
    while width > 1:
        width //= 2
        order = [ir.Constant(ir.VectorType(I32, width), list(range(start, start + width))) for start in (0, width)]
        a, b = (builder.shuffle_vector(x, x, o) for o in order)
        x = builder.fadd(a, b)
    return builder.extract_element(x, I32(0))
