"""Experts that keep what their backward needs, and that backward. Tokens are sorted by expert: few large products.

Not here: who chose (route.py).
"""

from dataclasses import dataclass

import numpy as np

from v4mini.ops import experts as forward


def swiglu(g, gate, up, limit, weight):                 # [n, inter] three times, [n] -> g_gate, g_up, g_weight [n]
    """h = s(a) b w, a = min(gate, limit), b = clip(up, -limit, limit), s(a) = a sigma(a):

    g_a = g b w sigma (1 + a (1 - sigma)),  g_b = g s w,  g_w = sum g s b. What the clamp cut passes no gradient.
    """
    limit = np.inf if limit == 0 else gate.dtype.type(limit)
    a = np.minimum(gate, limit)
    b = np.clip(up, -limit, limit)
    with np.errstate(over="ignore"):
        sigma = 1 / (1 + np.exp(-a))
    s = a * sigma
    g_hidden = g * weight[:, None]
    g_gate = np.where(gate > limit, 0, g_hidden * b * sigma * (1 + a * (1 - sigma)))
    return g_gate, np.where(np.abs(up) > limit, 0, g_hidden * s), (g * s * b).sum(axis=1)


def hidden(gate, up, limit, weight):                    # [n, inter] twice, [n] -> [n, inter]
    """What w2 reads. Source: ops/experts.py, expert."""
    return forward.swiglu(gate, up, limit) * weight[:, None]


@dataclass(frozen=True)
class Groups:
    """Which tokens go to which expert: expert e has tokens[starts[e]: starts[e + 1]]."""

    starts: np.ndarray          # [E + 1]
    tokens: np.ndarray          # [n], rising within an expert
    place: np.ndarray           # [T, K]: where among the n a token's k-th expert has it

    @classmethod
    def of(cls, chosen, E):                             # [T, K] int -> Groups
        """Sort tokens by expert."""
        order = np.argsort(chosen, axis=None, kind="stable")
        place = np.empty(chosen.size, np.int64)
        place[order] = np.arange(chosen.size)
        starts = np.concatenate([[0], np.cumsum(np.bincount(chosen.ravel(), minlength=E))])
        return cls(starts, order // chosen.shape[1], place.reshape(chosen.shape))

    @classmethod
    def everyone(cls, T):                               # -> Groups
        """One expert that all share."""
        return cls(np.array([0, T]), np.arange(T), np.arange(T)[:, None])

    def spread(self, per_choice):                       # [T, K] -> [n]
        """Numbers of (token, choice), sorted by expert."""
        flat = np.empty(self.place.size, per_choice.dtype)
        flat[self.place.ravel()] = per_choice.ravel()
        return flat

    def rows(self, x):                                  # [T, D] -> [n, D]
        """Each token's row, once for every expert that it goes to."""
        return x if self.place.shape[1] == 1 and len(self.starts) == 2 else x[self.tokens]

    def sum(self, z):                                   # [n, D] -> [T, D]
        """Each token's rows added up."""
        K = self.place.shape[1]
        return z if K == 1 and len(self.starts) == 2 else sum(z[self.place[:, k]] for k in range(K))

    def products(self, x, weights, transposed=True):    # [n, a], E of [b, a] -> [n, b]; not transposed: E of [a, b]
        """Every group of rows times its own expert's matrix."""
        out = np.empty((len(x), weights[0].shape[0 if transposed else 1]), x.dtype)
        for start, stop, weight in zip(self.starts, self.starts[1:], weights):
            if stop > start:
                np.matmul(x[start:stop], weight.T if transposed else weight, out=out[start:stop])
        return out

    def gradients(self, g, x):                          # [n, out], [n, in] -> [E, out, in]
        """Of each expert's matrix; 0 for one that nobody chose."""
        g_weights = np.zeros((len(self.starts) - 1, g.shape[1], x.shape[1]), x.dtype)
        for start, stop, g_weight in zip(self.starts, self.starts[1:], g_weights):
            if stop > start:
                np.matmul(g[start:stop].T, x[start:stop], out=g_weight)
        return g_weights


def experts_keeping(x, groups, weight, pool, limit, rounded):                 # -> y [T, D], (gate, up, h)
    """ops.experts.experts. pool: the dense w1, w2, w3 of all experts; weight [n]; rounded(h) is what the product w2 sees."""
    w1, w2, w3 = pool
    rows = groups.rows(x)
    gate, up = groups.products(rows, w1), groups.products(rows, w3)
    h = rounded(hidden(gate, up, limit, weight))
    return groups.sum(groups.products(h, w2)), (gate, up, h)


def experts(g, x, groups, weight, pool, limit, kept):
    """y = sum over a token's experts of W2 h(W1 x, W3 x): -> g_x [T, D], g_weight [n], (g_w1, g_w2, g_w3), each [E, ...].

    Per expert as linear, swiglu, linear; a token's row collects what its experts send back.
    """
    (w1, w2, w3), (gate, up, h) = pool, kept
    g_rows, rows = groups.rows(g), groups.rows(x)
    g_gate, g_up, g_weight = swiglu(groups.products(g_rows, w2, transposed=False), gate, up, limit, weight)
    g_x = groups.products(g_gate, w1, transposed=False)
    g_x += groups.products(g_up, w3, transposed=False)
    return groups.sum(g_x), g_weight, (groups.gradients(g_gate, rows), groups.gradients(g_rows, h), groups.gradients(g_up, rows))
