"""Words of LLVM's language that several kernels are written in, where Numba has none: builder in, values out.

Not here: what the kernels compute (vector.py, fp4.py, bounds.py).
"""

from llvmlite import ir
from numba.core import cgutils

F32 = ir.FloatType()


def emit_blocks(builder, length, sizes, start=None):    # loops over start..length, one for each size; yields (index, size)
    start = length.type(0) if start is None else start
    for size in sizes:
        stop = builder.sub(length, builder.urem(builder.sub(length, start), length.type(size)))
        with cgutils.for_range_slice(builder, start, stop, length.type(size), length.type) as (index, _):
            yield index, size
        start = stop


def emit_prefetch(builder, place):                      # ask memory for the line of 64 bytes around; any address will do
    byte = builder.bitcast(place, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [byte.type, *[ir.IntType(32)] * 3])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [byte, *(ir.IntType(32)(n) for n in (0, 2, 1))])         # to read, into the second cache, data


def emit_constant(kind, width, value):
    """A vector of `width` equal numbers."""
    return ir.Constant(ir.VectorType(kind, width), [value] * width)


def emit_load(builder, data, index, kind, align):
    """Element `index` of an array of vectors."""
    return builder.load(builder.gep(builder.bitcast(data, kind.as_pointer()), [index]), align=align)


def emit_spread(builder, number, kind):                 # one number in all lanes
    if kind is F32:
        return number
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, ir.IntType(32)(0))
    return emit_shuffle(builder, first, first, [0] * kind.count)


def emit_shuffle(builder, a, b, lanes):
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))


def emit_fma(builder, a, b, c):
    """a * b + c, in one step where the processor has it."""
    return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))


def emit_call(builder, name, result, args):
    """An instruction by LLVM's name for it."""
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)
