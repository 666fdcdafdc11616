"""One block: attention, then experts, each read from and written to the residual streams.

Not here: what comes before and after all blocks (model.py).
"""

from v4mini.layers.attention import attention, last_rows
from v4mini.layers.moe import moe


def block(ops, streams, ids, w, config, layer, sequences, note, last=None):     # [T, M, D], [T] int -> [T, M, D]
    """last: only the last so many tokens of each sequence are read on; the others leave their rows in memory, no more.

    Source: V4 report 2.2; reference inference/model.py, Block.forward.
    """
    c = config
    u, post, comb = ops.hc_pre(streams, w.hc_attn, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps)
    y = attention(ops, ops.rms_norm(u, w.attn_norm, c.norm_eps), w.attn, c, layer, sequences, note, last)
    if last is not None:
        read_on = last_rows(sequences, last)
        streams, post, comb, ids = streams[read_on], post[read_on], comb[read_on], ids[read_on]
    streams = ops.hc_post(y, streams, post, comb)
    u, post, comb = ops.hc_pre(streams, w.hc_ffn, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps)
    y = moe(ops, ops.rms_norm(u, w.ffn_norm, c.norm_eps), ids, w.ffn, c, note)
    streams = ops.hc_post(y, streams, post, comb)
    note("streams", streams)
    return streams
