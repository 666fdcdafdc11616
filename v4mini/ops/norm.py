"""Root-mean-square norms. Not here: LayerNorm; V4 has none."""

import numpy as np

from v4mini.shapes import expect


def rms_norm(x, weight, eps=1e-6):                      # [..., D], [D] -> [..., D]
    """Divide each row by its root mean square, then scale each column by `weight`.

    Unlike LayerNorm it subtracts no mean and adds no bias.
    Source: arXiv:1910.07467; reference inference/model.py, class RMSNorm.
    """
    expect("weight", weight, "D", D=x.shape[-1], hint="Is it from another config?")
    return rms_unit(x, eps) * weight


def rms_unit(x, eps=1e-6):                              # [..., D] -> [..., D]
    """The same without a weight: rows of root mean square 1. Each query head goes through it.

    Source: reference inference/model.py, Attention.forward (q) and Block.hc_pre.
    """
    return x * inverse_rms(x, eps)


def inverse_rms(x, eps):                                # [..., D] -> [..., 1]
    """1 / root mean square of each row; eps keeps a row of zeros finite."""
    mean_square = np.mean(x * x, axis=-1, keepdims=True)
    return np.float32(1) / np.sqrt(mean_square + np.float32(eps))
