"""Manifold-constrained hyper-connections: M residual streams, read, written and mixed by each sub-layer.

Not here: the sub-layers in between (layers/block.py).
"""

import numpy as np

from v4mini.ops.norm import inverse_rms


def sigmoid(x):                                         # [...] -> [...]
    """1 / (1 + exp(-x))."""
    with np.errstate(over="ignore"):                    # exp(-x) = inf gives 0, the right limit
        return np.float32(1) / (np.float32(1) + np.exp(-x))


def mixing_logits(streams, fn, norm_eps):               # [T, M, D], [n, M D] -> [T, n]
    """All streams of a token, as one row of root mean square 1, times fn. The norm comes last: fewer products."""
    flat = streams.reshape(len(streams), fn.shape[1])                                   # [T, M D]
    return (flat @ fn.T) * inverse_rms(flat, norm_eps)


def sinkhorn(logits, iters, eps):                       # [T, M, M] -> [T, M, M], positive, columns sum to 1
    """A softmax over each row, then columns and rows scaled in turn to sum to 1: nearly doubly stochastic.

    `iters` counts the softmax as the first row step; it ends on columns, so rows are only as good as convergence.
    Source: arXiv:2512.24880; reference inference/kernel.py, hc_split_sinkhorn.
    """
    eps = np.float32(eps)
    comb = np.exp(logits - logits.max(axis=2, keepdims=True))
    comb = comb / comb.sum(axis=2, keepdims=True) + eps
    comb = comb / (comb.sum(axis=1, keepdims=True) + eps)
    for _ in range(iters - 1):
        comb = comb / (comb.sum(axis=2, keepdims=True) + eps)
        comb = comb / (comb.sum(axis=1, keepdims=True) + eps)
    return comb


def hc_expand(h, M):                                    # [T, D], int -> [T, M, D]
    """The streams as they begin: M equal copies of a token's embedding.

    Source: reference inference/model.py, Transformer.forward.
    """
    return np.repeat(h[:, None, :], M, axis=1)


def hc_pre(streams, fn, base, scale, iters, eps, norm_eps):
    """What the sub-layer reads, and how its answer will be written back.

    streams [T, M, D]; fn [(2 + M) M, M D]; base [(2 + M) M]; scale [3]
    -> u [T, D] = sum_j pre_j stream_j;  post [T, M];  comb [T, M, M].
    Source: V4 report 2.2; reference inference/model.py, Block.hc_pre.
    """
    T, M, _ = streams.shape
    mix = mixing_logits(streams, fn, norm_eps)                                          # [T, (2 + M) M]
    pre = sigmoid(mix[:, :M] * scale[0] + base[:M]) + np.float32(eps)
    post = np.float32(2) * sigmoid(mix[:, M: 2 * M] * scale[1] + base[M: 2 * M])
    comb = sinkhorn((mix[:, 2 * M:] * scale[2] + base[2 * M:]).reshape(T, M, M), iters, eps)
    return np.matmul(pre[:, None, :], streams)[:, 0], post, comb


def hc_post(y, streams, post, comb):                    # [T, D], [T, M, D], [T, M], [T, M, M] -> [T, M, D]
    """Stream k becomes post_k * y + sum_j comb_jk * stream_j. Source: reference inference/model.py, Block.hc_post."""
    return post[:, :, None] * y[:, None, :] + np.matmul(comb.swapaxes(1, 2), streams)


def hc_head(streams, fn, base, scale, eps, norm_eps):   # [T, M, D] -> [T, D]
    """The streams weighed into one, before the final norm. Source: reference inference/model.py, ParallelHead.hc_head."""
    mix = mixing_logits(streams, fn, norm_eps)                                          # [T, M]
    weights = sigmoid(mix * scale[0] + base) + np.float32(eps)
    return np.matmul(weights[:, None, :], streams)[:, 0]
