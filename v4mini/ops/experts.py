"""The feed-forward part: clamped SwiGLU experts, each run on the tokens that chose it.

Not here: who chose (ops/route.py).
"""

import numpy as np


def swiglu(gate, up, limit):                            # [T, inter] twice -> [T, inter]
    """silu(gate) * up, with gate cut above `limit` and up on both sides; limit 0: no cut.

    Source: V4 report 4.2; reference inference/model.py, Expert.forward (the shared expert is cut too, since 27 April 2026).
    """
    if limit > 0:
        gate, up = np.minimum(gate, np.float32(limit)), np.clip(up, -np.float32(limit), np.float32(limit))
    with np.errstate(over="ignore"):                    # exp(-gate) = inf gives silu = -0, the right limit
        return gate / (np.float32(1) + np.exp(-gate)) * up


def expert(x, w, limit, linear, weight=None):           # [T, D] -> [T, D]
    """One expert; `weight` [T] is applied before w2, as the reference does (it matters once w2's input is rounded)."""
    hidden = swiglu(linear(x, w.w1), linear(x, w.w3), limit)
    return linear(hidden if weight is None else hidden * weight[:, None], w.w2)


def experts(x, chosen, weights, pool, limit, linear):   # [T, D], [T, K] int, [T, K] -> [T, D]
    """Sum over each token's chosen experts. Experts that nobody chose are never touched: their weights stay on disk.

    Source: reference inference/model.py, MoE.forward.
    """
    y = np.zeros_like(x)
    for number in np.unique(chosen):
        tokens, slot = np.nonzero(chosen == number)
        add_rows(y, tokens, expert(x[tokens], pool[number], limit, linear, weights[tokens, slot]))
    return y


def add_rows(y, tokens, rows):                          # [T, D], [n] ascending, [n, D]
    """y[tokens] += rows, where a token may stand twice: a hash row may name one expert in several places, and each counts."""
    if (tokens[1:] == tokens[:-1]).any():
        np.add.at(y, tokens, rows)                      # += alone would keep the last of them
    else:
        y[tokens] += rows
