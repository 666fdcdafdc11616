"""One block: attention, then experts, each read from and written to the residual streams.

Not here: what comes before and after all blocks (model.py).
"""

from v4mini.layers.attention import attention
from v4mini.layers.moe import moe
from v4mini.layers.seams import seam


def block(ops, streams, ids, w, config, layer, sequences, note):        # [T, M, D], [T] int -> [A, M, D]
    """Tokens that are no query tokens leave their rows in memory and go no further.

    Source: V4 report 2.2; reference inference/model.py, Block.forward.
    """
    c, ops = config, ops.at(layer)
    x, post, comb = read_streams(ops, streams, w.hc_attn, w.attn_norm, c)
    y = attention(ops, x, w.attn, c, layer, sequences, note)
    if sequences.query_rows is not None:
        streams, post, comb = (sequences.of_queries(ops, part) for part in (streams, post, comb))
        ids = ids[sequences.query_rows]
    streams = ops.hc_post(y, streams, post, comb)
    return feed_forward(ops, streams, ids, w, c, note)


@seam
def feed_forward(ops, streams, ids, w, config, note):   # [A, M, D], [A] int -> [A, M, D]
    """The second half of every block: experts. `ops` is told its layer already."""
    c = config
    x, post, comb = read_streams(ops, streams, w.hc_ffn, w.ffn_norm, c)
    y = moe(ops, x, ids, w.ffn, c, note)
    streams = ops.hc_post(y, streams, post, comb)
    note("streams", streams)
    return streams


@seam
def read_streams(ops, streams, hc, norm, config):       # [T, M, D] -> x [T, D], post [T, M], comb [T, M, M]
    """What a sub-layer sees of the streams, and how its output and they will be mixed."""
    u, post, comb = ops.hc_pre(streams, hc, config.hc_sinkhorn_iters, config.hc_eps, config.norm_eps)
    return ops.rms_norm(u, norm, config.norm_eps), post, comb
