"""Which experts a token is sent to, and with what weight. Not here: the experts (ops/experts.py)."""

import numpy as np


def affinity(scores):                                   # [T, E] -> [T, E], positive
    """sqrt(softplus(score)). Source: V4 report 2.1; reference inference/model.py, Gate.forward.

    log1p(exp(x)) as the reference has it: np.logaddexp is no less exact, but its last bit differs now and then, and one
    FP8 rounding that flips downstream is seen in the logits. Above 20 softplus(x) is x to the last bit.
    """
    return np.sqrt(np.where(scores > 20, scores, np.log1p(np.exp(np.minimum(scores, 20)))))


def choose(affinities, bias, k):                        # [T, E], [E], int -> [T, k] int64, best first
    """The k experts of largest affinity + bias; of equal ones the earlier."""
    return np.argsort(-(affinities + bias), axis=1, kind="stable")[:, :k]


def gate_weights(affinities, chosen, route_scale):      # [T, E], [T, K] int -> [T, K], rows sum to route_scale
    """Affinities of the chosen, scaled to sum to `route_scale`. The bias that chose has no part in it."""
    picked = np.take_along_axis(affinities, chosen, axis=1)
    return picked / picked.sum(axis=1, keepdims=True) * np.float32(route_scale)


def route(scores, route_scale, k, bias=None, chosen=None):         # [T, E] -> chosen [T, K] int64, weights [T, K]
    """Choose by affinity + bias, or take `chosen` as it comes (hash layers: a table row per token id); weigh by affinity.

    Where one of the numbers to choose by is none, nobody knows who would have been chosen: that token's weights are NaN.
    """
    affinities = affinity(scores)
    if chosen is not None:
        chosen = np.asarray(chosen, np.int64)
        return chosen, gate_weights(affinities, chosen, route_scale)
    chosen = choose(affinities, bias, k)
    doubt = np.float32(0) * (affinities + bias).sum(axis=1, keepdims=True)              # 0, or NaN
    return chosen, gate_weights(affinities, chosen, route_scale) + doubt
