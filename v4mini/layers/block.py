"""One block: attention, then experts, each read from and written to the residual streams.

Not here: what comes before and after all blocks (model.py).
"""

from v4mini.layers.attention import attention
from v4mini.layers.moe import moe


def block(ops, streams, ids, w, config, layer, sequences, note):        # [T, M, D], [T] int -> [A, M, D]
    """Tokens that do not ask leave their rows in memory and go no further.

    Source: V4 report 2.2; reference inference/model.py, Block.forward.
    """
    c, ops = config, ops.at(layer)
    u, post, comb = ops.hc_pre(streams, w.hc_attn, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps)
    y = attention(ops, ops.rms_norm(u, w.attn_norm, c.norm_eps), w.attn, c, layer, sequences, note)
    if sequences.query_rows is not None:
        streams, post, comb = (sequences.of_queries(ops, part) for part in (streams, post, comb))
        ids = ids[sequences.query_rows]
    streams = ops.hc_post(y, streams, post, comb)
    return feed_forward(ops, streams, ids, w, c, note)


def feed_forward(ops, streams, ids, w, config, note):   # [A, M, D], [A] int -> [A, M, D]
    """The second half of every block: experts. `ops` is told its layer already."""
    c = config
    u, post, comb = ops.hc_pre(streams, w.hc_ffn, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps)
    y = moe(ops, ops.rms_norm(u, w.ffn_norm, c.norm_eps), ids, w.ffn, c, note)
    streams = ops.hc_post(y, streams, post, comb)
    note("streams", streams)
    return streams
