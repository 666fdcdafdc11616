"""Manifold-constrained hyper-connections: what a sub-layer reads from M residual streams, and how its answer is written back.

Not here: the sub-layers in between; the head that joins the streams at the end (torch does it, once a pass).
"""

import triton
import triton.language as tl


@triton.jit
def hc_pre(streams, fn, base, scale, weight, u, post, comb, eps, norm_eps,
           M: tl.constexpr, D: tl.constexpr, ITERS: tl.constexpr, BD: tl.constexpr, NORMED: tl.constexpr):
    """streams [T, M, D], fn [(2 + M) M, M D], base [(2 + M) M], scale [3] -> u [T, D], post [T, M], comb [T, M, M], all float32.

    streams may be bfloat16; the rest is float32. NORMED: u goes on through the RMS norm of `weight` [D] that every sub-layer
    begins with. ITERS rounds of Sinkhorn, the softmax counted as the first row step. BD divides D. Grid (T,).
    Reference: v4mini.ops.mix.hc_pre, ops.norm.rms_norm. Source: V4 report 2.2; reference inference/kernel.py, hc_split_sinkhorn.
    """
    t = tl.program_id(0)
    j = tl.arange(0, M)
    d = tl.arange(0, BD)
    to_pre = tl.zeros((M, BD), tl.float32)
    to_post = tl.zeros((M, BD), tl.float32)
    to_comb = tl.zeros((M, M, BD), tl.float32)
    square = tl.zeros((BD,), tl.float32)
    for start in range(0, M * D, BD):
        x = tl.load(streams + t * M * D + start + d).to(tl.float32)
        square += x * x
        to_pre += tl.load(fn + j[:, None] * M * D + start + d[None, :]) * x[None, :]
        to_post += tl.load(fn + (M + j[:, None]) * M * D + start + d[None, :]) * x[None, :]
        which = 2 * M + j[:, None, None] * M + j[None, :, None]
        to_comb += tl.load(fn + which * M * D + start + d[None, None, :]) * x[None, None, :]
    inverse = 1.0 / tl.sqrt(tl.sum(square, 0) / (M * D) + norm_eps)
    pre = tl.sum(to_pre, 1) * inverse * tl.load(scale) + tl.load(base + j)
    pre = 1.0 / (1.0 + tl.exp(-pre)) + eps
    aft = tl.sum(to_post, 1) * inverse * tl.load(scale + 1) + tl.load(base + M + j)
    tl.store(post + t * M + j, 2.0 / (1.0 + tl.exp(-aft)))
    c = tl.sum(to_comb, 2) * inverse * tl.load(scale + 2) + tl.load(base + 2 * M + j[:, None] * M + j[None, :])
    c = tl.exp(c - tl.max(c, 1)[:, None])
    c = c / tl.sum(c, 1)[:, None] + eps
    c = c / (tl.sum(c, 0)[None, :] + eps)
    for _ in range(ITERS - 1):
        c = c / (tl.sum(c, 1)[:, None] + eps)
        c = c / (tl.sum(c, 0)[None, :] + eps)
    tl.store(comb + t * M * M + j[:, None] * M + j[None, :], c)

    unit = 1.0
    if NORMED:
        square = tl.zeros((BD,), tl.float32)
        for start in range(0, D, BD):
            x = tl.load(streams + t * M * D + j[:, None] * D + start + d[None, :]).to(tl.float32)
            read = tl.sum(x * pre[:, None], 0)
            square += read * read
        unit = 1.0 / tl.sqrt(tl.sum(square, 0) / D + norm_eps)
    for start in range(0, D, BD):
        x = tl.load(streams + t * M * D + j[:, None] * D + start + d[None, :]).to(tl.float32)
        read = tl.sum(x * pre[:, None], 0)
        if NORMED:
            read = read * unit * tl.load(weight + start + d)
        tl.store(u + t * D + start + d, read)


@triton.jit
def hc_post(y, streams, post, comb, out, M: tl.constexpr, D: tl.constexpr, BD: tl.constexpr):
    """Stream k becomes post_k * y + sum_j comb_jk * stream_j.

    y [T, D], streams [T, M, D], post [T, M], comb [T, M, M] float32 -> out [T, M, D]. BD divides D. Grid (T, D / BD).
    Reference: v4mini.ops.mix.hc_post. Source: reference inference/model.py, Block.hc_post.
    """
    t = tl.program_id(0)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    k = tl.arange(0, M)
    acc = tl.load(post + t * M + k)[:, None] * tl.load(y + t * D + d).to(tl.float32)[None, :]
    for j in tl.static_range(M):
        x = tl.load(streams + (t * M + j) * D + d).to(tl.float32)
        acc += tl.load(comb + (t * M + j) * M + k)[:, None] * x[None, :]
    tl.store(out + (t * M + k[:, None]) * D + d[None, :], acc.to(out.dtype.element_ty))
