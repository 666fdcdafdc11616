"""The mixture of experts of one layer. Not here: the gate's formula (ops/route.py), an expert's (ops/experts.py)."""

from v4mini.layers.seams import seam


def moe(ops, x, ids, w, config, note):                  # [T, D], [T] int -> [T, D]
    """Send each token to its chosen experts, and to the shared one. Hash layers choose by token id, others by score.

    Source: V4 report 2.1; reference inference/model.py, Gate.forward and MoE.forward.
    """
    by_table = None if w.gate.tid2eid is None else ops.take(w.gate.tid2eid, ids)        # [T, K]
    y, scores, chosen, weights = experts_of(ops, x, by_table, w, config)
    note("ffn.scores", scores)
    note("ffn.experts", chosen)
    note("ffn.weights", weights)
    return y


@seam
def experts_of(ops, x, by_table, w, config):    # [T, D], [T, K] or None -> y [T, D], scores [T, E], chosen, weights [T, K]
    """Choose, unless a table did; then add up what the chosen experts and the shared one give."""
    c, scores = config, ops.linear(x, w.gate.weight)
    chosen, weights = ops.route(scores, c.route_scale, c.n_activated_experts, bias=w.gate.bias, chosen=by_table)
    y = ops.experts(x, chosen, weights, w.experts, c.swiglu_limit) + ops.expert(x, w.shared_experts, c.swiglu_limit)
    return y, scores, chosen, weights
