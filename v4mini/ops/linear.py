"""Matrix products with stored matrices: plain, grouped, and a row look-up.

A weight is [out, in], as in the checkpoint. Not here: how its numbers are stored (numerics/matrix.py).
"""

import numpy as np

from v4mini.shapes import Refused

ROWS_AT_ONCE = 8192     # of a weight that is not kept in float32: bounds the decoded copy


def linear(x, weight):                                  # [..., in], Matrix [out, in] -> [..., out]
    """x times the transpose of `weight`, in float32. Source: reference inference/model.py, linear."""
    if weight.shape[1] != x.shape[-1]:
        raise Refused(f"{weight.name}: expected rows of {x.shape[-1]} numbers, got {weight.shape[1]}. Is it from another config?")
    if weight.keep or weight.format == "f32":
        return x @ weight.dense().T
    out = weight.shape[0]
    pieces = [x @ weight.rows(i, min(i + ROWS_AT_ONCE, out)).T for i in range(0, out, ROWS_AT_ONCE)]
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=-1)


def grouped_linear(x, weight, groups):                  # [T, G * in], Matrix [G * out, in] -> [T, G * out]
    """Each of G slices of x meets its own slice of the weight's rows.

    Source: V4 report 2.3.1, grouped output projection; reference inference/model.py, Attention.forward (wo_a).
    """
    dense = weight.dense()
    T = len(x)
    x = x.reshape(T, groups, dense.shape[1]).swapaxes(0, 1)         # [G, T, in]
    z = x @ dense.reshape(groups, -1, dense.shape[1]).swapaxes(1, 2)            # [G, T, out]
    return z.swapaxes(0, 1).reshape(T, len(dense))


def embed(ids, table):                                  # [T] int, Matrix [V, D] -> [T, D]
    """Row `id` of the table for each id; only those rows are read."""
    return table.take(ids)
