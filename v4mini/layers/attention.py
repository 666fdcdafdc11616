"""Attention of one layer, all three kinds: window only, with every heavy entry (HCA), with chosen entries (CSA).

Not here: the softmax (ops/attention.py), how entries come about (layers/compressor.py).
"""

from v4mini.layers.compressor import grow_entries
from v4mini.layers.seams import seam
from v4mini.ops.rope import frequencies


def layer_frequencies(config, layer):                   # -> float32 [rd / 2]
    """Window layers rotate with one base; compressed layers with a larger one and YaRN, for all they rotate."""
    if config.ratio(layer) == 0:
        return frequencies(config.rope_head_dim, config.rope_theta)
    return frequencies(config.rope_head_dim, config.compress_rope_theta, config.original_seq_len, config.rope_factor,
                       config.beta_fast, config.beta_slow)


def attention(ops, x, w, config, layer, sequences, note):       # [T, D] -> [A, D], of the query tokens
    """Each sequence of the flat token axis looks at its own past only. note(name, array) may watch.

    Source: V4 report 2.3; reference inference/model.py, Attention.forward.
    """
    c, s = config, sequences
    freqs = ops.constant(layer_frequencies(c, layer))
    qr, q = queries(ops, s.of_queries(ops, x), w, c, s.query_positions, freqs)
    kv = key_rows(ops, x, w, c, s.positions, freqs)
    outs = []
    for part in s.parts:
        rows = part.memory.extend(layer, "window", kv[part.tokens])
        far = _far(ops, x[part.tokens], qr[part.queries], s.query_positions[part.queries], w, c, layer, freqs, part, note)
        inputs = q[part.queries], rows, part.first, w.attn_sink, c.window_size, c.head_dim**-0.5
        outs.append(ops.attend(*inputs, **far))
        if note.wants("attn.weights"):
            note("attn.weights", ops.attention_weights(*inputs, **far))
    out = outs[0] if len(outs) == 1 else ops.concat(outs)
    return project_out(ops, out, w, c, s.query_positions, freqs)


@seam
def queries(ops, x, w, config, positions, freqs):       # [A, D] -> qr [A, q_lora], which the indexer reads too, q [A, H, hd]
    """Two products with a norm between them, a norm for each head, then the rotation."""
    c = config
    qr = ops.rms_norm(ops.linear(x, w.wq_a), w.q_norm, c.norm_eps)
    q = ops.rms_unit(ops.linear(qr, w.wq_b).reshape(len(qr), c.n_heads, c.head_dim), c.norm_eps)
    return qr, ops.rope(q, positions, freqs)


@seam
def key_rows(ops, x, w, config, positions, freqs):      # [T, D] -> [T, hd], keys and values at once
    """What a token leaves in the window."""
    rows = ops.rope(ops.rms_norm(ops.linear(x, w.wkv), w.kv_norm, config.norm_eps), positions, freqs)
    return ops.round_kv(rows, config.rope_head_dim)


@seam
def project_out(ops, out, w, config, positions, freqs):         # [A, H, hd] -> [A, D]
    """Keys carry absolute positions and are values too: rotating back by the query's own position leaves relative ones."""
    out = ops.rope(out, positions, freqs, inverse=True)
    return ops.linear(ops.grouped_linear(out.reshape(len(out), -1), w.wo_a, config.o_groups), w.wo_b)


def _far(ops, x, qr, positions, w, config, layer, freqs, part, note):       # what attend sees beyond the window
    kind = config.layer_kind(layer)
    if kind == "window":
        return {}
    entries, seen = grow_entries(ops, x, w.compressor, config, layer, "entries", freqs, part.memory), part.visible
    if kind == "hca":
        return {"entries": entries, "visible": seen[config.ratio(layer)]}
    picks = pick_entries(ops, x, qr, positions, seen[config.ratio(layer)], w.indexer, config, layer, freqs, part.memory)
    note("attn.index_picks", picks)
    return {"entries": entries, "picks": picks}


def pick_entries(ops, x, qr, positions, seen, w, config, layer, freqs, memory):         # -> [A, <= index_topk] int64
    """The lightning indexer: which entries each of the last A tokens reads; all T of x become keys.

    It learns from a loss of its own, and nothing else learns from that one: its inputs are detached.
    Source: reference inference/model.py, class Indexer.
    """
    x, qr = ops.detach(x), ops.detach(qr)
    keys = grow_entries(ops, x, w.compressor, config, layer, "index_keys", freqs, memory)       # [N, di]
    q, weights = index_queries(ops, x[len(x) - len(qr):], qr, w, config, positions, freqs)
    return ops.index_topk(q, keys, weights, seen, config.index_topk)


@seam
def index_queries(ops, x, qr, w, config, positions, freqs):     # [A, D], [A, q_lora] -> q [A, Hi, di], weights [A, Hi]
    """What the indexer looks for, and how much each of its heads counts: any sign."""
    heads, width = config.index_n_heads, config.index_head_dim
    q = ops.rope(ops.linear(qr, w.wq_b).reshape(len(qr), heads, width), positions, freqs)
    return ops.round_index(q), ops.linear(x, w.weights_proj) * (width**-0.5 * heads**-0.5)
