"""DeviceBackend: the kernels as an engine; cuda.py and ascend.py are this one on a chip.

A quantised matrix is read as it is stored, FP4 or FP8, by the kernel that multiplies with it; the experts of a layer lie in one
stack. What has no kernel here, or weights of a format that no kernel reads, is torch's own operation on the same device:
describe() tells one from the other.
Not here: launches (launch.py), plain formulas (reference.py).
"""

import torch

from accel import weights as torch_weights
from accel.launch import Launcher
from accel.reference import TorchBackend
from accel.weights import ExpertPool, can_stack, check_width
from v4mini.numerics.matrix import TILE

KERNELS = {"linear": "experts.grouped_matmul", "grouped_linear": "experts.grouped_matmul", "experts": "experts.grouped_swiglu",
           "rms_norm": "norm.rms_norm", "rms_unit": "norm.rms_norm", "rope": "rope.rope", "hc_pre": "mix.hc_pre",
           "hc_post": "mix.hc_post", "compress": "compress.compress", "index_topk": "index.select_topk",
           "attend": "attention.sparse_attention"}


class DeviceBackend(TorchBackend):
    """Operations by kernel. target: a tile table of tiles.toml; products: the dtype that is multiplied. Sums are float32."""

    name = "device"

    def __init__(self, simulate, device, target, products=torch.bfloat16):
        super().__init__(simulate, device)
        self.has_fixed_shapes = simulate is None        # and experts are stored in FP4 or FP8
        self.launch = Launcher(target, products)

    def describe(self):
        return {**super().describe(), **{name: f"{self.name}: {kernel}" for name, kernel in KERNELS.items()}}

    def place(self, weights):
        def pool(experts):
            return ExpertPool(experts, self.device) if can_stack(experts) else None
        return torch_weights.place(weights, self.device, pool)

    # ---- products with weights ----

    def linear(self, x, weight):
        if not weight.is_quantised:
            return super().linear(x, weight)
        check_width(x, weight)
        rows = self._rounded(x, weight).reshape(-1, weight.shape[1])
        y = self.launch.matmul(rows, *as_bytes(weight), weight.format == "fp4")
        return y.view(*x.shape[:-1], weight.shape[0])

    def grouped_linear(self, x, weight, groups):        # a group's rows of the weight are an expert of their own
        out = weight.shape[0] // groups
        if not weight.is_quantised or (weight.format == "fp8" and out % TILE):
            return super().grouped_linear(x, weight, groups)
        parts = x.view(len(x), groups, weight.shape[1]).transpose(0, 1)                 # [G, T, in]
        codes, scale = (part.unflatten(0, (groups, -1)) for part in as_bytes(weight))
        y = self.launch.batched(parts, codes, scale, weight.format == "fp4")            # [G, T, out]
        return y.transpose(0, 1).flatten(1)

    def experts(self, x, chosen, weights, pool, limit):
        if self.simulate or not isinstance(pool, ExpertPool):   # the script rounds between the products of an expert
            return super().experts(x, chosen, weights, pool, limit)
        return self.launch.experts(x, chosen, weights, pool, limit)

    # ---- norms and positions ----

    def rms_norm(self, x, weight, eps):
        return self.launch.rms_norm(x, weight, eps)

    def rms_unit(self, x, eps):
        return self.launch.rms_norm(x, None, eps)

    def rope(self, x, positions, freqs, inverse=False):
        if len(freqs) & (len(freqs) - 1):               # the kernel splits a row of a power of two
            return super().rope(x, positions, freqs, inverse)
        angles = self._ints(positions).float()[:, None] * freqs                         # [T, rd / 2]
        return self.launch.rope(x, angles.cos(), -angles.sin() if inverse else angles.sin())

    # ---- residual streams ----

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        return self.launch.hc_pre(streams, hc.fn, hc.base, hc.scale, iters, eps, norm_eps)

    def hc_post(self, y, streams, post, comb):
        return self.launch.hc_post(y, streams, post, comb)

    # ---- attention ----

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
        return self.launch.compress(kv, score, ape, ratio, previous, overlap)

    def index_topk(self, q, keys, weights, visible, k):
        return self.launch.index_topk(q, keys[:], weights, self._ints(visible), k).long()

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        entries, picks, visible = (None if a is None else change(a) for a, change in
                                   ((entries, lambda rows: rows[:]), (picks, self._ints), (visible, self._ints)))
        return self.launch.attend(q, rows, self._ints(first), sink, window, scale, entries, picks, visible)


def as_bytes(weight):                                   # TorchMatrix -> codes, scales as int8
    """910B has no unsigned arithmetic, so kernels read signed bytes."""
    return weight.codes.view(torch.int8), weight.scale.view(torch.int8)
