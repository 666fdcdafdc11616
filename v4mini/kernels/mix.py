"""Twins of ops/mix.py: reading, writing and mixing the residual streams, each token in one go.

The mixing product goes to BLAS in pieces small enough that the loops after it find the streams in the cache.
Not here: the sub-layers between reading and writing (layers/block.py).
"""

import math

import numpy as np
from numba import njit, prange

from v4mini.kernels import packed
from v4mini.kernels.door import expect_shape, floats

PIECE = 1 << 17                 # numbers of the streams per BLAS call: 512 KiB
LANES = 16                      # tokens whose Sinkhorn steps run side by side in vector registers
SERIAL = 1 << 16                # numbers: below, waking a second thread costs more than it saves


def hc_pre(streams, fn, base, scale, iters, eps, norm_eps):
    """Twin of ops.mix.hc_pre. [T, M, D], ... -> u [T, D], post [T, M], comb [T, M, M]. Threads share out tokens."""
    T, M, D = streams.shape
    expect_shape("hc base", base, (2 + M) * M, hint="Is it from another config?")
    expect_shape("hc scale", scale, 3, hint="Is it from another config?")
    u, post, comb = (np.empty(shape, np.float32) for shape in ((T, D), (T, M), (T, M, M)))
    streams, base, scale = floats(streams), floats(base), floats(scale)
    for piece, logits in _mixing(streams, fn, len(base)):
        run = _pre if streams[piece].size < SERIAL else _pre_all
        run(streams[piece], logits, base, scale, iters, eps, norm_eps, u[piece], post[piece], comb[piece])
    return u, post, comb


def hc_post(y, streams, post, comb):                    # [T, D], [T, M, D], [T, M], [T, M, M] -> [T, M, D]
    """Twin of ops.mix.hc_post. Threads share out tokens."""
    T, M, D = streams.shape
    expect_shape("y", y, T, D)
    expect_shape("post", post, T, M)
    expect_shape("comb", comb, T, M, M)
    out = np.empty((T, M, D), np.float32)
    run = _post if out.size < SERIAL else _post_all
    run(floats(y), floats(streams), floats(post), floats(comb), out)
    return out


def hc_head(streams, fn, base, scale, eps, norm_eps):   # [T, M, D] -> [T, D]
    """Twin of ops.mix.hc_head. Threads share out tokens."""
    T, M, D = streams.shape
    expect_shape("hc base", base, M, hint="Is it from another config?")
    expect_shape("hc scale", scale, 1, hint="Is it from another config?")
    u, streams, base, scale = np.empty((T, D), np.float32), floats(streams), floats(base), floats(scale)
    for piece, logits in _mixing(streams, fn, M):
        run = _head if streams[piece].size < SERIAL else _head_all
        run(streams[piece], logits, base, scale, eps, norm_eps, u[piece])
    return u


def _mixing(streams, fn, n):                            # -> (slice of tokens, float32 [t, n]), before the norm
    T, M, D = streams.shape
    expect_shape("hc fn", fn, n, M * D, hint="Is it from another config?")
    step = max(LANES, PIECE // max(1, M * D) // LANES * LANES)
    flat = streams.reshape(T, M * D)
    for start in range(0, T, step):
        piece = slice(start, min(T, start + step))
        logits = np.empty((piece.stop - start, n), np.float32)
        if T == 1:
            packed.dense_matvec(fn, flat[0], logits[0])
        else:
            np.matmul(flat[piece], fn.T, out=logits)
        yield piece, logits


@njit(parallel=True, cache=True)
def _pre_all(streams, logits, base, scale, iters, eps, norm_eps, u, post, comb):
    T = len(streams)
    for block in prange((T + LANES - 1) // LANES):
        a, b = block * LANES, min(T, (block + 1) * LANES)
        _pre(streams[a:b], logits[a:b], base, scale, iters, eps, norm_eps, u[a:b], post[a:b], comb[a:b])


@njit(cache=True)
def _pre(streams, logits, base, scale, iters, eps, norm_eps, u, post, comb):
    T, M, _ = streams.shape
    lanes = np.empty((M, M, T), np.float32)             # tokens last: a loop over them fills vector registers
    pre = np.empty(M, np.float32)
    for t in range(T):
        norm = _inverse_rms(streams[t], norm_eps)
        # pre = sigmoid(mix[:M] * scale[0] + base[:M]) + eps;  post = 2 sigmoid(mix[M: 2M] * scale[1] + base[M: 2M])
        for j in range(M):
            pre[j] = _sigmoid(logits[t, j] * norm * scale[0] + base[j]) + np.float32(eps)
            post[t, j] = np.float32(2) * _sigmoid(logits[t, M + j] * norm * scale[1] + base[M + j])
        # comb = mix[2M:] * scale[2] + base[2M:]
        for i in range(M):
            for j in range(M):
                n = (2 + i) * M + j
                lanes[i, j, t] = logits[t, n] * norm * scale[2] + base[n]
        _weighed_sum(pre, streams[t], u[t])
    _sinkhorn(lanes, iters, np.float32(eps))
    for t in range(T):
        for i in range(M):
            for j in range(M):
                comb[t, i, j] = lanes[i, j, t]


@njit(cache=True)
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
                comb[i, j, t] = math.exp(comb[i, j, t] - highest)
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


@njit(cache=True)
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


@njit(cache=True)
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


@njit(parallel=True, cache=True)
def _post_all(y, streams, post, comb, out):
    T = len(y)
    for block in prange((T + LANES - 1) // LANES):
        a, b = block * LANES, min(T, (block + 1) * LANES)
        _post(y[a:b], streams[a:b], post[a:b], comb[a:b], out[a:b])


@njit(cache=True, fastmath={"contract"})
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


@njit(parallel=True, cache=True)
def _head_all(streams, logits, base, scale, eps, norm_eps, u):
    T = len(streams)
    for block in prange((T + LANES - 1) // LANES):
        a, b = block * LANES, min(T, (block + 1) * LANES)
        _head(streams[a:b], logits[a:b], base, scale, eps, norm_eps, u[a:b])


@njit(cache=True)
def _head(streams, logits, base, scale, eps, norm_eps, u):
    T, M, _ = streams.shape
    weights = np.empty(M, np.float32)
    for t in range(T):
        # weights = sigmoid(mix * scale[0] + base) + eps
        norm = _inverse_rms(streams[t], norm_eps)
        for j in range(M):
            weights[j] = _sigmoid(logits[t, j] * norm * scale[0] + base[j]) + np.float32(eps)
        _weighed_sum(weights, streams[t], u[t])


@njit(cache=True, fastmath={"reassoc", "contract"})     # the order of a sum may change, NaN and infinity may not
def _inverse_rms(rows, eps):                            # [M, D] -> of all its numbers together
    M, D = rows.shape
    total = np.float32(0)
    for j in range(M):
        for d in range(D):
            total += rows[j, d] * rows[j, d]
    return np.float32(1) / np.sqrt(total / np.float32(M * D) + np.float32(eps))


@njit(cache=True, fastmath={"contract"})
def _weighed_sum(weights, rows, out):                   # [M], [M, D] -> out [D]
    M, D = rows.shape
    for d in range(D):
        out[d] = weights[0] * rows[0, d]
    for j in range(1, M):
        for d in range(D):
            out[d] += weights[j] * rows[j, d]


@njit(cache=True)
def _sigmoid(x):                                        # float32; beyond 88 the exponential would overflow
    return np.float32(1) / (np.float32(1) + np.float32(math.exp(min(-x, np.float32(88)))))
