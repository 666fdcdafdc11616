"""Weights bound once: what kernels take of them, found by the noun that holds them, so that a token's calls look at none again.

Not here: kernels that take them (whole.py, linear.py, experts.py).
"""

from typing import NamedTuple

import numpy as np

from v4mini.kernels import mix, packed
from v4mini.kernels.arguments import as_floats
from v4mini.kernels.experts import bind
from v4mini.numerics.matrix import Matrix

NO_WEIGHT = np.empty(0, np.float32)


class Binder:
    """binder(noun, arrange) is arrange(noun), a function of this file or experts.bind; asked once for each noun."""

    def __init__(self):
        self._found = {}                                # (id, function) -> the noun, which stays alive, and what came of it

    def __call__(self, noun, arrange):                  # -> what arrange gives; None: kernels do not take this noun
        known = self._found.get((id(noun), arrange))
        if known is None:
            known = self._found[id(noun), arrange] = noun, arrange(noun)
        return known[1]


def plain(weight):                                      # Matrix or vector -> float32 array, or None
    """None for a weight that is stored in fewer bits, comes and goes, or is so large that threads share it out."""
    if type(weight) is Matrix:
        if not packed.is_dense(weight) or weight.dense_nbytes >= packed.PARALLEL_FROM:
            return None
        return as_floats(weight.dense())
    return as_floats(weight) if type(weight) is np.ndarray and weight.nbytes < packed.PARALLEL_FROM else None


def _all(*weights):                                     # -> [array, ...], or None if one is not plain
    found = []
    for weight in weights:
        array = plain(weight)
        if array is None:
            return None
        found.append(array)
    return found


def query_weights(w):                                   # tree.Attention -> [wq_a, q_norm, wq_b], or None
    """Of layers.attention.queries."""
    return _all(w.wq_a, w.q_norm, w.wq_b)


def key_weights(w):                                     # tree.Attention -> [wkv, kv_norm], or None
    """Of layers.attention.key_rows."""
    return _all(w.wkv, w.kv_norm)


def out_weights(w):                                     # tree.Attention -> [wo_a, wo_b], or None
    """Of layers.attention.project_out."""
    return _all(w.wo_a, w.wo_b)


def indexer_weights(w):                                 # tree.Indexer -> [wq_b, weights_proj], or None
    """Of layers.attention.index_queries."""
    return _all(w.wq_b, w.weights_proj)


def block_weights(w):                                   # tree.Compressor -> [wkv, wgate], or None
    """Of layers.compressor.block_rows."""
    return _all(w.wkv, w.wgate)


def stream_weights(hc):                                 # tree.HyperConnection -> [fn, base, scale], or None
    """Of layers.block.read_streams. Streams of one token so wide that threads share them out are not taken."""
    return None if hc.fn.shape[1] >= mix.PARALLEL_FROM else _all(hc.fn, hc.base, hc.scale)


class HalfWeights(NamedTuple):
    """Of layers.block.feed_forward."""

    arguments: tuple            # of the kernel: fn, base, scale, norm [D], gate [E, D], bias [E] or [0], then of the experts and
                                # of the shared one addresses [n, 3] and inter
    kept: tuple                 # alive: the addresses are of its arrays


def half_weights(w):                                    # tree.Block -> HalfWeights, or None
    """The streams' weights, and a layer's gate and experts."""
    first, pool, shared = stream_weights(w.hc_ffn), bind(w.ffn.experts), bind((w.ffn.shared_experts,))
    rest = _all(w.ffn_norm, w.ffn.gate.weight, NO_WEIGHT if w.ffn.gate.bias is None else w.ffn.gate.bias)
    if any(part is None for part in (first, rest, pool, shared)) or max(pool.nbytes, shared.nbytes) >= packed.PARALLEL_FROM:
        return None
    return HalfWeights((*first, *rest, pool.addresses, pool.inter, shared.addresses, shared.inter), (pool, shared))
