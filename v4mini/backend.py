"""Backend: the one list of operations a V4 is made of, and NumPy behind each.

Layers call these and nothing else, so whoever overrides a method (Numba kernels, a device, a gradient tape) runs the
same model. Arrays that come in and go out are the backend's own kind; here they are NumPy float32.
Not here: the formulas (ops/), the order in which a model calls them (layers/).
"""

from v4mini.numerics import blocks
from v4mini.numerics.hadamard import hadamard
from v4mini.ops import attention, compress, experts, index, linear, mix, norm, rope, route
from v4mini.shapes import Refused


class Backend:
    """The NumPy engine, and the contract of every other one.

    simulate=None computes in float32 throughout. simulate="released" adds the rounding of DeepSeek's inference script:
    inputs of quantised matrices to FP8, cached rows to FP8, indexer queries and keys through Hadamard to FP4.
    """

    name = "numpy"

    def __init__(self, simulate=None):
        if simulate not in (None, "released"):
            raise Refused(f"simulate: expected None or 'released', got {simulate!r}. Leave it out for plain float32.")
        self.simulate = simulate

    def describe(self):                                 # -> {operation: who runs it}
        """Which engine runs each operation, so that no stand-in is silent."""
        return dict.fromkeys(OPERATIONS, self.name)

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

    def rope(self, x, positions, freqs, inverse=False):  # [T, ..., hd], [T], [rd / 2] -> [T, ..., hd]
        return rope.rope(x, positions, freqs, inverse)

    # ---- residual streams ----

    def hc_pre(self, streams, hc, iters, eps, norm_eps):     # [T, M, D] -> u [T, D], post [T, M], comb [T, M, M]
        return mix.hc_pre(streams, hc.fn, hc.base, hc.scale, iters, eps, norm_eps)

    def hc_post(self, y, streams, post, comb):          # [T, D], [T, M, D], [T, M], [T, M, M] -> [T, M, D]
        return mix.hc_post(y, streams, post, comb)

    def hc_head(self, streams, hc, eps, norm_eps):      # [T, M, D] -> [T, D]
        return mix.hc_head(streams, hc.fn, hc.base, hc.scale, eps, norm_eps)

    # ---- attention ----

    def compress(self, kv, score, ratio, previous=None, overlap=False):     # [n * ratio, C] twice -> [n, hd]
        return compress.compress(kv, score, ratio, previous, overlap)

    def index_topk(self, q, keys, weights, visible, k):      # [T, Hi, di], [N, di], [T, Hi], [T], int -> [T, <= k] int64
        return index.index_topk(q, keys, weights, visible, k)

    def attend(self, q, rows, sink, window, scale, entries=None, picks=None, visible=None):     # -> [T, H, hd]
        return attention.attend(q, rows, sink, window, scale, entries, picks, visible)

    def attention_weights(self, q, rows, sink, window, scale, entries=None, picks=None, visible=None):
        # for traces; -> [T, H, W], [T, H, K or N], [T, H]
        return attention.attention_weights(q, rows, sink, window, scale, entries, picks, visible)

    def round_kv(self, rows, rope_head_dim):            # [T, hd] -> [T, hd]
        return blocks.round_kv(rows, rope_head_dim) if self.simulate else rows

    def round_index(self, rows):                        # [..., di] -> [..., di]
        return blocks.round_index(hadamard(rows)) if self.simulate else rows

    # ---- experts ----

    def route(self, scores, route_scale, k, bias=None, chosen=None):        # [T, E] -> [T, K] int64, [T, K]
        return route.route(scores, route_scale, k, bias, chosen)

    def expert(self, x, w, limit):                      # [T, D] -> [T, D]
        return experts.expert(x, w, limit, self.linear)

    def experts(self, x, chosen, weights, pool, limit):  # [T, D], [T, K], [T, K] -> [T, D]
        return experts.experts(x, chosen, weights, pool, limit, self.linear)


OPERATIONS = tuple(name for name, method in vars(Backend).items()
                   if callable(method) and not name.startswith("_") and name != "describe")
