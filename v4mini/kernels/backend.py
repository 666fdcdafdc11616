"""NumbaBackend: the engine for a processor's cores. The contract of v4mini.backend.Backend, and kernels behind it.

Not here: the loops (the other files of this folder).
"""

from v4mini.backend import Backend
from v4mini.kernels import attention, bind, compress, experts, fp4, index, linear, mix, norm, rope, route, whole
from v4mini.kernels.arguments import as_floats
from v4mini.kernels.keys import Keys
from v4mini.numerics import blocks

# what has no loop worth a kernel: look-ups and copies, a trace, and roundings that few ask for
NUMPY = ("take", "concat", "detach", "embed", "hc_expand", "attention_weights", "round_kv", "round_index")


class NumbaBackend(Backend):
    """Numba kernels, BLAS for products with dense weights, NumPy for the rest; describe() says which is which."""

    name = "numba"
    whole = whole.PARTS

    def __init__(self, simulate=None):
        super().__init__(simulate)
        self._constants = {}                            # id -> the array, and the copy that kernels take as it is
        self.bound = bind.Binder()

    def describe(self):                                 # -> {operation: who runs it}
        """Which engine runs each operation, so that no stand-in is silent."""
        packed = f"up to {linear.MAX_MATVEC_TOKENS} with packed weights (FP4 by {fp4.table_lookup() or 'bits, no AVX here'})"
        products = f"numpy (BLAS); one token, or {packed}: numba"
        mixing = "numba, its product numpy (BLAS)"
        return super().describe() | dict.fromkeys(NUMPY, "numpy") | {
            "linear": products, "grouped_linear": products, "hc_pre": mixing, "hc_head": mixing,
            "expert": f"numba, its products {products}", "experts": f"numba, its products {products}"}

    # ---- rows, arrays ----

    def formats(self, config, storage):
        """Index keys in float32 have eight-bit codes beside them."""
        formats = super().formats(config, storage)
        return formats._replace(key=Keys(config.index_head_dim)) if storage == "float32" else formats

    def constant(self, array):
        if id(array) not in self._constants:
            self._constants[id(array)] = array, as_floats(array)
        return self._constants[id(array)][1]

    # ---- products with weights ----

    def linear(self, x, weight):
        if x.size == x.shape[-1] and not self.simulate and (plain := self.bound(weight, bind.plain)) is not None:
            return linear.one_row(x, plain)
        return linear.linear(self._rounded(x, weight), weight)

    def grouped_linear(self, x, weight, groups):
        return linear.grouped_linear(x, weight, groups)

    # ---- norms and positions ----

    def rms_norm(self, x, weight, eps):
        return norm.rms_norm(x, weight, eps)

    def rms_unit(self, x, eps):
        return norm.rms_unit(x, eps)

    def rope(self, x, positions, freqs, inverse=False):
        return rope.rope(x, positions, freqs, inverse)

    # ---- residual streams ----

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        return mix.hc_pre(streams, hc.fn, hc.base, hc.scale, iters, eps, norm_eps)

    def hc_post(self, y, streams, post, comb):
        return mix.hc_post(y, streams, post, comb)

    def hc_head(self, streams, hc, eps, norm_eps):
        return mix.hc_head(streams, hc.fn, hc.base, hc.scale, eps, norm_eps)

    # ---- attention ----

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
        return compress.compress(kv, score, ape, ratio, previous, overlap)

    def index_topk(self, q, keys, weights, visible, k):
        return index.index_topk(q, keys, weights, visible, k)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        return attention.attend(q, rows, first, sink, window, scale, entries, picks, visible)

    # ---- experts ----

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        return route.route(scores, route_scale, k, bias, chosen)

    def expert(self, x, w, limit):
        return experts.expert(x, w, limit, self.linear, self._experts((w,), w))

    def experts(self, x, chosen, weights, pool, limit):
        if chosen.shape[0] == 1 and chosen.size:
            return experts.experts_of_one(x, chosen, weights, pool, limit, self._rounded)
        return experts.experts(x, chosen, weights, pool, limit, self.linear, self._experts(pool, pool))

    def _experts(self, pool, noun):                     # -> experts.Bound, or None: their products go through `linear`
        """With the released rounding, quantised ones meet rounded inputs, which `linear` makes."""
        if self.simulate and pool and pool[0].w1.is_quantised:
            return None
        return self.bound(noun, experts.bind)

    def _rounded(self, x, weight):
        return blocks.round_activations(x) if self.simulate and weight.is_quantised else x
