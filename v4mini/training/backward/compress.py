"""Backward of ops/compress.py. Not here: rows from before the sequence; training reads whole sequences."""

import numpy as np


def pool(g, kv, score):                                 # [n, D], [n, slots, D] twice -> g_kv, g_score [n, slots, D]
    """row = sum_s p_s kv_s with p = softmax(score) over slots, channel by channel.

    g_kv_s = p_s g;  dp_s / dscore_u = p_s (1[s = u] - p_u), so  g_score_s = p_s (kv_s - row) g.
    """
    p = np.exp(score - score.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    g_kv = p * g[:, None]
    return g_kv, g_kv * (kv - (p * kv).sum(axis=1, keepdims=True))


def compress(g, kv, score, ratio, overlap=False):       # [n, D], [n ratio, C] twice -> g_kv, g_score [n ratio, C]
    """A token's last columns went into its own block's entry; where blocks overlap its first D went into the next one's."""
    n = len(g)
    C = kv.shape[1]
    if not n:
        return np.zeros_like(kv), np.zeros_like(score)
    kv, score = kv.reshape(n, ratio, C), score.reshape(n, ratio, C)
    if not overlap:
        return tuple(part.reshape(n * ratio, C) for part in pool(g, kv, score))
    D = C // 2
    slots = [np.concatenate([np.concatenate([np.full_like(part[:1, :, :D], none), part[:-1, :, :D]]), part[:, :, D:]], axis=1)
             for part, none in ((kv, 0), (score, -np.inf))]                             # [n, 2 ratio, D], as they were pooled
    return tuple(_to_tokens(part, ratio) for part in pool(g, *slots))


def _to_tokens(g, ratio):                               # [n, 2 ratio, D] -> [n ratio, 2 D]
    n, _, D = g.shape
    into_next = np.concatenate([g[1:, :ratio], np.zeros_like(g[:1, :ratio])])          # the last block has no next one
    return np.concatenate([into_next, g[:, ratio:]], axis=2).reshape(n * ratio, 2 * D)
