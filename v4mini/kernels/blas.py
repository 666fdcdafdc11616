"""Products of many tokens with float32 weights: BLAS on one thread, called from inside our own parallel loops.

NumPy's BLAS has threads of its own, which after a product wait for the next one in a loop, half a second long, and take a core
from the kernel that comes meanwhile; PyTorch brings more. One pool of threads, ours, does all work here, and each of its threads
calls the BLAS that NumPy has loaded. Blocks have one size whatever the number of threads, so results are the same bits.
Where NumPy brought another BLAS than OpenBLAS (Apple's for example) its own `matmul` runs, with its own threads.
Not here: products of few tokens, which read each weight once (packed.py).
"""

import ctypes
import functools

import numpy as np
from llvmlite import ir
from numba import config, prange, types
from numba.core import cgutils
from numba.extending import intrinsic
from threadpoolctl import threadpool_info

from v4mini.kernels.compiled import njit

TOKENS, ROWS = 128, 256         # of x and of the weight that one call of BLAS gets: it packs both, which larger blocks pay back
PARALLEL_FROM = 1 << 21         # multiply-adds: below, waking a second thread costs more than it saves
ROW_MAJOR, AS_IS, TRANSPOSED = 101, 111, 112            # of CBLAS
FUNCTIONS = "cblas_sgemm", "openblas_get_num_threads", "openblas_set_num_threads"
SPELLINGS = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]


@functools.cache
def addresses():                                        # -> int64 [4]
    """Where FUNCTIONS of NumPy's OpenBLAS lie in this process, and 1 if its integers are long. Zeros: there is none, or nothing
    is compiled.
    """
    for library in threadpool_info() if not config.DISABLE_JIT else ():
        if library["internal_api"] == "openblas" and library.get("threading_layer") == "pthreads":
            opened = ctypes.CDLL(library["filepath"])
            for prefix, suffix in SPELLINGS:
                found = [getattr(opened, f"{prefix}{name}{suffix}", None) for name in FUNCTIONS]
                if all(found):
                    return np.array([*(ctypes.cast(one, ctypes.c_void_p).value for one in found), "64" in suffix], np.int64)
    return np.zeros(4, np.int64)


def product(x, weight, out, groups=1):                  # float32 [T, G in], [G n, in] -> out [T, G n]; out's rows may lie apart
    """out = x @ weight.T, each of G groups of columns with its own rows of the weight. Threads share out blocks of the result."""
    blas, width = addresses(), weight.shape[1]
    if not blas[0]:
        for mine, own in zip(np.split(weight, groups), np.split(out, groups, axis=1)):
            np.matmul(x[:, :width], mine.T, out=own)
            x = x[:, width:]
    else:
        run = _product if len(x) * weight.size < PARALLEL_FROM else _product_all
        run(blas, x, weight, out, groups)
    return out


@njit(parallel=True)
def _product_all(blas, x, weight, out, groups):
    before = one_thread(blas)
    units = (len(x) + TOKENS - 1) // TOKENS * groups * _across(weight, groups)
    for unit in prange(units):
        _block(blas, x, weight, out, groups, np.int64(unit))
    as_many_threads(blas, before)


@njit
def _product(blas, x, weight, out, groups):
    before = one_thread(blas)
    for unit in range((len(x) + TOKENS - 1) // TOKENS * groups * _across(weight, groups)):
        _block(blas, x, weight, out, groups, unit)
    as_many_threads(blas, before)


@njit
def _across(weight, groups):                            # blocks of rows in one group of the weight
    return (len(weight) // groups + ROWS - 1) // ROWS


@njit
def _block(blas, x, weight, out, groups, unit):
    across, n, width = _across(weight, groups), len(weight) // groups, weight.shape[1]
    t, g, r = unit // (across * groups) * TOKENS, unit // across % groups, unit % across * ROWS
    first, stop = g * n + r, g * n + min(n, r + ROWS)
    multiply(blas, x[t: t + TOKENS, g * width: (g + 1) * width], weight[first:stop], out[t: t + TOKENS, first:stop])


@intrinsic
def multiply(typingctx, blas, x, weight, out):
    """out [T, n] = x [T, in] @ weight [n, in].T, float32, in the calling thread; rows may lie apart, neighbours in a row not."""
    def generate(context, builder, sig, args):
        given = [context.make_array(kind)(context, builder, value) for kind, value in zip(sig.args, args)]
        (T, width), (n, _) = (cgutils.unpack_tuple(builder, array.shape, 2) for array in given[1:3])
        apart = [builder.sdiv(cgutils.unpack_tuple(builder, array.strides, 2)[0], T.type(4)) for array in given[1:]]
        pointers, one, zero = [array.data for array in given[1:]], ir.FloatType()(1), ir.FloatType()(0)
        with builder.if_else(builder.icmp_signed("!=", _number(builder, given[0], 3), T.type(0))) as (is_long, is_int):
            for branch, kind in ((is_long, ir.IntType(64)), (is_int, ir.IntType(32))):
                with branch:
                    sizes = [builder.trunc(number, kind) if kind != number.type else number for number in (T, n, width, *apart)]
                    words = [ir.IntType(32)(word) for word in (ROW_MAJOR, AS_IS, TRANSPOSED)]
                    _call(builder, given[0], 0, ir.VoidType(), [*words, *sizes[:3], one, pointers[0], sizes[3], pointers[1],
                                                                sizes[4], zero, pointers[2], sizes[5]])
        return context.get_dummy_value()

    return types.void(blas, x, weight, out), generate


@intrinsic
def one_thread(typingctx, blas):                        # -> how many it had
    """BLAS runs in the thread that calls it, until as_many_threads(blas, before)."""
    def generate(context, builder, sig, args):
        given = context.make_array(sig.args[0])(context, builder, args[0])
        before = _call(builder, given, 1, ir.IntType(32), [])
        _call(builder, given, 2, ir.VoidType(), [ir.IntType(32)(1)])
        return before

    return types.int32(blas), generate


@intrinsic
def as_many_threads(typingctx, blas, before):
    """BLAS has as many threads as before."""
    def generate(context, builder, sig, args):
        given = context.make_array(sig.args[0])(context, builder, args[0])
        _call(builder, given, 2, ir.VoidType(), [args[1]])
        return context.get_dummy_value()

    return types.void(blas, before), generate


def _call(builder, blas, place, result, arguments):     # the function whose address stands there
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(builder.inttoptr(_number(builder, blas, place), kind.as_pointer()), arguments)


def _number(builder, blas, place):
    return builder.load(builder.gep(blas.data, [ir.IntType(64)(place)]))
