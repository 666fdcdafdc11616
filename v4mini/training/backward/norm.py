"""Backward of ops/norm.py. Not here: LayerNorm; V4 has none."""

import numpy as np

from v4mini.ops.norm import inverse_rms


def rms_unit(g, x, eps):                                # [..., D] twice -> g_x [..., D]
    """y = r x, with r = (mean(x x) + eps)^(-1/2) of a row.

    dr / dx_j = -r^3 x_j / D, so  g_x = r g - r^3 x mean(g x).
    """
    r = inverse_rms(x, eps)                                                             # [..., 1]
    return r * g - x * (r * r * r * np.mean(g * x, axis=-1, keepdims=True))


def rms_norm(g, x, weight, eps):                        # [..., D] twice, [D] -> g_x [..., D], g_weight [D]
    """y = r x weight: the same with g weight for g; each column's weight collects g r x over all rows."""
    g_weight = (g * x * inverse_rms(x, eps)).reshape(-1, len(weight)).sum(axis=0)
    return rms_unit(g * weight, x, eps), g_weight
