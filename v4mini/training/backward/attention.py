"""Attention that keeps what its backward needs, and that backward. One softmax over window rows, entries and a sink.

A token's window is given by its first row: positions of training rows jump, and the window goes by position. Which entries
it sees is given as in ops/attention.py: `visible` [T] (the first so many) or `picks` [T, K] (-1: none). Some neighbours at a
time meet all keys that any of them sees, as one matrix product for all heads, and a mask decides.
Not here: the indexer (index.py), rotation (layers/attention.py).
"""

import numpy as np

NEIGHBOURS = 32                 # tokens that share a product: enough for BLAS, and few keys are scored in vain; changes no number


def attend_keeping(q, rows, sink, first, scale, entries=None, picks=None, visible=None, with_weights=False):
    """ops.attention.attend with windows that begin at row first[t]: -> out [T, H, hd], log_total [T, H], on_entries.

    q [T, H, hd]; rows [T, hd], the tokens' own; sink [H]; first [T], rising; entries [N, hd]. log_total is the logarithm
    of the softmax's denominator, sink included: any weight is exp(its logit - log_total). on_entries [T, N], if watched: how
    much each token takes from each entry, summed over heads, which the indexer learns to predict.
    """
    T, H, _ = q.shape
    out = np.empty_like(q)
    log_total = np.empty((T, H), q.dtype)
    on_entries = np.zeros((T, len(entries)), q.dtype) if with_weights else None
    for some, near, n, keys, seen in _blocks(rows, first, entries, picks, visible):
        logits = np.where(seen, q[some] @ keys.T, -np.inf) * scale                      # [t, H, S]
        highest = np.maximum(logits.max(axis=2), sink)
        p = np.exp(logits - highest[..., None])
        total = p.sum(axis=2) + np.exp(sink - highest)
        p /= total[..., None]
        out[some] = p @ keys
        log_total[some] = np.log(total) + highest
        if with_weights:
            on_entries[some, :n] = p[:, :, len(rows[near]):].sum(axis=1)
    return out, log_total, on_entries


def attend(g, q, rows, sink, first, scale, entries, picks, visible, out, log_total):
    """-> g_q [T, H, hd], g_rows [T, hd], g_sink [H], g_entries [N, hd] or None.

    out = sum_j p_j k_j,  p_j = exp(scale q . k_j - log_total):  with d = g . out (what all weights share),
    g_logit_j = p_j (g . k_j - d) scale,  g_sink = -p_sink d,  g_q = sum_j g_logit_j k_j.
    A row is key and value at once and collects both:  g_k_j = sum over tokens and heads of g_logit_j q + p_j g.
    """
    shared = np.einsum("thd,thd->th", g, out)                                           # d
    g_sink = -(np.exp(sink - log_total) * shared).sum(axis=0)
    g_q = np.empty_like(q)
    g_rows = np.zeros_like(rows)
    g_entries = None if entries is None else np.zeros_like(entries)
    for some, near, n, keys, seen in _blocks(rows, first, entries, picks, visible):
        p = np.exp(np.where(seen, q[some] @ keys.T * scale, -np.inf) - log_total[some, :, None])
        g_logits = p * (g[some] @ keys.T - shared[some, :, None]) * scale
        g_q[some] = g_logits @ keys
        g_keys = _flat(g_logits).T @ _flat(q[some]) + _flat(p).T @ _flat(g[some])
        g_rows[near] += g_keys[: len(rows[near])]
        if n:
            g_entries[:n] += g_keys[len(rows[near]):]
    return g_q, g_rows, g_sink, g_entries


def readable(N, picks, visible):                        # -> [T, N] bool
    """Which entries each token reads, whichever way it was said."""
    if picks is None:
        return np.arange(N) < visible[:, None]
    seen = np.zeros((len(picks), N + 1), bool)
    np.put_along_axis(seen, picks, True, axis=1)        # -1 falls into the last column
    return seen[:, :N]


def _blocks(rows, first, entries, picks, visible):
    """Neighbours: (their tokens, the rows that any of them sees, how many entries, all those keys [S, hd], seen [t, 1, S])."""
    T = len(rows)
    far = readable(0 if entries is None else len(entries), picks, np.zeros(T, np.int64) if visible is None else visible)
    for start in range(0, T, NEIGHBOURS):
        some = slice(start, min(T, start + NEIGHBOURS))
        near = slice(first[start], some.stop)
        own = np.arange(start, some.stop)[:, None]
        n = 0
        at = np.arange(near.start, near.stop)
        seen = (at >= first[some, None]) & (at <= own)
        keys = rows[near]
        if entries is not None:
            n = int(np.flatnonzero(far[some].any(axis=0)).max(initial=-1)) + 1
            seen, keys = np.concatenate([seen, far[some, :n]], axis=1), np.concatenate([keys, entries[:n]])
        yield some, near, n, keys, seen[:, None]


def _flat(x):                                           # [t, H, n] -> [t H, n]
    return x.reshape(-1, x.shape[2])
