"""Twins of training/backward/mix.py: some tokens at a time, so that the streams come from memory once.

Not here: the derivations (training/backward/mix.py).
"""

import numpy as np

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out
from v4mini.kernels.vector import SIMD_WIDTH, add_products, exp, set_products, transpose

BLOCK = 1 << 16                 # numbers of the streams at a time: 256 KiB
MAX_SINKHORN_TOKENS = 64        # tokens at most, whose Sinkhorn steps run side by side in vector registers
ROWS_PER_THREAD = 64            # tokens a thread takes at a time
PARTS = 8                       # sums over tokens are made of so many, whatever the threads


def hc_post(g, y, streams, post, comb):                 # -> g_y [T, D], g_streams [T, M, D], g_post [T, M], g_comb [T, M, M]
    """Twin of training.backward.mix.hc_post. Threads share out tokens."""
    T, M, D = streams.shape
    for name, array, shape in (("g", g, (T, M, D)), ("y", y, (T, D)), ("post", post, (T, M)), ("comb", comb, (T, M, M))):
        check_shape(name, array, *shape)
    found = tuple(np.empty(shape, np.float32) for shape in ((T, D), (T, M, D), (T, M), (T, M, M)))
    share_out(_post, -(-T // ROWS_PER_THREAD), *map(as_floats, (g, y, streams, post, comb)), *found)
    return found


def hc_pre(g_u, g_post, g_comb, streams, hc, iters, eps, norm_eps):
    """Twin of training.backward.mix.hc_pre. -> g_streams, (g_fn, g_base, g_scale). Threads share out tokens."""
    T, M, D = streams.shape
    for name, array, shape in (("g_u", g_u, (T, D)), ("g_post", g_post, (T, M)), ("g_comb", g_comb, (T, M, M))):
        check_shape(name, array, *shape)
    given = as_floats(g_u), as_floats(g_post), as_floats(g_comb)
    return _back(given, streams, hc, (M, M, M * M), iters, eps, norm_eps)


def hc_head(g, streams, hc, eps, norm_eps):             # [T, D], [T, M, D] -> g_streams, (g_fn, g_base, g_scale)
    """Twin of training.backward.mix.hc_head. Threads share out tokens."""
    T, M, D = streams.shape
    check_shape("g", g, T, D)
    given = as_floats(g), np.empty((T, 0), np.float32), np.empty((T, 0, 0), np.float32)
    return _back(given, streams, hc, (M,), 1, eps, norm_eps)


def _back(given, streams, hc, parts, iters, eps, norm_eps):         # parts: how many columns share one scale
    T, M, D = streams.shape
    fn, base, scale = map(as_floats, hc)
    n = sum(parts)
    check_shape("hc fn", fn, n, M * D, hint="Is it from another config?")
    check_shape("hc base", base, n, hint="Is it from another config?")
    check_shape("hc scale", scale, len(parts), hint="Is it from another config?")
    g_streams, g_fn, sums = np.empty((T, M, D), np.float32), np.zeros((PARTS, *fn.shape), np.float32), np.zeros((PARTS, 2, n))
    fn_t = np.zeros((fn.shape[1], -(-n // SIMD_WIDTH) * SIMD_WIDTH), np.float32)
    fn_t[:, :n] = fn.T
    share_out(_part, PARTS, *given, as_floats(streams), fn, fn_t, base, np.repeat(scale, parts), iters, np.float32(eps),
              np.float32(norm_eps), g_streams, g_fn, sums)
    g_base, g_scales = np.float32(sums.sum(axis=0))
    return g_streams, (g_fn.sum(axis=0), g_base, np.add.reduceat(g_scales, np.cumsum((0, *parts[:-1]))))


@njit(nogil=True)
def _post(block, g, y, streams, post, comb, g_y, g_streams, g_post, g_comb):
    for t in range(block * ROWS_PER_THREAD, min(len(g), (block + 1) * ROWS_PER_THREAD)):
        _token_post(g[t], y[t], streams[t], post[t], comb[t], g_y[t], g_streams[t], g_post[t], g_comb[t])


@njit(error_model="numpy", fastmath={"reassoc", "contract"})    # the order of a sum may change, NaN may not
def _token_post(g, y, streams, post, comb, g_y, g_streams, g_post, g_comb):
    M, D = g.shape
    for j in range(M):
        # g_stream j = sum_k comb_jk g_k;  g_comb_jk = stream_j . g_k
        into, mine = g_streams[j], streams[j]
        for d in range(D):
            into[d] = comb[j, 0] * g[0, d]
        for k in range(1, M):
            for d in range(D):
                into[d] += comb[j, k] * g[k, d]
        for k in range(M):
            g_comb[j, k] = _dot(mine, g[k])
    # g_y = sum_k post_k g_k;  g_post_k = g_k . y
    for d in range(D):
        g_y[d] = post[0] * g[0, d]
    for k in range(1, M):
        for d in range(D):
            g_y[d] += post[k] * g[k, d]
    for k in range(M):
        g_post[k] = _dot(g[k], y)


@njit(error_model="numpy", fastmath={"reassoc", "contract"})
def _dot(a, b):
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(nogil=True)
def _part(part, g_u, g_post, g_comb, streams, fn, fn_t, base, scales, iters, eps, norm_eps, g_streams, g_fn, sums):
    """Every PARTS-th block of tokens: its rows of g_streams [T, M, D]; g_fn [n, M D], sums [2, n] of base and scales grow."""
    (T, M, _), (n, width) = streams.shape, fn.shape
    step, columns = max(SIMD_WIDTH, min(MAX_SINKHORN_TOKENS, BLOCK // width // SIMD_WIDTH * SIMD_WIDTH)), fn_t.shape[1]
    mix, g_a, across = np.empty((step, columns), np.float32), np.empty((step, n), np.float32), np.empty((n, step), np.float32)
    g_logits, read, pull = np.empty((step, n), np.float32), np.empty((step, M), np.float32), np.empty(step, np.float32)
    room = np.empty(2 * iters * step * n, np.float32)   # for every state of Sinkhorn's
    g_fn, sums = g_fn[part], sums[part]
    for a in range(part * step, T, PARTS * step):
        b = min(T, a + step)
        t = b - a
        flat, into = streams[a:b].reshape(t, width), g_streams[a:b]
        set_products(flat, fn_t, mix[:t])
        _logits_block(g_u[a:b], g_post[a:b], g_comb[a:b], streams[a:b], mix[:t], base, scales, iters, eps, norm_eps, g_a[:t],
                      g_logits[:t], read, pull, room)
        # g_stream j = g_logits @ fn + pre_j g_u - pull stream j;  g_fn = g_logits.T @ stream
        for i in range(t):
            _stream_back(g_u[a + i], streams[a + i], read[i], pull[i], into[i])
        add_products(g_logits[:t], fn, into.reshape(t, width))
        transpose(g_logits[:t], across)
        add_products(across[:, :t], flat, g_fn)
        for i in range(t):
            for k in range(n):
                sums[0, k] += g_a[i, k]
                sums[1, k] += g_a[i, k] * mix[i, k]


@njit(error_model="numpy")
def _logits_block(g_u, g_post, g_comb, streams, mix, base, scales, iters, eps, norm_eps, g_a, g_logits, read, pull,
                  room):
    """Up to MAX_SINKHORN_TOKENS tokens: mix comes in before its norm and is left with it."""
    T, M, D = streams.shape
    M2, n = g_comb.shape[1], len(base)                  # 0 streams to mix: the head
    one = np.float32(1)
    rho, lanes, g = np.empty(T, np.float32), np.empty((M2, M2, T), np.float32), np.empty((M2, M2, T), np.float32)
    for t in range(T):
        squares = np.float32(0)
        for j in range(M):
            squares += _dot(streams[t, j], streams[t, j])
        rho[t] = one / np.sqrt(squares / np.float32(M * D) + norm_eps)
        for i in range(n):
            mix[t, i] *= rho[t]
        # pre = sigmoid(a) + eps, g_pre = g_u . stream;  post = 2 sigmoid(a)
        for j in range(M):
            s = _sigmoid(mix[t, j] * scales[j] + base[j])
            read[t, j], g_a[t, j] = s + eps, _dot(g_u[t], streams[t, j]) * s * (one - s)
        for j in range(g_post.shape[1]):
            s = _sigmoid(mix[t, M + j] * scales[M + j] + base[M + j])
            g_a[t, M + j] = np.float32(2) * g_post[t, j] * s * (one - s)
        for i in range(M2):
            for j in range(M2):
                k = (2 + i) * M + j
                lanes[i, j, t], g[i, j, t] = mix[t, k] * scales[k] + base[k], g_comb[t, i, j]
    if M2:
        _sinkhorn(g, lanes, iters, eps, room)
    for t in range(T):
        for i in range(M2):
            for j in range(M2):
                g_a[t, (2 + i) * M + j] = g[i, j, t]
        # g_logits = rho scale g_a;  what a longer row takes away: rho^2 / len * sum(g mix)
        total = np.float32(0)
        for i in range(n):
            g_mix = g_a[t, i] * scales[i]
            g_logits[t, i] = g_mix * rho[t]
            total += g_mix * mix[t, i]
        pull[t] = total * rho[t] * rho[t] / np.float32(M * D)


@njit(error_model="numpy")
def _sinkhorn(g, comb, iters, eps, room):               # g, comb [M, M, T] in place: g of the result -> g of the logits
    """Forward with every state and divisor kept, then back through each division."""
    M, _, T = comb.shape
    kept, shares = room[: 2 * iters * M * M * T].reshape(2 * iters, M, M, T), np.empty((2 * iters, M, T), np.float32)
    for i in range(M):
        for t in range(T):
            highest = comb[i, 0, t]
            for j in range(1, M):
                highest = max(highest, comb[i, j, t])
            for j in range(M):
                comb[i, j, t] = exp(comb[i, j, t] - highest)
    for step in range(2 * iters):                       # rows, columns, rows, ...; the first is the softmax
        _divide(comb, step % 2, np.float32(0) if step == 0 else eps, shares[step])
        for i in range(M):
            for j in range(M):
                for t in range(T):
                    kept[step, i, j, t] = comb[i, j, t]
                    if step == 0:
                        comb[i, j, t] += eps
    for step in range(2 * iters - 1, 0, -1):
        _divide_back(g, kept[step], step % 2, shares[step])
    # through the softmax: g = p * (g - sum(g * p))
    for i in range(M):
        for t in range(T):
            shares[0, i, t] = 1
    _divide_back(g, kept[0], np.int64(0), shares[0])
    for i in range(M):
        for j in range(M):
            for t in range(T):
                g[i, j, t] *= kept[0, i, j, t]


@njit(error_model="numpy")
def _divide(comb, by_column, eps, shares):              # comb *= shares, 1 / (sum of a row or column + eps)
    M, _, T = comb.shape
    for i in range(M):
        share = shares[i]
        for t in range(T):
            share[t] = eps
        for j in range(M):
            line = comb[j, i] if by_column else comb[i, j]
            for t in range(T):
                share[t] += line[t]
        for t in range(T):
            share[t] = np.float32(1) / share[t]
        for j in range(M):
            line = comb[j, i] if by_column else comb[i, j]
            for t in range(T):
                line[t] *= share[t]


@njit(error_model="numpy")
def _divide_back(g, after, by_column, shares):          # g = (g - sum(g * after)) * shares, along a row or column
    M, _, T = g.shape
    common = np.empty(T, np.float32)
    for i in range(M):
        for t in range(T):
            common[t] = 0
        for j in range(M):
            line, result = (g[j, i], after[j, i]) if by_column else (g[i, j], after[i, j])
            for t in range(T):
                common[t] += line[t] * result[t]
        for j in range(M):
            line = g[j, i] if by_column else g[i, j]
            for t in range(T):
                line[t] = (line[t] - common[t]) * shares[i, t]


@njit(error_model="numpy", fastmath={"contract"})
def _stream_back(g_u, streams, read, pull, g_streams):
    M, D = streams.shape
    for j in range(M):
        into, mine = g_streams[j], streams[j]
        for d in range(D):
            into[d] = read[j] * g_u[d] - pull * mine[d]


@njit(error_model="numpy")
def _sigmoid(x):                                        # float32
    return np.float32(1) / (np.float32(1) + exp(-x))
