"""Attention that keeps what its backward needs, and that backward. One softmax over window rows, entries and a sink.

A token's window is given by its first row: positions of training rows jump, and the window goes by position. Which entries
it sees is given as in ops/attention.py: `visible` [T] (the first so many) or `picks` [T, K] (-1: none). Some neighbours at a
time meet all keys that any of them sees, as one matrix product for all heads, and a mask decides.
Not here: the indexer (index.py), rotation (layers/attention.py).
"""

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 32                 # tokens that share a product: enough for BLAS, and few keys are scored in vain
LOGITS_AT_ONCE = 1 << 22        # bounds scratch memory; neither changes a number


def weigh(logits, seen, sink, scale):                   # [T, H, S], [T, S] bool, [H] -> weights [T, H, S], log_total [T, H]
    """Softmax of the scaled logits and the sink, where seen. May overwrite `logits`, which hold anything where not seen."""
    logits = np.where(seen[:, None], logits, -np.inf) * logits.dtype.type(scale)
    highest = np.maximum(logits.max(axis=2), sink)
    p = np.exp(logits - highest[..., None])
    total = p.sum(axis=2) + np.exp(sink - highest)
    return p / total[..., None], np.log(total) + highest


def weigh_back(logits, g_p, seen, log_total, shared, scale):            # [T, H, S] twice, [T, S] bool, [T, H] twice
    """-> the weights again, and the gradient of q . k, both [T, H, S]. May overwrite `logits` and `g_p`."""
    scale, seen = logits.dtype.type(scale), seen[:, None]
    p = np.exp(np.where(seen, logits, -np.inf) * scale - log_total[..., None])
    return p, p * (np.where(seen, g_p, 0) - shared[..., None]) * scale


def attend_keeping(q, rows, sink, first, scale, entries=None, picks=None, visible=None, watch=False, weigh=weigh):
    """ops.attention.attend with windows that begin at row first[t]: -> out [T, H, hd], log_total [T, H], on_entries.

    q [T, H, hd]; rows [T, hd], the tokens' own; sink [H]; first [T], rising; entries [N, hd]. log_total is the logarithm
    of the softmax's denominator, sink included: any weight is exp(its logit - log_total). on_entries [T, N], if watched: how
    much each token takes from each entry, summed over heads, which the indexer learns to foretell.
    """
    T, H, hd = q.shape
    out, log_total = np.empty_like(q), np.empty((T, H), q.dtype)
    on_entries = np.zeros((T, len(entries)), q.dtype) if watch else None
    for part in _parts(q, rows, first, entries, picks, visible):
        p, log_total[part.tokens] = weigh(part.products(q), part.seen, sink, scale)
        for t, keys, _, _ in part.chunks():
            np.matmul(part.flat(p, t, len(keys)), keys, out=_flat(out[t]))
        if watch:
            np.sum(p[:, :, part.width:], axis=1, out=on_entries[part.tokens, : p.shape[2] - part.width])
    return out, log_total, on_entries


def attend(g, q, rows, sink, first, scale, entries, picks, visible, out, log_total, weigh_back=weigh_back):
    """-> g_q [T, H, hd], g_rows [T, hd], g_sink [H], g_entries [N, hd] or None.

    out = sum_j p_j k_j,  p_j = exp(scale q . k_j - log_total):  with d = g . out (what all weights share),
    g_logit_j = p_j (g . k_j - d) scale,  g_sink = -p_sink d,  g_q = sum_j g_logit_j k_j.
    A row is key and value at once and collects both:  g_k_j = sum over tokens and heads of g_logit_j q + p_j g.
    """
    shared = np.einsum("thd,thd->th", g, out)                                           # d
    g_sink = -(np.exp(sink - log_total) * shared).sum(axis=0)
    g_q, g_entries = np.empty_like(q), None if entries is None else np.zeros_like(entries)
    g_rows = None
    for part in _parts(q, rows, first, entries, picks, visible):
        if g_rows is None:
            g_rows = np.zeros_like(part.rows)
        some = part.tokens
        p, g_logits = weigh_back(part.products(q), part.products(g), part.seen, log_total[some], shared[some], scale)
        for t, keys, near, n in part.chunks():
            g_mine, p_mine = (part.flat(a, t, len(keys)) for a in (g_logits, p))
            np.matmul(g_mine, keys, out=_flat(g_q[t]))
            g_keys = g_mine.T @ _flat(q[t])
            g_keys += p_mine.T @ _flat(g[t])
            g_rows[near] += g_keys[: part.width]
            if n:
                g_entries[:n] += g_keys[part.width:]
    return g_q, np.zeros_like(rows) if g_rows is None else g_rows[len(g_rows) - len(rows):], g_sink, g_entries


def readable(N, picks, visible):                        # -> [T, N] bool
    """Which entries each token reads, whichever way it was said."""
    if picks is None:
        return np.arange(N) < visible[:, None]
    seen = np.zeros((len(picks), N + 1), bool)
    np.put_along_axis(seen, picks, True, axis=1)        # -1 falls into the last column
    return seen[:, :N]


@dataclass(frozen=True)
class _Part:
    """As many tokens as scratch memory allows. Their logits have `width` columns for the window, then one for each entry."""

    tokens: slice
    width: int
    rows: np.ndarray            # [width + T, hd], zeros before the first: then every window is as wide
    entries: np.ndarray         # [N, hd]
    seen: np.ndarray            # [t, width + N'], N' of the entries being seen by any of these tokens

    def chunks(self):
        """Neighbours: (tokens, keys [width + n, hd], which of `rows` those begin with, n entries that any of them sees)."""
        for start in range(self.tokens.start, self.tokens.stop, NEIGHBOURS):
            t = slice(start, min(self.tokens.stop, start + NEIGHBOURS))
            near, seen = slice(t.stop, t.stop + self.width), self.seen[start - self.tokens.start: t.stop - self.tokens.start]
            n = int(np.flatnonzero(seen[:, self.width:].any(axis=0)).max(initial=-1)) + 1
            yield t, np.concatenate([self.rows[near], self.entries[:n]]), near, n

    def products(self, q):                              # [T, H, hd] -> [t, H, width + N'], anything where no neighbour sees
        """q . key, for every key of the chunk that a token is in."""
        out = np.empty((len(self.seen), q.shape[1], self.seen.shape[1]), q.dtype)
        for t, keys, _, _ in self.chunks():
            np.matmul(_flat(q[t]), keys.T, out=self.flat(out, t, len(keys)))
        return out

    def flat(self, a, t, n):                            # [t, H, S] -> view [tokens of the chunk times H, n]
        """A chunk's share: its tokens and heads alike are rows, its keys columns."""
        mine = a[t.start - self.tokens.start: t.stop - self.tokens.start]
        return mine.reshape(-1, mine.shape[2])[:, :n]


def _parts(q, rows, first, entries, picks, visible):    # -> _Part, ...
    (T, H, hd), starts = q.shape, np.arange(0, len(q), NEIGHBOURS)
    width = int((np.minimum(starts + NEIGHBOURS, T) - first[starts]).max(initial=1))
    rows = np.concatenate([np.zeros((width, hd), rows.dtype), rows])
    entries = np.empty((0, hd), q.dtype) if entries is None else entries
    far = readable(len(entries), picks, np.zeros(T, np.int64) if visible is None else visible)
    at_once = max(1, LOGITS_AT_ONCE // (H * (width + len(entries))) // NEIGHBOURS) * NEIGHBOURS
    for start in range(0, T, at_once):
        t = np.arange(start, min(T, start + at_once))
        at = np.minimum(t // NEIGHBOURS * NEIGHBOURS + NEIGHBOURS, T)[:, None] - width + np.arange(width)       # column -> row
        near = (at >= first[t, None]) & (at <= t[:, None])
        n = int(np.flatnonzero(far[t].any(axis=0)).max(initial=-1)) + 1
        yield _Part(slice(start, start + len(t)), width, rows, entries, np.concatenate([near, far[t, :n]], axis=1))


def _flat(x):                                           # [t, H, n] -> [t H, n]
    return x.reshape(-1, x.shape[2])
