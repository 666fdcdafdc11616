"""Backward of ops/mix.py: reading, writing and mixing the residual streams.

Not here: the sub-layers in between (layers/block.py).
"""

import numpy as np

from v4mini.ops.mix import sigmoid
from v4mini.ops.norm import inverse_rms


def hc_post(g, y, streams, post, comb):                 # -> g_y [T, D], g_streams [T, M, D], g_post [T, M], g_comb [T, M, M]
    """out_k = post_k y + sum_j comb_jk s_j:

    g_y = sum_k post_k g_k,  g_s_j = sum_k comb_jk g_k,  g_post_k = g_k . y,  g_comb_jk = s_j . g_k.
    """
    g_y = np.matmul(post[:, None, :], g)[:, 0]
    return g_y, np.matmul(comb, g), np.matmul(g, y[:, :, None])[..., 0], np.matmul(streams, g.swapaxes(1, 2))


def hc_pre(g_u, g_post, g_comb, streams, hc, iters, eps, norm_eps):
    """u = sum_j pre_j s_j with pre, post, comb from one row of logits: -> g_streams, (g_fn, g_base, g_scale).

    g_s_j = pre_j g_u + what comes through the logits;  g_pre_j = g_u . s_j. With a = scale mix + base:
    pre = sigmoid(a) + eps, post = 2 sigmoid(a), comb = sinkhorn(a).
    """
    fn, base, scale = hc
    T, M, _ = streams.shape
    mix, rho = _mixing(streams, fn, norm_eps)
    pre = sigmoid(mix[:, :M] * scale[0] + base[:M])
    half = sigmoid(mix[:, M: 2 * M] * scale[1] + base[M: 2 * M])                        # post / 2
    g_a = np.empty_like(mix)
    g_a[:, :M] = np.matmul(streams, g_u[:, :, None])[..., 0] * pre * (1 - pre)
    g_a[:, M: 2 * M] = g_post * 2 * half * (1 - half)
    logits = (mix[:, 2 * M:] * scale[2] + base[2 * M:]).reshape(T, M, M)
    g_a[:, 2 * M:] = sinkhorn(g_comb, logits, iters, eps).reshape(T, M * M)
    parts = np.repeat(np.arange(3), (M, M, M * M))                                      # whose scale a column takes
    g_scale = np.add.reduceat((g_a * mix).sum(axis=0), (0, M, 2 * M))
    g_streams, g_fn = _mixing_back(g_a * scale[parts], streams, fn, mix, rho)
    g_streams += (pre + streams.dtype.type(eps))[:, :, None] * g_u[:, None, :]
    return g_streams, (g_fn, g_a.sum(axis=0), g_scale)


def hc_head(g, streams, hc, eps, norm_eps):             # [T, D], [T, M, D] -> g_streams, (g_fn, g_base, g_scale)
    """The same for the head, which reads only."""
    fn, base, scale = hc
    mix, rho = _mixing(streams, fn, norm_eps)
    weights = sigmoid(mix * scale[0] + base)
    g_a = np.matmul(streams, g[:, :, None])[..., 0] * weights * (1 - weights)
    g_streams, g_fn = _mixing_back(g_a * scale[0], streams, fn, mix, rho)
    g_streams += (weights + streams.dtype.type(eps))[:, :, None] * g[:, None, :]
    return g_streams, (g_fn, g_a.sum(axis=0), (g_a * mix).sum(keepdims=True)[0])


def sinkhorn(g, logits, iters, eps):                    # [T, M, M] twice -> g_logits [T, M, M]
    """Forward again with every state kept, then back through each division.

    y_j = x_j / (sum x + eps):  g_x_j = (g_j - sum_i g_i y_i) / (sum x + eps), along whatever axis was summed.
    """
    eps = logits.dtype.type(eps)
    comb = np.exp(logits - logits.max(axis=2, keepdims=True))
    total = comb.sum(axis=2, keepdims=True)
    softmax = comb / total
    comb = softmax + eps
    kept = []                                           # (axis, divisor, result) of each division after the softmax
    for axis in (1, *(2, 1) * (iters - 1)):
        total = comb.sum(axis=axis, keepdims=True) + eps
        comb = comb / total
        kept.append((axis, total, comb))
    for axis, total, after in reversed(kept):
        g = (g - (g * after).sum(axis=axis, keepdims=True)) / total
    return softmax * (g - (g * softmax).sum(axis=2, keepdims=True))


def _mixing(streams, fn, norm_eps):                     # -> mix = rho (v fn^T) [T, n], rho [T, 1]
    flat = streams.reshape(len(streams), fn.shape[1])
    rho = inverse_rms(flat, norm_eps)
    return (flat @ fn.T) * rho, rho


def _mixing_back(g, streams, fn, mix, rho):             # [T, n] -> g_streams [T, M, D], g_fn [n, M D]
    """mix = rho L, L = fn v:  g_L = rho g;  g_v = g_L fn - (sum g mix) rho^2 v / len(v), since drho / dv = -rho^3 v / len(v)."""
    flat = streams.reshape(len(streams), fn.shape[1])
    g_logits = g * rho
    g_flat = g_logits @ fn - flat * ((g * mix).sum(axis=1, keepdims=True) * rho * rho / flat.dtype.type(flat.shape[1]))
    return g_flat.reshape(streams.shape), g_logits.T @ flat
