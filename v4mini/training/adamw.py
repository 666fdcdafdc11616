"""AdamW for what is no hidden matrix: embedding, head, norms, vectors. Not here: which tensors these are (optimisers.py).

Source: arXiv:1711.05101; V4's settings: report 4.2.
"""

import numpy as np


def update(values, gradient, mean, square, betas, size, unbias, shrink, eps):
    """One tensor's n-th step, in place: size = rate / (1 - beta1^n), unbias = (1 - beta2^n)^(-1/2), shrink = 1 - rate decay.

    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g g;  w <- shrink w - size m / (unbias sqrt(v) + eps)
    """
    kind = mean.dtype.type
    mean += kind(1 - betas[0]) * (gradient - mean)
    square += kind(1 - betas[1]) * (gradient * gradient - square)
    values *= kind(shrink)
    values -= kind(size) * mean / (np.sqrt(square) * kind(unbias) + kind(eps))


class AdamW:
    """Running means of gradients and of their squares, and the step. `decay`: {name: weight decay}.

    eps is V4's 1e-20, which float32 squares of gradients can be smaller than: then the step is at most rate / (1 - beta1).
    update: the function above, or its Numba twin.
    """

    def __init__(self, decay, params, betas=(0.9, 0.95), eps=1e-20, update=update):
        self.decay, self.betas, self.eps, self.update = decay, betas, eps, update
        self.steps = 0
        self.state = {name: (np.zeros_like(params[name]), np.zeros_like(params[name])) for name in decay}

    def step(self, params, gradients, rate, times=None):
        """Update `params` in place. A tensor without a gradient took no part and stays as it is.

        times: {name: so many times `rate`}, 1 where it is not named.
        """
        self.steps += 1
        times = times or {}
        unbias_mean = 1 / (1 - self.betas[0]**self.steps)
        unbias = (1 - self.betas[1]**self.steps) ** -0.5
        for name, gradient in gradients.items():
            if name in self.state:
                own = rate * times.get(name, 1.0)
                self.update(params[name], gradient, *self.state[name], self.betas, own * unbias_mean, unbias,
                            1 - own * self.decay[name], self.eps)
