"""The mixture of experts of one layer. Not here: the gate's formula (ops/route.py), an expert's (ops/experts.py)."""


def moe(ops, x, ids, w, config, note):                  # [T, D], [T] int -> [T, D]
    """Send each token to its chosen experts, and to the shared one. Hash layers choose by token id, others by score.

    Source: V4 report 2.1; reference inference/model.py, Gate.forward and MoE.forward.
    """
    c, scores = config, ops.linear(x, w.gate.weight)                                    # [T, E]
    by_table = None if w.gate.tid2eid is None else ops.take(w.gate.tid2eid, ids)        # [T, K]
    chosen, weights = ops.route(scores, c.route_scale, c.n_activated_experts, bias=w.gate.bias, chosen=by_table)
    note("ffn.scores", scores)
    note("ffn.experts", chosen)
    note("ffn.weights", weights)
    return ops.experts(x, chosen, weights, w.experts, c.swiglu_limit) + ops.expert(x, w.shared_experts, c.swiglu_limit)
