"""FLOPs of one token, part by part, and how they grow with what lies before it. A multiply and an add are 2 FLOPs.

Not here: how fast a machine does them (bench/), bytes (memory.py, counts.py).
"""

from functools import cache

from v4mini.weights.spec import tensors


def token_flops(config, context, head=True):            # -> {part: FLOPs}
    """What the token at position `context` costs.

        dense      2 per active weight: projections, experts, gates, mHC; the output head only where its logits are asked for
        index      CSA layers: Hi heads of di numbers against context / 4 keys       2 Hi di (context / 4)
        csa        CSA layers: H heads of hd numbers, scores and sums, of the picks  4 H hd min(index_topk, context / 4)
        hca        HCA layers: the same over all entries                             4 H hd (context / ratio)
        window     all layers: the same over the last rows                           4 H hd min(window_size, context)

    Only index and hca grow for ever, so a whole text of n tokens still costs n^2, with a small constant.
    Source: V4 report 2.3.4; the accounting is V3.2's, see planning/counts.py for weights.
    """
    return {"dense": 2 * active_weights(config, head), **past_flops(config, context)}


def past_flops(config, context):                        # -> {part: FLOPs}
    """The same without dense: what the token at position `context` multiplies with what lies before it."""
    row = 4 * config.n_heads * config.head_dim
    flops = {"index": 0, "csa": 0, "hca": 0, "window": config.n_layers * row * min(config.window_size, context + 1)}
    for layer in range(config.n_layers):
        kind = config.layer_kind(layer)
        entries = (context + 1) // max(1, config.ratio(layer))
        if kind == "csa":
            flops["index"] += 2 * config.index_n_heads * config.index_head_dim * entries
            flops["csa"] += row * min(config.index_topk, entries)
        elif kind == "hca":
            flops["hca"] += row * entries
    return flops


@cache
def active_weights(config, head=True):                  # -> numbers that one token is multiplied with
    """Weights of matrices only: norms, biases and tables are not products."""
    share = config.n_activated_experts / config.n_routed_experts
    total = 0
    for spec in tensors(config):
        if spec.is_mtp or spec.first != "matrix" or spec.group == "embedding":
            continue
        if spec.group == "output head" and not head:
            continue
        total += spec.size * (share if spec.group == "routed experts" else 1)
    return round(total)


def span_flops(config, start, stop, head=False):        # -> {part: FLOPs} of tokens start .. stop - 1
    """Summed by the trapezoid rule over 64 pieces: every part is piecewise linear in the position."""
    parts = {}
    pieces = min(64, stop - start)
    edges = [start + (stop - start) * i / pieces for i in range(pieces + 1)]
    for low, high in zip(edges, edges[1:]):
        at_low, at_high = (token_flops(config, int(edge), head) for edge in (low, high))
        for part in at_low:
            parts[part] = parts.get(part, 0) + (at_low[part] + at_high[part]) / 2 * (high - low)
    return parts
