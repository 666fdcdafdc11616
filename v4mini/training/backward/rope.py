"""Backward of ops/rope.py. Not here: gradients of positions; nobody learns those."""

from v4mini.ops import rope as forward


def rope(g, positions, freqs, inverse=False):           # [T, ..., hd], [T], [rd / 2] -> g_x [T, ..., hd]
    """y = R x with a rotation R, so g_x = R^T g: the same pairs, turned back."""
    return forward.rope(g, positions, freqs, not inverse)
