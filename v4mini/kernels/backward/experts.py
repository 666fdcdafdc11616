"""Twins of training/backward/experts.py: each expert's tokens some rows at a time, from one product to the next in the cache.

Not here: the derivation, which tokens are whose (both training/backward/experts.py).
"""

import numpy as np

from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.experts import swiglu
from v4mini.kernels.schedule import share_out
from v4mini.kernels.vector import add_products, exp, set_products, transpose

ROWS_PER_THREAD = 64            # rows of a sum that a thread takes at a time
TOKENS_PER_BLOCK = 64           # tokens of a block
STRIP = 32                      # rows of a gradient that one thread makes at a time
PARTS = 16                      # of all blocks or strips, dealt to as many parts; a thread takes one after the other


def experts_keeping(x, groups, weight, pool, limit, rounded):       # -> y [T, D], (gate, up, h)
    """Twin of training.backward.experts.experts_keeping. Threads share out blocks of rows."""
    n, (D, inter) = len(groups.tokens), _sizes(x, groups, weight, pool)
    w1, w2, w3 = map(_transposed, pool)
    gate, up, z = np.empty((n, inter), np.float32), np.empty((n, inter), np.float32), np.empty((n, D), np.float32)
    blocks = _blocks(groups.starts)
    share_out(_up, PARTS, as_floats(x), as_plain(groups.tokens, np.int64), blocks, w1, w3, gate, up)
    h = rounded(swiglu(gate, up, limit, weight))
    share_out(_down, PARTS, as_floats(h), blocks, w2, z)
    return _sum(z, groups.place), (gate, up, h)


def experts(g, x, groups, weight, pool, limit, kept):   # -> g_x [T, D], g_weight [n], (g_w1, g_w2, g_w3), each [E, ...]
    """Twin of training.backward.experts.experts. Threads share out blocks of rows, then rows of the gradients."""
    n, (D, inter) = len(groups.tokens), _sizes(x, groups, weight, pool)
    check_shape("g", g, *x.shape)
    (gate, up, h), (w1, w2, w3) = map(as_floats, kept), (np.stack(part).astype(np.float32, copy=False) for part in pool)
    rows, g_rows, g_x = (np.empty((n, D), np.float32) for _ in range(3))
    g_gate, g_up, g_weight = np.empty((n, inter), np.float32), np.empty((n, inter), np.float32), np.empty(n, np.float32)
    tokens, blocks, most = as_plain(groups.tokens, np.int64), _blocks(groups.starts), np.float32(limit if limit > 0 else np.inf)
    share_out(_back, PARTS, as_floats(g), as_floats(x), tokens, blocks, w1, w2, w3, gate, up, as_floats(weight), most, rows,
              g_rows, g_gate, g_up, g_weight, g_x)
    parts = tuple(_gradients(groups.starts, *pair) for pair in ((g_gate, rows), (g_rows, h), (g_up, rows)))
    return _sum(g_x, groups.place), g_weight, parts


def _sizes(x, groups, weight, pool):                    # -> D, inter
    (T, D), inter = x.shape, pool[0][0].shape[0]
    check_shape("place", groups.place, T, groups.place.shape[1])
    check_shape("weight", weight, len(groups.tokens))
    for part, shape in zip(pool, ((inter, D), (D, inter), (inter, D))):
        for matrix in part:
            check_shape("expert", matrix, *shape, hint="Is it another model's?")
    return D, inter


def _blocks(starts):                                    # [E + 1] -> [blocks, 3]: an expert, and from where to where its rows go
    ranges = zip(starts.tolist(), starts[1:].tolist())
    return np.array([(e, row, min(stop, row + TOKENS_PER_BLOCK)) for e, (start, stop) in enumerate(ranges)
                     for row in range(start, stop, TOKENS_PER_BLOCK)], np.int64).reshape(-1, 3)


def _transposed(matrices):                              # E of [a, b] -> [E, b, a]
    out = np.empty((len(matrices), *matrices[0].shape[::-1]), np.float32)
    for matrix, transposed in zip(matrices, out):
        _transpose(as_floats(matrix), transposed)
    return out


def _sum(z, place):                                     # [n, D], [T, K] -> [T, D]: each token's rows added up, in their order
    if place.shape[1] == 1:
        return z if len(z) and (place[:, 0] == np.arange(len(z))).all() else z[place[:, 0]]
    y = np.empty((len(place), z.shape[1]), np.float32)
    share_out(_collect, -(-len(place) // ROWS_PER_THREAD), z, as_plain(place, np.int64), y)
    return y


def _gradients(starts, g, x):                           # [E + 1], [n, a], [n, b] -> [E, a, b]; 0 for an expert that nobody chose
    out = np.empty((len(starts) - 1, g.shape[1], x.shape[1]), np.float32)
    share_out(_products, PARTS, as_plain(starts, np.int64), g, x, out)
    return out


@njit
def _transpose(matrix, out):
    transpose(matrix, out)


@njit(nogil=True)
def _collect(block, z, place, y):
    for t in range(block * ROWS_PER_THREAD, min(len(place), (block + 1) * ROWS_PER_THREAD)):
        for d in range(z.shape[1]):
            y[t, d] = z[place[t, 0], d]
        for k in range(1, place.shape[1]):
            for d in range(z.shape[1]):
                y[t, d] += z[place[t, k], d]


@njit(nogil=True)
def _up(part, x, tokens, blocks, w1, w3, gate, up):     # w [E, D, inter]
    rows = np.empty((TOKENS_PER_BLOCK, x.shape[1]), np.float32)
    for block in range(part, len(blocks), PARTS):
        e, a, b = blocks[block]
        _gather(x, tokens[a:b], rows)
        set_products(rows[: b - a], w1[e], gate[a:b])
        set_products(rows[: b - a], w3[e], up[a:b])


@njit
def _gather(x, tokens, rows):                           # x[tokens] -> rows
    for i in range(len(tokens)):
        for d in range(x.shape[1]):
            rows[i, d] = x[tokens[i], d]


@njit(nogil=True)
def _down(part, h, blocks, w2, z):                      # w [E, inter, D]
    for block in range(part, len(blocks), PARTS):
        e, a, b = blocks[block]
        set_products(h[a:b], w2[e], z[a:b])


@njit(nogil=True)
def _back(part, g, x, tokens, blocks, w1, w2, w3, gate, up, weight, limit, rows, g_rows, g_gate, g_up, g_weight, g_x):
    g_hidden = np.empty((TOKENS_PER_BLOCK, gate.shape[1]), np.float32)
    for block in range(part, len(blocks), PARTS):
        e, a, b = blocks[block]
        _gather(x, tokens[a:b], rows[a:b])
        _gather(g, tokens[a:b], g_rows[a:b])
        # g_h = g @ w2;  g_x = g_gate @ w1 + g_up @ w3
        set_products(g_rows[a:b], w2[e], g_hidden[: b - a])
        for i in range(a, b):
            g_weight[i] = _row(g_hidden[i - a], gate[i], up[i], limit, weight[i], g_gate[i], g_up[i])
        set_products(g_gate[a:b], w1[e], g_x[a:b])
        add_products(g_up[a:b], w3[e], g_x[a:b])


@njit(nogil=True)
def _products(part, starts, g, x, out):                 # g.T @ x of each expert's rows
    E, height, _ = out.shape
    across, strips = np.empty((STRIP, TOKENS_PER_BLOCK), np.float32), (height + STRIP - 1) // STRIP
    for unit in range(part, E * strips, PARTS):
        e, low = unit // strips, unit % strips * STRIP
        high = min(height, low + STRIP)
        for r in range(low, high):
            for k in range(out.shape[2]):
                out[e, r, k] = 0
        for a in range(starts[e], starts[e + 1], TOKENS_PER_BLOCK):
            b = min(starts[e + 1], a + TOKENS_PER_BLOCK)
            transpose(g[a:b, low:high], across)
            add_products(across[: high - low, : b - a], x[a:b], out[e, low:high])


@njit(error_model="numpy", fastmath={"reassoc", "contract"})   # the order of the sum may change, NaN may not
def _row(g, gate, up, most, weight, g_gate, g_up):      # -> g_weight
    one, total = np.float32(1), np.float32(0)
    for i in range(len(g)):
        # a = minimum(gate, limit);  b = clip(up, -limit, limit);  s = a * sigma(a)
        a = most if gate[i] > most else gate[i]
        b = most if up[i] > most else -most if up[i] < -most else up[i]
        sigma = one / (one + exp(-a))
        s, g_hidden = a * sigma, g[i] * weight
        # nothing comes back through what was cut
        g_gate[i] = np.float32(0) if gate[i] > most else g_hidden * b * sigma * (one + a * (one - sigma))
        g_up[i] = np.float32(0) if up[i] > most or up[i] < -most else g_hidden * s
        total += g[i] * s * b
    return total
