"""Backend: the one contract of every engine, and NumPy behind each part of it.

An engine owns four things; layers, models and caches pass on what it gives them, and of their own only add, scale by a Python
number, slice and reshape:

    operations      the formulas of a V4, and five that only move or mark arrays (OPERATIONS lists them)
    weights         place(weights) puts a tree of weights where the operations want it
    rows            formats(config, storage) says how the rows of a cache are stored
    the way out     host(x) makes a NumPy array of the engine's own: for logits, traces, files

It may have a fifth, `whole`: parts of a layer that it takes in one call, with the same bits (layers/seams.py).

Whoever overrides a method (Numba kernels, a device, a gradient tape) runs the same model. Arrays of float32 that come in and go
out are the engine's own kind; here they are NumPy's. Integers (ids, positions, first, visible, rows of `take`) may come as NumPy
arrays too, and picks and chosen experts are the engine's own again: only its operations look at them.

`pytest tests/engines --engine NAME`, or `--engine package.module:Class` for one of your own, says what an engine lacks and where
its answers differ: each operation on hard inputs, then whole models. accel/reference.py is a second engine in 250 lines.
Not here: the formulas (ops/), the order in which a model calls them (layers/), names of engines (engines.py).
"""

import numpy as np

from v4mini.numerics import blocks, rows
from v4mini.numerics.hadamard import hadamard
from v4mini.ops import attention, compress, experts, index, linear, mix, norm, rope, route
from v4mini.shapes import Refused


class Backend:
    """The NumPy engine, and the contract of every other one.

    simulate=None computes in float32 throughout. simulate="released" adds the rounding of DeepSeek's inference script:
    inputs of quantised matrices to FP8, cached rows to FP8, indexer queries and keys through Hadamard to FP4.
    """

    name = "numpy"
    on_host = True              # weights are read where they lie, so they may come and go (inference/streaming)

    def __init__(self, simulate=None):
        if simulate not in (None, "released"):
            raise Refused(f"simulate: expected None or 'released', got {simulate!r}. Leave it out for plain float32.")
        self.simulate = simulate

    def describe(self):                                 # -> {operation: who runs it}
        """Which engine runs each operation, so that no stand-in is silent."""
        return dict.fromkeys(OPERATIONS, self.name)

    # ---- weights, rows, the way out ----

    def place(self, weights):                           # Weights -> Weights
        """The same tree, or any part of one, its matrices and vectors as the operations want them. What is placed already stays
        as it is.
        """
        return weights

    def formats(self, config, storage):                 # -> numerics.rows.Formats
        """How the rows of a cache are stored. What their `decode` and `joined` give goes to attend, index_topk and compress."""
        return rows.formats(config, storage)

    def host(self, x):                                  # -> NumPy array
        """A copy on the host, or x itself if it lies there."""
        return np.asarray(x)

    def at(self, layer):                                # int -> the engine for that layer (n_layers: the MTP block)
        """Called once a layer and pass; what it gives runs that layer. For engines that must know where they are."""
        return self

    # ---- arrays: moved or marked, not computed with ----

    def constant(self, array):                          # NumPy [...] -> [...]
        """A read-only array that is the same object at every call: an engine may send it once and keep it."""
        return array

    def take(self, x, rows):                            # [N, ...], [n] int -> [n, ...]
        return x[rows]

    def concat(self, parts):                            # [[n1, ...], [n2, ...], ...] -> [n1 + n2 + ..., ...]
        return np.concatenate(parts)

    def detach(self, x):                                # [...] -> [...]
        """The same numbers; no gradient passes."""
        return x

    # ---- products with weights ----

    def embed(self, ids, table):                        # [T] int, Matrix [V, D] -> [T, D]
        return linear.embed(ids, table)

    def linear(self, x, weight):                        # [..., in], Matrix [out, in] -> [..., out]
        if self.simulate and weight.is_quantised:
            x = blocks.round_activations(x)
        return linear.linear(x, weight)

    def grouped_linear(self, x, weight, groups):        # [T, G * in], Matrix [G * out, in] -> [T, G * out]
        # no rounding: the reference decodes wo_a to BF16 when it converts a checkpoint
        return linear.grouped_linear(x, weight, groups)

    # ---- norms and positions ----

    def rms_norm(self, x, weight, eps):                 # [..., D], [D] -> [..., D]
        return norm.rms_norm(x, weight, eps)

    def rms_unit(self, x, eps):                         # [..., D] -> [..., D]
        return norm.rms_unit(x, eps)

    def rope(self, x, positions, freqs, inverse=False):  # [T, ..., hd], [T] int, [rd / 2] -> [T, ..., hd]
        return rope.rope(x, positions, freqs, inverse)

    # ---- residual streams ----

    def hc_expand(self, h, M):                          # [T, D], int -> [T, M, D]; nobody writes to it, so it may be a view
        return mix.hc_expand(h, M)

    def hc_pre(self, streams, hc, iters, eps, norm_eps):     # [T, M, D] -> u [T, D], post [T, M], comb [T, M, M]
        return mix.hc_pre(streams, hc.fn, hc.base, hc.scale, iters, eps, norm_eps)

    def hc_post(self, y, streams, post, comb):          # [T, D], [T, M, D], [T, M], [T, M, M] -> [T, M, D]
        return mix.hc_post(y, streams, post, comb)

    def hc_head(self, streams, hc, eps, norm_eps):      # [T, M, D] -> [T, D]
        return mix.hc_head(streams, hc.fn, hc.base, hc.scale, eps, norm_eps)

    # ---- attention ----

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):    # [n * ratio, C] twice, [ratio, C] -> [n, hd]
        return compress.compress(kv, score, ape, ratio, previous, overlap)

    def index_topk(self, q, keys, weights, visible, k):      # [T, Hi, di], [N, di], [T, Hi], [T] int, int -> [T, min(k, N)] int
        """keys may be more than anybody sees. Of equal scores the earlier entry; rising, then -1 where none is left."""
        return index.index_topk(q, keys, weights, visible, k)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):      # -> [T, H, hd]
        """q [T, H, hd]; rows [P + T, hd], token t reads rows first[t] .. P + t, at most `window` of them; sink [H]; entries
        [N, hd] with picks [T, K] (-1: none) or visible [T] (the first so many). One softmax over all; see ops/attention.py.
        """
        return attention.attend(q, rows, first, sink, window, scale, entries, picks, visible)

    def attention_weights(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        # for traces, of attend's arguments; -> [T, H, W], [T, H, K or N], [T, H]
        return attention.attention_weights(q, rows, first, sink, window, scale, entries, picks, visible)

    def round_kv(self, rows, rope_head_dim):            # [T, hd] -> [T, hd]
        return blocks.round_kv(rows, rope_head_dim) if self.simulate else rows

    def round_index(self, rows):                        # [..., di] -> [..., di]
        return blocks.round_index(hadamard(rows)) if self.simulate else rows

    # ---- experts ----

    def route(self, scores, route_scale, k, bias=None, chosen=None):        # [T, E] -> [T, K] int, [T, K]
        return route.route(scores, route_scale, k, bias, chosen)

    def expert(self, x, w, limit):                      # [T, D] -> [T, D]
        return experts.expert(x, w, limit, self.linear)

    def experts(self, x, chosen, weights, pool, limit):  # [T, D], [T, K], [T, K] -> [T, D]
        return experts.experts(x, chosen, weights, pool, limit, self.linear)


BESIDE = ("describe", "place", "formats", "host", "at")     # what an engine has beside operations
OPERATIONS = tuple(name for name, method in vars(Backend).items()
                   if callable(method) and not name.startswith("_") and name not in BESIDE)
