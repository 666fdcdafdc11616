"""AdamW for what is no hidden matrix: embedding, head, norms, vectors. Not here: which tensors these are (optimisers.py).

Source: arXiv:1711.05101; V4's settings: report 4.2.
"""

import numpy as np


class AdamW:
    """Running means of gradients and of their squares, and the step. `decay`: {name: weight decay}.

    eps is V4's 1e-20, which float32 squares of gradients can be smaller than: then the step is at most rate / (1 - beta1).
    """

    def __init__(self, decay, params, betas=(0.9, 0.95), eps=1e-20):
        self.decay, self.betas, self.eps = decay, betas, eps
        self.steps = 0
        self.state = {name: (np.zeros_like(params[name]), np.zeros_like(params[name])) for name in decay}

    def step(self, params, gradients, rate):
        """Update `params` in place. A tensor without a gradient took no part and stays as it is."""
        self.steps += 1
        beta1, beta2 = self.betas
        size = rate / (1 - beta1**self.steps)
        unbias = (1 - beta2**self.steps) ** -0.5
        for name, gradient in gradients.items():
            if name not in self.state:
                continue
            (mean, square), values = self.state[name], params[name]
            kind = mean.dtype.type
            mean += kind(1 - beta1) * (gradient - mean)
            square += kind(1 - beta2) * (gradient * gradient - square)
            values *= kind(1 - rate * self.decay[name])
            values -= kind(size) * mean / (np.sqrt(square) * kind(unbias) + kind(self.eps))
