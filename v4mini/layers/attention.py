"""Attention of one layer, all three kinds: window only, with every heavy entry (HCA), with chosen entries (CSA).

Not here: the softmax (ops/attention.py), how entries come about (layers/compressor.py).
"""

import numpy as np

from v4mini.layers.compressor import grow_entries
from v4mini.layers.memory import positions_of
from v4mini.ops.compress import visible
from v4mini.ops.rope import frequencies


def layer_frequencies(config, layer):                   # -> float32 [rd / 2]
    """Window layers turn with one base; compressed layers with a larger one and YaRN, for all they rotate."""
    if config.ratio(layer) == 0:
        return frequencies(config.rope_head_dim, config.rope_theta)
    return frequencies(config.rope_head_dim, config.compress_rope_theta, config.original_seq_len, config.rope_factor,
                       config.beta_fast, config.beta_slow)


def attention(ops, x, w, config, layer, sequences, note, last=None):        # [T, D] -> [A, D]
    """Each sequence of the flat token axis looks at its own past only.

    sequences: [(slice of the T tokens, that sequence's memory)]. note(name, array) may watch. last: only the last so many
    tokens of each sequence ask, A in all (None: all T); the others are looked at.
    Source: V4 report 2.3; reference inference/model.py, Attention.forward.
    """
    c = config
    freqs = layer_frequencies(c, layer)
    order = [memory.length + np.arange(span.stop - span.start) for span, memory in sequences]       # first token: 0
    positions = np.concatenate([positions_of(memory, mine) for mine, (_, memory) in zip(order, sequences)])
    order = np.concatenate(order)
    asking = last_rows(sequences, last)
    at = positions[asking]                                                              # [A]
    qr = ops.rms_norm(ops.linear(x[asking], w.wq_a), w.q_norm, c.norm_eps)              # [A, q_lora], the indexer reads it too
    q = ops.rms_unit(ops.linear(qr, w.wq_b).reshape(len(at), c.n_heads, c.head_dim), c.norm_eps)
    q = ops.rope(q, at, freqs)                                                          # [A, H, hd]
    kv = ops.rope(ops.rms_norm(ops.linear(x, w.wkv), w.kv_norm, c.norm_eps), positions, freqs)
    kv = ops.round_kv(kv, c.rope_head_dim)                                              # [T, hd], keys and values at once
    outs, start = [], 0
    for span, memory in sequences:
        mine = slice(start, start + _count(span, last))
        start = mine.stop
        rows = memory.extend(layer, "window", kv[span])
        seen = None if c.ratio(layer) == 0 else visible(order[asking][mine], c.ratio(layer))
        far = _far(ops, x[span], qr[mine], at[mine], seen, w, c, layer, freqs, memory, note)
        outs.append(ops.attend(q[mine], rows, w.attn_sink, c.window_size, c.head_dim**-0.5, **far))
        if note.wants("attn.weights"):
            note("attn.weights", ops.attention_weights(q[mine], rows, w.attn_sink, c.window_size, c.head_dim**-0.5, **far))
    # keys carry absolute positions and are values too: turning back by the query's own position leaves relative ones
    out = ops.rope(np.concatenate(outs), at, freqs, inverse=True)
    return ops.linear(ops.grouped_linear(out.reshape(len(at), -1), w.wo_a, c.o_groups), w.wo_b)


def last_rows(sequences, last):                         # -> which of the T rows: a slice (all), or ints [A]
    """The rows of the last `last` tokens of each sequence, or of all it has if these are fewer. None: every row."""
    if last is None:
        return slice(None)
    return np.concatenate([np.arange(span.stop - _count(span, last), span.stop) for span, _ in sequences])


def _count(span, last):
    tokens = span.stop - span.start
    return tokens if last is None else min(last, tokens)


def _far(ops, x, qr, positions, seen, w, config, layer, freqs, memory, note):       # what attend sees beyond the window
    kind = config.layer_kind(layer)
    if kind == "window":
        return {}
    entries = grow_entries(ops, x, w.compressor, config, layer, "entries", freqs, memory)
    if kind == "hca":
        return {"entries": entries, "visible": seen}
    picks = pick_entries(ops, x, qr, positions, seen, w.indexer, config, layer, freqs, memory)
    note("attn.index_picks", picks)
    return {"entries": entries, "picks": picks}


def pick_entries(ops, x, qr, positions, seen, w, config, layer, freqs, memory):         # -> [A, <= index_topk] int64
    """The lightning indexer: which entries each of the last A tokens reads; all T of x become keys.

    Source: reference inference/model.py, class Indexer.
    """
    heads, width = config.index_n_heads, config.index_head_dim
    keys = grow_entries(ops, x, w.compressor, config, layer, "index_keys", freqs, memory)       # [N, di]
    q = ops.rope(ops.linear(qr, w.wq_b).reshape(len(qr), heads, width), positions, freqs)
    weights = ops.linear(x[len(x) - len(qr):], w.weights_proj) * np.float32(width**-0.5 * heads**-0.5)      # [A, Hi], any sign
    return ops.index_topk(ops.round_index(q), keys, weights, seen, config.index_topk)
