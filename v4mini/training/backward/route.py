"""Backward of ops/route.py: choices are integers and take no gradient, the weights of the chosen do.

Not here: losses (losses.py).
"""

import numpy as np

from v4mini.ops import route as forward


def affinity(scores, affinities):                       # [T, E] twice -> d affinity / d score [T, E]
    """a = sqrt(softplus(z)):  a' = sigmoid(z) / (2 a). Where softplus underflows to 0 so does a'."""
    power = np.exp(-np.abs(scores))                     # of -|z|: of z alone it overflows where a and a' still count
    sigmoid = np.where(scores < 0, power, 1) / (1 + power)
    return np.divide(sigmoid, 2 * affinities, out=np.zeros_like(scores), where=affinities > 0)


def route(g, scores, chosen, weights, route_scale):     # [T, K], [T, E], [T, K] int, [T, K] -> g_scores [T, E]
    """w_k = s a_k / S with S = sum of the chosen a:  g_a_k = (s g_k - sum_j g_j w_j) / S; nothing for the others."""
    affinities = forward.affinity(scores)
    picked = np.take_along_axis(affinities, chosen, axis=1)
    total = picked.sum(axis=1, keepdims=True)
    g_picked = (g * scores.dtype.type(route_scale) - (g * weights).sum(axis=1, keepdims=True)) / total
    g_affinities = np.zeros_like(scores)
    np.add.at(g_affinities, (np.arange(len(scores))[:, None], chosen), g_picked)        # a hash table may name one twice
    return g_affinities * affinity(scores, affinities)
