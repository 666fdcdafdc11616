"""Products of few tokens with weights as they are stored: float32 and bf16 here, FP8 in fp8.py, FP4 in fp4.py.

One token's product reads each weight once and takes as long as memory takes: for FP8 one byte a weight instead of four.
Twin of numerics/matrix.py's decoding too. Not here: products of many tokens (BLAS, from linear.py).
"""

import numpy as np
from numba import prange

from v4mini.kernels import fp4, fp8
from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import in_small_chunks
from v4mini.kernels.vector import prefetch
from v4mini.shapes import Refused

ROWS_PER_THREAD = 32            # rows a thread takes at a time
PARALLEL_FROM = 3 << 20         # bytes of weights: below, waking a second thread costs more than it saves
SPAN = 512                      # numbers of a row at a time
PREFETCH_BYTES, LINE = 1 << 13, 64      # how far ahead memory is asked, and the bytes of one answer


def matvec(weight, x, out):                             # Matrix [n, in], [G, in] -> out [n]
    """out = weight @ x, for a weight that is not float32; of G groups of rows each meets its own x. Threads share out rows."""
    codes, scale = _stored(weight, 0, weight.shape[0])
    check_shape("x", x, len(x), weight.shape[1])
    check_shape("out", out, weight.shape[0])
    x = as_floats(x)
    if weight.format == "fp8":
        fp8.matvec(codes, scale, 0, x, out)
        return
    scales = np.split(scale, len(x)) if weight.format == "fp4" else [None] * len(x)
    for own, of, row, part in zip(np.split(codes, len(x)), scales, x, np.split(out, len(x))):
        if weight.format == "fp4":
            fp4.matvecs([own], [of], row[None], part[None])
        else:
            _plain_matvec(_bf16_rows, _bf16_matvec, own, row, part)


def matvecs(weights, x):                                # m Matrix [n, in], [m or 1, in] -> [m, n]
    """Each of m alike weights with its own x, or all with one. FP4 in one go; threads share out rows of all."""
    out = np.empty((len(weights), weights[0].shape[0]), np.float32)
    if all(weight.format == "fp4" and not is_dense(weight) for weight in weights):
        stored = [_stored(weight, 0, out.shape[1]) for weight in weights]
        check_shape("x", x, len(x), weights[0].shape[1])
        fp4.matvecs(*zip(*stored), as_floats(x), out)
        return out
    for i, weight in enumerate(weights):
        row = x[i % len(x)]
        if is_dense(weight):
            dense_matvec(weight.dense(), row, out[i])
        else:
            matvec(weight, row[None], out[i])
    return out


def dense_matvec(weight, x, out):                       # float32 [n, in], [in] -> out [n]
    """out = weight @ x. Threads share out rows. From memory up to twice as fast as BLAS, which reads several rows at once."""
    check_shape("x", x, weight.shape[1])
    check_shape("out", out, weight.shape[0])
    _plain_matvec(_dense_rows, _dense_matvec, as_floats(weight), as_floats(x), out)


def _plain_matvec(rows, all_, weight, x, out):
    if weight.nbytes < PARALLEL_FROM:
        rows(weight, x, out, 0, len(out))
    else:
        in_small_chunks(all_, len(out) // ROWS_PER_THREAD, weight, x, out)


def rows(weight, start, stop):                          # -> float32 [stop - start, in]
    """Twin of Matrix.rows: decoded, bit for bit. Threads share out rows."""
    codes, scale = _stored(weight, start, stop)
    out = np.empty((stop - start, weight.shape[1]), np.float32)
    if weight.format == "fp4":
        fp4.decode(codes, scale, out)
    elif weight.format == "fp8":
        fp8.decode(codes, scale, start, out)
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
        return as_plain(weight.codes.view(np.uint16)[start:stop], np.uint16), None
    kind, scale = np.int8 if weight.format == "fp8" else np.uint8, weight.scale.view(np.uint8)
    scale = scale if weight.format == "fp8" else scale[start:stop]
    return as_plain(weight.codes.view(kind)[start:stop], kind), as_plain(scale, np.uint8)


@njit(parallel=True)
def _dense_matvec(weight, x, out):                      # float32 [n, in], [in] -> out [n]
    for block in prange((len(weight) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _dense_rows(weight, x, out, block * ROWS_PER_THREAD, min(len(weight), (block + 1) * ROWS_PER_THREAD))


@njit(fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN may not vanish
def _dense_rows(weight, x, out, start, stop):
    for r in range(start, stop):
        total = np.float32(0)
        for first in range(0, len(x), SPAN):
            row, own, part = weight[r, first: first + SPAN], x[first: first + SPAN], np.float32(0)
            for line in range(0, 4 * len(row), LINE):
                prefetch(row, PREFETCH_BYTES + line)
            for d in range(len(row)):
                part += row[d] * own[d]
            total += part
        out[r] = total


@njit(parallel=True)
def _bf16_matvec(codes, x, out):                        # uint16 [n, in], float32 [in] -> out [n]
    for block in prange((len(codes) + ROWS_PER_THREAD - 1) // ROWS_PER_THREAD):
        _bf16_rows(codes, x, out, block * ROWS_PER_THREAD, min(len(codes), (block + 1) * ROWS_PER_THREAD))


@njit(fastmath={"reassoc", "contract"})
def _bf16_rows(codes, x, out, start, stop):
    for r in range(start, stop):
        total = np.float32(0)
        for first in range(0, len(x), SPAN):
            row, own, part = codes[r, first: first + SPAN], x[first: first + SPAN], np.float32(0)
            for line in range(0, 2 * len(row), LINE):
                prefetch(row, PREFETCH_BYTES + line)
            for d in range(len(row)):
                part += _bf16(row[d]) * own[d]
            total += part
        out[r] = total


@njit(parallel=True)
def _bf16_decode(codes, out):                           # uint16 [n, in] -> out [n, in]
    for r in prange(len(codes)):
        row, values = codes[r], out[r]
        for d in range(len(row)):
            values[d] = _bf16(row[d])


@njit
def _bf16(code):                                        # the upper half of a float32
    return np.uint32(np.uint32(code) << 16).view(np.float32)
