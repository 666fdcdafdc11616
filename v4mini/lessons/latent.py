"""Attention as it was before V4, for lesson 04: what each kind keeps of a token, and what it does with it.

    grouped_attention       H query heads, G pairs of key and value.  G = H: MHA;  1 < G < H: GQA;  G = 1: MQA
    latent_rows             MLA (V2, V3): one row per token for all heads, latent numbers and turned ones
    mla_decompressed        each head makes its keys and values of the rows, then it is MHA
    mla_absorbed            each head changes its query instead, then it is MQA: the same numbers
    index_inputs            V3.2: what its lightning indexer compares; ops.index.index_topk then chooses the rows
    mla_layer               all of it, from [T, D] to [T, D]

Names of weights are those of DeepSeek's own script for V3 and V3.2 (inference/model.py, classes MLA and Indexer).
Not here: V4's attention (ops/attention.py, layers/attention.py), which uses none of this.
"""

from dataclasses import dataclass

import numpy as np

from v4mini.ops.index import index_topk
from v4mini.ops.norm import rms_norm
from v4mini.ops.rope import rope


@dataclass(frozen=True)
class MLA:
    """One layer's weights, [out, in]. H heads, each of `nope` + `turned` numbers against keys, `v` numbers of value."""

    wq_a: np.ndarray        # [q_lora, D]
    q_norm: np.ndarray      # [q_lora]
    wq_b: np.ndarray        # [H (nope + turned), q_lora]
    wkv_a: np.ndarray       # [latent + turned, D]
    kv_norm: np.ndarray     # [latent]
    wkv_b: np.ndarray       # [H (nope + v), latent]: of each head first what makes its key, then what makes its value
    wo: np.ndarray          # [D, H v]


def random_mla(rng, dim, n_heads, nope, turned, v, latent, q_lora):     # -> MLA, float32
    """Weights that keep rows about as large as they were."""
    def matrix(out, width):
        return rng.standard_normal((out, width), dtype=np.float32) * np.float32(width**-0.5)

    return MLA(matrix(q_lora, dim), np.ones(q_lora, np.float32), matrix(n_heads * (nope + turned), q_lora),
               matrix(latent + turned, dim), np.ones(latent, np.float32), matrix(n_heads * (nope + v), latent),
               matrix(dim, n_heads * v))


@dataclass(frozen=True)
class Indexer:
    """V3.2's addition to such a layer."""

    wq_b: np.ndarray            # [Hi di, q_lora]
    wk: np.ndarray              # [di, D]
    k_norm: np.ndarray          # [di], of a LayerNorm
    k_norm_bias: np.ndarray     # [di]
    weights_proj: np.ndarray    # [Hi, D]


def causal(T, S):                                       # -> bool [T, S]: the last T of S tokens, who may read whom
    """Row t is token S - T + t; it may read itself and all before it."""
    return np.arange(S) <= np.arange(S - T, S)[:, None]


def grouped_attention(q, k, v, scale, may_read):        # [T, H, d], [S, G, d], [S, G, dv] -> [T, H, dv]
    """Head h reads keys and values of group h // (H / G); a softmax over the rows that may_read, bool [T, S], allows.

    Source: arXiv:1706.03762 (G = H), arXiv:1911.02150 (G = 1), arXiv:2305.13245 (between).
    """
    T, H, d = q.shape
    S, G, _ = k.shape
    teams = q.reshape(T, G, H // G, d)                                      # neighbours share a group
    logits = np.einsum("tgjd,sgd->tgjs", teams, k, optimize=True) * scale   # [T, G, H / G, S]
    logits = np.where(may_read[:, None, None, :], logits, -np.inf)
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("tgjs,sgv->tgjv", weights, v, optimize=True).reshape(T, H, v.shape[2])


def latent_rows(x, w, positions, freqs, eps=1e-6):      # [T, D] -> [T, latent + turned]
    """All that MLA keeps of a token: the norm of `latent` numbers, and a few that are turned by the position."""
    latent = len(w.kv_norm)
    rows = x @ w.wkv_a.T
    rows = np.concatenate([rms_norm(rows[:, :latent], w.kv_norm, eps), rows[:, latent:]], axis=1)
    return rope(rows, positions, freqs)                                                 # the last 2 len(freqs) numbers


def mla_decompressed(q, rows, wkv_b, scale, may_read):      # [T, H, nope + turned], [S, latent + turned]
    """-> [T, H, v]. Make of each row a key and a value for every head, then MHA. DeepSeek does so with a prompt."""
    H, latent = q.shape[1], wkv_b.shape[1]
    turned = rows.shape[1] - latent
    nope = q.shape[2] - turned
    kv = (rows[:, :latent] @ wkv_b.T).reshape(len(rows), H, -1)             # [S, H, nope + v]
    same_for_all = np.repeat(rows[:, None, latent:], H, axis=1)             # [S, H, turned]
    k = np.concatenate([kv[..., :nope], same_for_all], axis=2)
    return grouped_attention(q, k, kv[..., nope:], scale, may_read)


def mla_absorbed(q, rows, wkv_b, scale, may_read):      # [T, H, nope + turned], [S, latent + turned]
    """-> [T, H, v]. The same without keys, q . (W c) = (q W) . c: then it is MQA, whose one key is the row itself.

    What is true of keys holds for values: mix latent parts first, multiply by the head's matrix once.
    DeepSeek does so when a single token is asked for.
    """
    H, latent = q.shape[1], wkv_b.shape[1]
    nope = q.shape[2] - (rows.shape[1] - latent)
    for_key, for_value = np.split(wkv_b.reshape(H, -1, latent), [nope], axis=1)     # [H, nope or v, latent]
    q_latent = np.einsum("thn,hnc->thc", q[..., :nope], for_key, optimize=True)
    wide = np.concatenate([q_latent, q[..., nope:]], axis=2)                # [T, H, latent + turned]
    mixed = grouped_attention(wide, rows[:, None], rows[:, None, :latent], scale, may_read)
    return np.einsum("thc,hvc->thv", mixed, for_value, optimize=True)


def break_even(latent, turned, nope, v):                # -> queries
    """From how many queries on, each reading the same rows, unpacking these rows once costs fewer multiplications.

    Per row and head: unpacking latent (nope + v), and then nope + turned + v for each query; absorbed, each query takes
    (latent + turned) + latent. What is done once per query, not per row, is left out. 0: it never pays.
    """
    unpack, each_unpacked, each_absorbed = latent * (nope + v), nope + turned + v, 2 * latent + turned
    saved = each_absorbed - each_unpacked
    return unpack // saved + 1 if saved > 0 else 0      # more than unpack / saved


def mla_layer(x, w, n_heads, scale, freqs, indexer=None, k=None, absorbed=True, eps=1e-6):      # [T, D] -> [T, D]
    """One layer on a text without a past. With an indexer each token reads only its k best rows (V3.2)."""
    T = len(x)
    positions, may_read = np.arange(T), causal(T, T)
    qr = rms_norm(x @ w.wq_a.T, w.q_norm, eps)                                          # the indexer reads it too
    q = rope((qr @ w.wq_b.T).reshape(T, n_heads, -1), positions, freqs)
    rows = latent_rows(x, w, positions, freqs, eps)
    if indexer is not None:
        picks = index_topk(*index_inputs(x, qr, indexer, positions, freqs), positions + 1, k)
        may_read = is_picked(picks, T)
    attention = mla_absorbed if absorbed else mla_decompressed
    return attention(q, rows, w.wkv_b, scale, may_read).reshape(T, -1) @ w.wo.T


def index_inputs(x, qr, w, positions, freqs):           # [T, D], [T, q_lora] -> [T, Hi, di], [T, di], [T, Hi]
    """Index queries, one index key per token, and the weights of the index heads.

    Unlike in V4 the FIRST numbers are turned, in halves (i, i + n) and not neighbours, and a LayerNorm makes the keys.
    Rounding aside, for which see lesson 11. Source: arXiv:2512.02556; transformers 5.23.0, DeepseekV32Indexer.
    """
    di = len(w.k_norm)
    heads = len(w.weights_proj)
    q = (qr @ w.wq_b.T).reshape(len(x), heads, di)
    keys = layer_norm(x @ w.wk.T, w.k_norm, w.k_norm_bias)
    weights = x @ w.weights_proj.T * np.float32((heads * di) ** -0.5)
    return turn_first(q, positions, freqs), turn_first(keys, positions, freqs), weights


def layer_norm(x, weight, bias, eps=1e-6):              # [..., D], [D], [D] -> [..., D]
    """Mean 0, variance 1, then a scale and an offset per column. Source: arXiv:1607.06450."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps) * weight + bias


def turn_first(x, positions, freqs):                    # [T, ..., d] -> [T, ..., d]
    """Turn the first 2 len(freqs) numbers, number i with number i + len(freqs)."""
    n = len(freqs)
    neighbours = np.stack([x[..., :n], x[..., n: 2 * n]], axis=-1).reshape(*x.shape[:-1], 2 * n)
    turned = rope(neighbours, positions, freqs)
    return np.concatenate([turned[..., 0::2], turned[..., 1::2], x[..., 2 * n:]], axis=-1)


def is_picked(picks, S):                                # int [T, K], -1 for none -> bool [T, S]
    """Who may read whom, if each token reads only its picks."""
    may_read = np.zeros((len(picks), S + 1), bool)
    np.put_along_axis(may_read, picks, True, axis=1)    # -1 is the last column, which is cut off
    return may_read[:, :S]
