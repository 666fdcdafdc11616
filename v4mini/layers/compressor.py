"""Entries: every `ratio` tokens of a sequence become one row, kept for good.

Not here: the pooling (ops/compress.py), who reads the entries (layers/attention.py).
"""

from v4mini.layers.seams import seam

NAMES = {"entries": ("kv", "score"), "index_keys": ("index_kv", "index_score")}     # finished rows <- unfinished blocks


def grow_entries(ops, x, w, config, layer, name, freqs, memory):        # [T, D] -> [N, width], all entries so far
    """Add the tokens of x to the unfinished block, pool the blocks that are full, and keep their entries.

    An entry takes the position of its block's first token. Source: reference inference/model.py, Compressor.forward.
    """
    ratio, overlap = config.ratio(layer), config.layer_kind(layer) == "csa"
    start, stop = memory.length, memory.length + len(x)
    first, last = start // ratio, stop // ratio                         # blocks that this call finishes: first .. last - 1
    kv, score = (memory.extend(layer, part, rows) for part, rows in zip(NAMES[name], block_rows(ops, x, w)))
    if first == last:
        return memory.extend(layer, name, kv[:0, : len(w.norm)])        # nothing new: what is kept
    before = len(kv) - (stop - first * ratio)                           # rows of the block before the first
    full = slice(before, before + (last - first) * ratio)
    previous = (kv[:before], score[:before]) if before else None
    rows = ops.compress(kv[full], score[full], w.ape, ratio, previous, overlap)
    rows = ops.rope(ops.rms_norm(rows, w.norm, config.norm_eps), memory.block_positions(first, last, ratio), freqs)
    rows = ops.round_kv(rows, config.rope_head_dim) if name == "entries" else ops.round_index(rows)
    return memory.extend(layer, name, rows)


@seam
def block_rows(ops, x, w):                              # [T, D] -> kv [T, C], score [T, C]
    """What each token brings to its block: values, and how much they count."""
    return ops.linear(x, w.wkv), ops.linear(x, w.wgate)
