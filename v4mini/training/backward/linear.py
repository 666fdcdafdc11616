"""Backward of ops/linear.py. Weights come dense here: [out, in]. Not here: what rounding did to them (quantise.py)."""

import numpy as np


def linear(g, x, weight):                               # [..., out], [..., in], [out, in] -> g_x [..., in], g_weight [out, in]
    """y = x W^T:  g_x = g W,  g_W = g^T x, summed over all rows by the product itself."""
    out, width = weight.shape
    return g @ weight, g.reshape(-1, out).T @ x.reshape(-1, width)


def grouped_linear(g, x, weight, groups):               # [T, G out], [T, G in], [G out, in] -> g_x, g_weight
    """Group by group as linear: slice i of x met rows i of the weight only."""
    rows, width = weight.shape
    g_x, g_weight = np.empty_like(x), np.empty_like(weight)
    for i, (wide, narrow) in enumerate(zip(np.split(x, groups, 1), np.split(g, groups, 1))):
        mine = slice(i * rows // groups, (i + 1) * rows // groups)
        np.matmul(narrow, weight[mine], out=g_x[:, i * width: (i + 1) * width])
        np.matmul(narrow.T, wide, out=g_weight[mine])
    return g_x, g_weight


def embed(g, ids, rows):                                # [T, D], [T] int, int -> g_table [rows, D]
    """y_t = table[id_t]: a row of the table collects g of every token that read it. Any look-up of rows goes back so."""
    g_table = np.zeros((rows, *g.shape[1:]), g.dtype)
    if len(ids):
        order = np.argsort(ids, kind="stable")
        which, starts = np.unique(ids[order], return_index=True)
        g_table[which] = np.add.reduceat(g[order], starts, axis=0)
    return g_table
