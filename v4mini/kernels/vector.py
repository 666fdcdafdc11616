"""What several kernels do in vector registers: small matrix products, exponentials, sums, copies.

Not here: FP4's look-up (fp4.py), products worth a call of BLAS, the words of LLVM's language (emit.py).
"""

import functools

import numpy as np
from llvmlite import ir
from numba import carray, config, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from v4mini.kernels.compiled import njit
from v4mini.kernels.emit import F32, emit_blocks, emit_fma, emit_prefetch, emit_shuffle, emit_spread

LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
EXP = tuple(map(np.float32, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5, 1, 1)))
HALF, MOST, ZERO, INF = np.float32(0.5), np.float32(87), np.float32(0), np.float32(np.inf)


@njit
def exp(x):
    """e^x to 2 units in the last place, from operations that run on 16 numbers at once; below -87 it is 0, above 87 inf.

    e^x = 2^n e^r with |r| <= ln(2) / 2. Source: Cephes, expf.
    """
    small = x if -MOST <= x <= MOST else ZERO           # NaN too: it has no integer part
    n = np.floor(small * LOG2_E + HALF)
    r = small - n * LN2_HIGH - n * LN2_LOW
    p = EXP[0]
    for c in EXP[1:]:
        p = p * r + c
    power = np.int32((np.int32(n) + 127) << 23).view(np.float32)        # 2^n by its bits
    if -MOST <= x <= MOST:
        return p * power
    return ZERO if x < ZERO else x + INF                # NaN + inf is NaN


@njit
def highest_of(x, n):
    """The largest of x[:n], NaN above all, compared as integers that order as the numbers do: those need not go one by one."""
    best = np.int32(-(2**31))
    for j in range(n):
        bits = np.float32(x[j]).view(np.int32)
        rank = np.int32(bits ^ ((bits >> 31) & 0x7FFFFFFF))
        best = rank if rank > best else best
    return np.int32(best ^ ((best >> 31) & 0x7FFFFFFF)).view(np.float32)


@njit(fastmath={"reassoc"})
def sum_of(x, n):
    """x[:n] added up, in vectors."""
    total = np.float32(0)
    for j in range(n):
        total += x[j]
    return total


@njit
def copy(x, out):
    """out[:] = x, for x [n, m] and an out as large or larger; Numba compiles these loops ten times faster."""
    for r in range(len(x)):
        for k in range(x.shape[1]):
            out[r, k] = x[r, k]


@njit
def ue8m0(code):
    """2^(code - 127), for a byte; 0 is the subnormal 2^-127."""
    return np.uint32(max(np.uint32(code) << 23, 1 << 22)).view(np.float32)


@intrinsic
def _pointer(typingctx, address):                       # uint64 -> pointer to float32
    def generate(context, builder, sig, args):
        return builder.inttoptr(args[0], F32.as_pointer())

    return types.CPointer(types.float32)(address), generate


@njit
def floats_at(address, rows, columns):                  # -> float32 [rows, columns]
    """The array that lies there. A list of arrays would be unpacked at every call of a kernel; addresses are one array."""
    return carray(_pointer(address), (rows, columns))


SIMD_WIDTH = 16                 # float32 numbers in a vector; on narrower processors LLVM splits it in two or four


@functools.cache
def processor_has(feature):                             # such as "avx2" -> bool
    """Whether the processor that Numba compiles for has these instructions."""
    return f"+{feature}" in cpu_target.target_context.codegen().magic_tuple()[2].split(",")


def _product_blocks():                                  # -> numbers in a register, rows of a block of sums, columns of it
    """The largest block of sums that stays in registers, beside a row of b and one number of a: 16 of 32, or 12 of 16."""
    if processor_has("avx512f"):
        return 16, (4, 1), (64, 32, 16, 1)
    if processor_has("sse2"):                           # AVX and AVX2 too: 16 registers
        return 8, (4, 1), (24, 16, 8, 1)
    return 4, (4, 1), (16, 8, 4, 1)                     # NEON: 32 registers of 4 numbers


LANES, ROW_BLOCKS, COLUMN_BLOCKS = _product_blocks()


@intrinsic
def add_products(typingctx, a, b, out):
    """out += a @ b, for float32 a [R, K], b [K, n], out [R, n]; rows may lie apart, neighbours in a row may not.

    The same loop in Numba reads and writes its sums at every step. This one keeps them in registers, as BLAS does, and can be
    called from inside a kernel. Each sum runs along K in order, whatever is computed beside it.
    """
    return types.void(a, b, out), _generate_products(is_added=True)


@intrinsic
def set_products(typingctx, a, b, out):
    """out = a @ b, as add_products; what `out` held before is not read."""
    return types.void(a, b, out), _generate_products(is_added=False)


def _generate_products(is_added):                       # -> what Numba calls to write the loops down
    def generate(context, builder, sig, args):
        a, b, out = (context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args))
        steps, = cgutils.unpack_tuple(builder, b.shape, 2)[:1]
        rows, columns = cgutils.unpack_tuple(builder, out.shape, 2)
        for row, R in emit_blocks(builder, rows, ROW_BLOCKS):
            for column, C in emit_blocks(builder, columns, COLUMN_BLOCKS):
                kind = ir.VectorType(F32, LANES) if C > 1 else F32
                at = range(0, C, LANES)                 # where the block's vectors begin
                places = [_place(builder, out, row, r, column, c, kind) for r in range(R) for c in at]
                sums = [cgutils.alloca_once(builder, kind) for _ in places]
                for place, total in zip(places, sums):
                    builder.store(builder.load(place, align=4) if is_added else ir.Constant(kind, None), total)
                with cgutils.for_range(builder, steps) as loop:
                    theirs = [builder.load(_place(builder, b, loop.index, 0, column, c, kind), align=4) for c in at]
                    for r in range(R):
                        mine = emit_spread(builder, builder.load(_place(builder, a, row, r, loop.index, 0, F32)), kind)
                        for total, their in zip(sums[r * len(at):], theirs):
                            builder.store(emit_fma(builder, mine, their, builder.load(total)), total)
                for place, total in zip(places, sums):
                    builder.store(builder.load(total), place, align=4)
        return context.get_dummy_value()
    return generate


@intrinsic
def transpose(typingctx, x, out):
    """out[:m, :n] = x.T, for float32 x [n, m], out [>= m, >= n]; rows may lie apart, neighbours in a row may not.

    16 rows of 16 are transposed in registers: log2(16) rounds swap what lies off the diagonal in squares of 1, 2, 4, 8.
    Callers go through memory in order, so it also asks for the n rows behind x: they arrive while these are worked on.
    """
    def generate(context, builder, sig, args):
        x, out = (context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args))
        rows, columns = cgutils.unpack_tuple(builder, x.shape, 2)
        for row, R in emit_blocks(builder, rows, (SIMD_WIDTH, 1)):
            for column, C in emit_blocks(builder, columns, (SIMD_WIDTH, 1)):
                kind = ir.VectorType(F32, SIMD_WIDTH) if R == C == SIMD_WIDTH else F32
                places = [(r, c) for r in range(R) for c in range(0, C, SIMD_WIDTH if R == C == SIMD_WIDTH else 1)]
                values = [builder.load(_place(builder, x, row, r, column, c, kind), align=4) for r, c in places]
                if R == C == SIMD_WIDTH:
                    for r in range(R):
                        emit_prefetch(builder, _place(builder, x, builder.add(row, rows), r, column, 0, F32))
                    values, places = _transposed(builder, values), [(c, r) for r, c in places]
                for value, (r, c) in zip(values, places):
                    builder.store(value, _place(builder, out, column, c, row, r, kind), align=4)
        return context.get_dummy_value()

    return types.void(x, out), generate


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask memory for the line of 64 bytes that lies `offset` bytes behind the array's first; any offset will do.

    Processors guess what a loop reads next, but not far enough for one that reads two streams and computes beside.
    """
    def generate(context, builder, sig, args):
        array = context.make_array(sig.args[0])(context, builder, args[0])
        emit_prefetch(builder, cgutils.pointer_add(builder, array.data, args[1]))
        return context.get_dummy_value()

    return types.void(array, offset), generate


@intrinsic
def lowest_bit(typingctx, word):                        # uint64, not 0 -> int64
    """How many zeros are below its lowest one."""
    def generate(context, builder, sig, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


def _transposed(builder, rows):                         # 16 vectors of 16 -> their transpose
    rows, lanes = list(rows), range(SIMD_WIDTH)
    for side in (1, 2, 4, 8):
        for i in lanes:
            if not i & side:
                a, b = rows[i], rows[i + side]
                low = [SIMD_WIDTH + lane - side if lane & side else lane for lane in lanes]
                high = [SIMD_WIDTH + lane if lane & side else lane + side for lane in lanes]
                rows[i], rows[i + side] = emit_shuffle(builder, a, b, low), emit_shuffle(builder, a, b, high)
    return rows


def _place(builder, array, row, r, column, c, kind):    # -> where array[row + r, column + c:] begins
    row, column = builder.add(row, row.type(r)), builder.add(column, column.type(c))
    stride = cgutils.unpack_tuple(builder, array.strides, 2)[0]
    offset = builder.add(builder.mul(row, stride), builder.mul(column, column.type(4)))
    return builder.bitcast(cgutils.pointer_add(builder, array.data, offset), kind.as_pointer())


if config.DISABLE_JIT:
    def add_products(a, b, out):
        """As above, in plain Python."""
        out += a @ b

    def set_products(a, b, out):
        """As above, in plain Python."""
        out[:] = a @ b

    def transpose(x, out):
        """As above, in plain Python."""
        out[: x.shape[1], : len(x)] = x.T

    def lowest_bit(word):
        """As above, in plain Python."""
        return (int(word) & -int(word)).bit_length() - 1

    def prefetch(array, offset):
        """Nothing to do: plain Python does not wait for memory."""
