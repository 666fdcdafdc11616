"""Twins of ops/mix.py: reading, writing and mixing the residual streams.

Some tokens at a time, so that the streams come from memory once: their mixing product finds them in the cache, and so do the
loops after it. Not here: the sub-layers between reading and writing (layers/block.py).
"""

import numpy as np
from numba import prange

from v4mini.kernels import packed
from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.blas import product
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import in_small_chunks
from v4mini.kernels.vector import SIMD_WIDTH, exp, set_products

BLOCK = 1 << 16                 # numbers of the streams at a time: 256 KiB
MAX_SINKHORN_TOKENS = 64        # tokens at most, whose Sinkhorn steps run side by side in vector registers
PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves


def hc_pre(streams, fn, base, scale, iters, eps, norm_eps):
    """Twin of ops.mix.hc_pre. [T, M, D], ... -> u [T, D], post [T, M], comb [T, M, M]. Threads share out tokens."""
    T, M, D = streams.shape
    check_shape("hc fn", fn, (2 + M) * M, M * D, hint="Is it from another config?")
    check_shape("hc base", base, (2 + M) * M, hint="Is it from another config?")
    check_shape("hc scale", scale, 3, hint="Is it from another config?")
    u, post, comb = (np.empty(shape, np.float32) for shape in ((T, D), (T, M), (T, M, M)))
    given, settings = (as_floats(base), as_floats(scale)), (iters, np.float32(eps).item(), np.float32(norm_eps).item())
    streams = as_floats(streams)
    flat = streams.reshape(T, M * D)
    if streams.size < PARALLEL_FROM:
        _pre(streams, _logits(flat, fn), *given, *settings, u, post, comb)
    else:
        n = len(fn)
        fn_t = np.zeros((M * D, -(-n // SIMD_WIDTH) * SIMD_WIDTH), np.float32)
        fn_t[:, :n] = fn.T
        step = max(SIMD_WIDTH, min(MAX_SINKHORN_TOKENS, BLOCK // (M * D) // SIMD_WIDTH * SIMD_WIDTH))
        units = -(-T // step)
        in_small_chunks(_pre_all, units, units, step, streams, flat, fn_t, *given, *settings, u, post, comb)
    return u, post, comb


def hc_post(y, streams, post, comb):                    # [T, D], [T, M, D], [T, M], [T, M, M] -> [T, M, D]
    """Twin of ops.mix.hc_post. Threads share out tokens."""
    T, M, D = streams.shape
    for name, part, shape in (("y", y, (T, D)), ("post", post, (T, M)), ("comb", comb, (T, M, M))):
        if part.shape != shape:
            check_shape(name, part, *shape)
    out = np.empty((T, M, D), np.float32)
    run = _post if out.size < PARALLEL_FROM else _post_all
    run(as_floats(y), as_floats(streams), as_floats(post), as_floats(comb), out)
    return out


def hc_head(streams, fn, base, scale, eps, norm_eps):   # [T, M, D] -> [T, D]
    """Twin of ops.mix.hc_head. Threads share out tokens."""
    T, M, D = streams.shape
    check_shape("hc fn", fn, M, M * D, hint="Is it from another config?")
    check_shape("hc base", base, M, hint="Is it from another config?")
    check_shape("hc scale", scale, 1, hint="Is it from another config?")
    u, streams, base, scale = np.empty((T, D), np.float32), as_floats(streams), as_floats(base), as_floats(scale)
    run = _head if streams.size < PARALLEL_FROM else _head_all
    run(streams, _logits(streams.reshape(T, M * D), fn), base, scale, eps, norm_eps, u)
    return u


def _logits(flat, fn):                                  # [T, M D], [n, M D] -> [T, n], before the norm
    logits = np.empty((len(flat), len(fn)), np.float32)
    if len(flat) == 1:
        packed.dense_matvec(fn, flat[0], logits[0])
    else:
        product(flat, as_floats(fn), logits)
    return logits


@njit
def _pre_block(block, step, streams, flat, fn_t, base, scale, iters, eps, norm_eps, u, post, comb):
    a, b = block * step, min(len(streams), (block + 1) * step)
    logits = np.empty((b - a, fn_t.shape[1]), np.float32)
    set_products(flat[a:b], fn_t, logits)
    _pre(streams[a:b], logits, base, scale, iters, eps, norm_eps, u[a:b], post[a:b], comb[a:b])


@njit(parallel=True)
def _pre_all(units, step, streams, flat, fn_t, base, scale, iters, eps, norm_eps, u, post, comb):
    for unit in prange(units):
        _pre_block(np.int64(unit), step, streams, flat, fn_t, base, scale, iters, eps, norm_eps, u, post, comb)


@njit
def _pre(streams, logits, base, scale, iters, eps, norm_eps, u, post, comb):
    T, M, _ = streams.shape
    one, two, eps = np.float32(1), np.float32(2), np.float32(eps)
    lanes = np.empty((2 + M, M, T), np.float32)         # tokens last: a loop over them fills vector registers
    for t in range(T):
        norm = _inverse_rms(streams[t], norm_eps)
        for i in range(2 + M):
            for j in range(M):
                n = i * M + j
                lanes[i, j, t] = logits[t, n] * norm * scale[min(i, 2)] + base[n]
    # pre = sigmoid(mix[:M] * scale[0] + base[:M]) + eps;  post = 2 sigmoid(mix[M: 2M] * scale[1] + base[M: 2M])
    _sigmoid(lanes[0], one, eps)
    _sigmoid(lanes[1], two, np.float32(0))
    # comb = sinkhorn(mix[2M:] * scale[2] + base[2M:])
    _sinkhorn(lanes[2:], iters, eps)
    for t in range(T):
        _weighed_sum(lanes[0, :, t], streams[t], u[t])
        for i in range(M):
            post[t, i] = lanes[1, i, t]
            for j in range(M):
                comb[t, i, j] = lanes[2 + i, j, t]


@njit
def _sinkhorn(comb, iters, eps):                        # [M, M, T] in place, as ops.mix.sinkhorn
    M, _, T = comb.shape
    sums = np.empty(T, np.float32)
    # comb = exp(logits - max over the row)
    for i in range(M):
        for t in range(T):
            highest = comb[i, 0, t]
            for j in range(1, M):
                highest = max(highest, comb[i, j, t])
            for j in range(M):
                comb[i, j, t] = exp(comb[i, j, t] - highest)
    # comb = comb / row sum + eps;  comb = comb / (column sum + eps)
    _scale_rows(comb, sums, np.float32(0))
    for i in range(M):
        for j in range(M):
            for t in range(T):
                comb[i, j, t] += eps
    _scale_columns(comb, sums, eps)
    for _ in range(iters - 1):
        _scale_rows(comb, sums, eps)
        _scale_columns(comb, sums, eps)


@njit(error_model="numpy")
def _scale_rows(comb, sums, eps):                       # comb = comb / (comb.sum(axis=2) + eps)
    M, _, T = comb.shape
    for i in range(M):
        for t in range(T):
            sums[t] = eps
        for j in range(M):
            for t in range(T):
                sums[t] += comb[i, j, t]
        for t in range(T):
            sums[t] = np.float32(1) / sums[t]
        for j in range(M):
            for t in range(T):
                comb[i, j, t] *= sums[t]


@njit(error_model="numpy")
def _scale_columns(comb, sums, eps):                    # comb = comb / (comb.sum(axis=1) + eps)
    M, _, T = comb.shape
    for j in range(M):
        for t in range(T):
            sums[t] = eps
        for i in range(M):
            for t in range(T):
                sums[t] += comb[i, j, t]
        for t in range(T):
            sums[t] = np.float32(1) / sums[t]
        for i in range(M):
            for t in range(T):
                comb[i, j, t] *= sums[t]


@njit(parallel=True)
def _post_all(y, streams, post, comb, out):
    T = len(y)
    for block in prange((T + MAX_SINKHORN_TOKENS - 1) // MAX_SINKHORN_TOKENS):
        a, b = block * MAX_SINKHORN_TOKENS, min(T, (block + 1) * MAX_SINKHORN_TOKENS)
        _post(y[a:b], streams[a:b], post[a:b], comb[a:b], out[a:b])


@njit(fastmath={"contract"})
def _post(y, streams, post, comb, out):                 # [T, D], [T, M, D], [T, M], [T, M, M] -> out [T, M, D]
    T, M, D = streams.shape
    for t in range(T):
        for k in range(M):
            # stream k = post_k * y + sum_j comb_jk * stream_j
            stream, new = out[t, k], y[t]
            for d in range(D):
                stream[d] = post[t, k] * new[d]
            for j in range(M):
                weight, old = comb[t, j, k], streams[t, j]
                for d in range(D):
                    stream[d] += weight * old[d]


@njit(parallel=True)
def _head_all(streams, logits, base, scale, eps, norm_eps, u):
    T = len(streams)
    for block in prange((T + MAX_SINKHORN_TOKENS - 1) // MAX_SINKHORN_TOKENS):
        a, b = block * MAX_SINKHORN_TOKENS, min(T, (block + 1) * MAX_SINKHORN_TOKENS)
        _head(streams[a:b], logits[a:b], base, scale, eps, norm_eps, u[a:b])


@njit
def _head(streams, logits, base, scale, eps, norm_eps, u):
    T, M, _ = streams.shape
    lanes = np.empty((M, T), np.float32)
    for t in range(T):
        norm = _inverse_rms(streams[t], norm_eps)
        for j in range(M):
            lanes[j, t] = logits[t, j] * norm * scale[0] + base[j]
    # weights = sigmoid(mix * scale[0] + base) + eps
    _sigmoid(lanes, np.float32(1), np.float32(eps))
    for t in range(T):
        _weighed_sum(lanes[:, t], streams[t], u[t])


@njit(error_model="numpy", fastmath={"reassoc", "contract"})    # the order of a sum may change, NaN may not
def _inverse_rms(rows, eps):                            # [M, D] -> of all its numbers together
    M, D = rows.shape
    total = np.float32(0)
    for j in range(M):
        for d in range(D):
            total += rows[j, d] * rows[j, d]
    return np.float32(1) / np.sqrt(total / np.float32(M * D) + np.float32(eps))


@njit(fastmath={"contract"})
def _weighed_sum(weights, rows, out):                   # [M], [M, D] -> out [D]
    M, D = rows.shape
    for d in range(D):
        out[d] = weights[0] * rows[0, d]
    for j in range(1, M):
        for d in range(D):
            out[d] += weights[j] * rows[j, d]


@njit(error_model="numpy")
def _sigmoid(x, size, more):                            # x = size / (1 + exp(-x)) + more
    for j in range(len(x)):
        for t in range(x.shape[1]):
            x[j, t] = size / (np.float32(1) + exp(-x[j, t])) + more
