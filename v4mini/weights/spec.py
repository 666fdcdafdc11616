"""The only table of tensors: for a config, the name, shape, format and first value of each.

Initialisation, the check of a checkpoint (layouts.py), saving and counting all read it.
Source: the released checkpoint's index; for Flash the table's bytes are that index's total_size, 159,609,485,896.
Not here: how other projects spell the names (names.py), the numbers themselves.
"""

import math
from dataclasses import dataclass

from v4mini.numerics.matrix import scale_shape
from v4mini.weights.file import DTYPES

STORED = {"bf16": "BF16", "f32": "F32", "i64": "I64", "fp8": "F8_E4M3", "fp4": "I8"}       # the files' words


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of the model; quantised ones are stored as two (weight and scale)."""

    name: str               # "layers.0.attn.wq_a.weight"
    shape: tuple[int, ...]
    format: str             # bf16 | f32 | i64 | fp8 | fp4
    first: str              # what a new model starts from: see weights/random.py
    group: str              # the row of a parameter count it belongs to
    role: str = "plain"     # plain | full | linear | expert | table: only linear and expert matrices are ever quantised

    @property
    def size(self):         # -> numbers
        return math.prod(self.shape)

    @property
    def is_mtp(self):       # -> whether it belongs to a block that drafts
        return self.name.startswith("mtp.")

    @property
    def layer(self):        # -> number in layers.* or mtp.*, None outside all blocks
        return layer_of(self.name)

    @property
    def scale_name(self):
        return self.name.removesuffix("weight") + "scale"

    def stored(self):       # -> [(name, the files' dtype, shape)]
        """As it stands in a file: FP4 packs two numbers a byte and calls them I8."""
        if self.format == "fp8":
            return [(self.name, "F8_E4M3", self.shape), (self.scale_name, "F8_E8M0", scale_shape("fp8", *self.shape))]
        if self.format == "fp4":
            out, width = self.shape
            return [(self.name, "I8", (out, width // 2)), (self.scale_name, "F8_E8M0", scale_shape("fp4", out, width))]
        return [(self.name, STORED[self.format], self.shape)]

    @property
    def nbytes(self):       # as stored, scales included
        return sum(DTYPES[dtype].itemsize * math.prod(shape) for _, dtype, shape in self.stored())


def layer_of(name):         # "layers.3.attn.wq_a.weight" -> 3; a tensor of no block -> None
    """The number of the block, in layers.* or in mtp.*, that a released name belongs to."""
    kind, _, rest = name.partition(".")
    return int(rest.partition(".")[0]) if kind in ("layers", "mtp") else None


def tensors(config):        # -> [TensorSpec], in the order of the model
    """Every tensor of a checkpoint with this config."""
    return list(_Table(config).rows())


class _Table:
    def __init__(self, config):
        self.c = config
        plain = {"fp8": "bf16", "bf16": "bf16", "f32": "f32"}[config.dtype]
        self.formats = {"plain": plain, "full": "f32", "linear": config.dtype, "expert": config.expert_dtype or config.dtype,
                        "table": "i64"}

    def row(self, name, shape, kind, first, group):
        return TensorSpec(name, tuple(shape), self.formats[kind], first, group, kind)

    def rows(self):
        c = self.c
        yield self.row("embed.weight", (c.vocab_size, c.dim), "plain", "matrix", "embedding")
        for layer in range(c.n_layers):
            yield from self.block(f"layers.{layer}", layer)
        yield self.row("norm.weight", (c.dim,), "plain", "norm", "norms and vectors")
        yield from self.hyper_connection("hc_head", c.hc_mult, 1, "head")
        yield self.row("head.weight", (c.vocab_size, c.dim), "plain", "matrix", "output head")
        for number in range(c.n_mtp_layers):
            yield from self.mtp(f"mtp.{number}", c.n_layers + number)
        for stage in range(c.n_dspark_layers):
            yield from self.dspark(f"mtp.{stage}", stage)

    def hyper_connection(self, name, rows, scales, kind):
        c = self.c
        group = "mHC" if kind == "mix" else "norms and vectors"
        yield self.row(f"{name}_fn", (rows, c.hc_mult * c.dim), "full", "matrix", group)
        yield self.row(f"{name}_base", (rows,), "full", f"hc_{kind}_base", group)
        yield self.row(f"{name}_scale", (scales,), "full", "hc_scale", group)

    def block(self, name, layer):
        c = self.c
        mixes = (2 + c.hc_mult) * c.hc_mult
        for part in ("attn", "ffn"):
            yield self.row(f"{name}.{part}_norm.weight", (c.dim,), "plain", "norm", "norms and vectors")
            yield from self.hyper_connection(f"{name}.hc_{part}", mixes, 3, "mix")
        yield from self.attention(f"{name}.attn", c.ratio(layer), c.layer_kind(layer))
        yield from self.moe(f"{name}.ffn", c.is_hash_layer(layer))

    def attention(self, name, ratio, kind):
        c = self.c
        group_width = c.n_heads * c.head_dim // c.o_groups
        yield self.row(f"{name}.attn_sink", (c.n_heads,), "full", "sink", "norms and vectors")
        yield self.row(f"{name}.wq_a.weight", (c.q_lora_rank, c.dim), "linear", "matrix", "attn wq_a")
        yield self.row(f"{name}.q_norm.weight", (c.q_lora_rank,), "plain", "norm", "norms and vectors")
        yield self.row(f"{name}.wq_b.weight", (c.n_heads * c.head_dim, c.q_lora_rank), "linear", "matrix", "attn wq_b")
        yield self.row(f"{name}.wkv.weight", (c.head_dim, c.dim), "linear", "matrix", "attn wkv")
        yield self.row(f"{name}.kv_norm.weight", (c.head_dim,), "plain", "norm", "norms and vectors")
        yield self.row(f"{name}.wo_a.weight", (c.o_groups * c.o_lora_rank, group_width), "linear", "matrix", "attn wo_a")
        yield self.row(f"{name}.wo_b.weight", (c.dim, c.o_groups * c.o_lora_rank), "linear", "matrix", "attn wo_b")
        if kind == "window":
            return
        overlap = 2 if kind == "csa" else 1
        yield from self.compressor(f"{name}.compressor", ratio, overlap, c.head_dim, "compressor wkv+wgate")
        if kind == "csa":
            heads = c.index_n_heads
            yield self.row(f"{name}.indexer.wq_b.weight", (heads * c.index_head_dim, c.q_lora_rank), "linear", "matrix",
                           "indexer wq_b")
            yield self.row(f"{name}.indexer.weights_proj.weight", (heads, c.dim), "plain", "matrix", "indexer weights_proj")
            yield from self.compressor(f"{name}.indexer.compressor", ratio, overlap, c.index_head_dim,
                                       "indexer compressor wkv+wgate")

    def compressor(self, name, ratio, overlap, width, group):
        c = self.c
        yield self.row(f"{name}.ape", (ratio, overlap * width), "full", "ape", "norms and vectors")
        yield self.row(f"{name}.wkv.weight", (overlap * width, c.dim), "plain", "matrix", group)
        yield self.row(f"{name}.wgate.weight", (overlap * width, c.dim), "plain", "matrix", group)
        yield self.row(f"{name}.norm.weight", (width,), "plain", "norm", "norms and vectors")

    def moe(self, name, is_hash):
        c = self.c
        yield self.row(f"{name}.gate.weight", (c.n_routed_experts, c.dim), "plain", "matrix", "gate weight")
        if is_hash:
            yield self.row(f"{name}.gate.tid2eid", (c.vocab_size, c.n_activated_experts), "table",
                           f"distinct {c.n_routed_experts}", "hash tables")
        else:
            yield self.row(f"{name}.gate.bias", (c.n_routed_experts,), "full", "bias", "norms and vectors")
        for number in range(c.n_routed_experts):
            yield from self.expert(f"{name}.experts.{number}", "expert", "routed experts")
        yield from self.expert(f"{name}.shared_experts", "linear", "shared experts")

    def expert(self, name, kind, group):
        c = self.c
        for part, shape in (("w1", (c.moe_inter_dim, c.dim)), ("w2", (c.dim, c.moe_inter_dim)), ("w3", (c.moe_inter_dim, c.dim))):
            yield self.row(f"{name}.{part}.weight", shape, kind, "matrix", group)

    def mtp(self, name, layer):
        c = self.c
        yield from self.block(name, layer)
        for part in ("e_proj", "h_proj"):
            yield self.row(f"{name}.{part}.weight", (c.dim, c.dim), "linear", "matrix", "MTP projections")
        for part in ("enorm", "hnorm", "norm"):
            yield self.row(f"{name}.{part}.weight", (c.dim,), "plain", "norm", "norms and vectors")
        yield from self.hyper_connection(f"{name}.hc_head", c.hc_mult, 1, "head")

    def dspark(self, name, stage):
        """A DSpark block; the first also reads the model's layers, the last also drafts. Source: the 0731 release's index."""
        c = self.c
        yield from self.block(name, c.n_layers + stage)
        if stage == 0:
            yield self.row(f"{name}.main_proj.weight", (c.dim, len(c.dspark_target_layer_ids) * c.dim), "linear", "matrix",
                           "DSpark projection")
            yield self.row(f"{name}.main_norm.weight", (c.dim,), "plain", "norm", "norms and vectors")
        if stage == c.n_dspark_layers - 1:
            for part, shape in (("markov_head.markov_w1", (c.vocab_size, c.dspark_markov_rank)),
                                ("markov_head.markov_w2", (c.vocab_size, c.dspark_markov_rank)),
                                ("confidence_head.proj", (1, c.dim + c.dspark_markov_rank))):
                yield self.row(f"{name}.{part}.weight", shape, "plain", "matrix", "DSpark heads")
            yield self.row(f"{name}.norm.weight", (c.dim,), "plain", "norm", "norms and vectors")
            yield from self.hyper_connection(f"{name}.hc_head", c.hc_mult, 1, "head")
