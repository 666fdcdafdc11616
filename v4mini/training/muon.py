"""Muon as V4 trains with it: each update is the momentum with its singular values brought to 1.

    M <- 0.95 M + G
    O  = newton_schulz(0.95 M + G)                      Nesterov: one step ahead
    W <- W (1 - 0.1 lr) - lr * 0.18 sqrt(max(rows, columns)) O

The last factor makes an update's entries 0.18 in root mean square whatever the shape, so that AdamW's rate fits.
Source: V4 report 2.4. Not here: which tensors it updates (optimisers.py), the rate (schedule.py).
"""

import numpy as np

FAST, SETTLING = (3.4445, -4.7750, 2.0315), (2.0, -1.5, 0.5)
ROUNDS = (FAST,) * 8 + (SETTLING,) * 2              # the fast ones leave singular values in 0.7 .. 1.2, the last two settle on 1
TINIEST = 1e-38                                     # keeps a gradient of zeros at zero


def newton_schulz(matrices, rounds=ROUNDS):             # [n, rows, columns] -> the same, each nearly U V^T of its own
    """Of each matrix U S V^T, nearly U V^T: x <- a x + b (x x^T) x + c (x x^T)^2 x moves all singular values towards 1.

    Singular values below a few thousandths of the largest do not get there, as in the report's own algorithm.
    """
    largest = np.abs(matrices).max(axis=(1, 2), keepdims=True)
    x = matrices / np.maximum(largest, TINIEST)         # first, so that squares of tiny gradients do not vanish
    x = x / np.maximum(np.sqrt((x * x).sum(axis=(1, 2), keepdims=True)), TINIEST)
    is_tall = x.shape[1] > x.shape[2]
    x = np.ascontiguousarray(x.swapaxes(1, 2)) if is_tall else x        # the smaller square is cheaper
    for a, b, c in rounds:
        square = x @ x.swapaxes(1, 2)
        x = x.dtype.type(a) * x + (x.dtype.type(b) * square + x.dtype.type(c) * (square @ square)) @ x
    return x.swapaxes(1, 2) if is_tall else x


class Muon:
    """Momenta of some matrices, and the step. Matrices of one shape go through Newton-Schulz as one stack.

    parts: {name: [slice of rows, ...]}: each slice is a matrix of its own. Source: report 2.4, "logically independent".
    newton_schulz: the function above, or its Numba twin.
    """

    def __init__(self, parts, params, momentum=0.95, decay=0.1, rms=0.18, rounds=ROUNDS, newton_schulz=newton_schulz):
        self.momentum, self.decay, self.rms, self.rounds, self.newton_schulz = momentum, decay, rms, rounds, newton_schulz
        self.state = {name: np.zeros_like(params[name]) for name in parts}
        self.stacks = {}                                # shape -> [(name, rows), ...]
        for name, slices in parts.items():
            for rows in slices:
                self.stacks.setdefault(params[name][rows].shape, []).append((name, rows))

    def step(self, params, gradients, rate):
        """Update `params` in place. A tensor without a gradient took no part and stays as it is."""
        for shape, members in self.stacks.items():
            members = [(name, rows) for name, rows in members if name in gradients]
            if not members:
                continue
            ahead = np.empty((len(members), *shape), params[members[0][0]].dtype)
            for (name, rows), look in zip(members, ahead):
                self._look_ahead(self.state[name][rows], gradients[name][rows], look)
            size = ahead.dtype.type(rate * self.rms * max(shape) ** 0.5)
            for (name, rows), update in zip(members, self.newton_schulz(ahead, self.rounds)):
                matrix = params[name][rows]
                matrix *= matrix.dtype.type(1 - rate * self.decay)
                update *= size
                matrix -= update

    def _look_ahead(self, moment, gradient, out):       # M <- mu M + G;  out = mu M + G
        momentum = moment.dtype.type(self.momentum)
        moment *= momentum
        moment += gradient
        np.multiply(moment, momentum, out=out)
        out += gradient
