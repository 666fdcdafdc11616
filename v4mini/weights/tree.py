"""Weights as nouns: `weights.layers[3].attn.wq_a` is the checkpoint's `layers.3.attn.wq_a`.

Large matrices stay as they are stored (numerics.matrix.Matrix, memory-mapped, decoded when used); vectors and tables
of a few numbers are float32 arrays. Not here: names in files (names.py), shapes (spec.py).
"""

from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np

from v4mini.numerics.matrix import Matrix, StoredMatrix
from v4mini.shapes import Refused


@dataclass(frozen=True)
class HyperConnection:
    """How one sub-layer reads and writes the streams (mHC)."""

    fn: np.ndarray          # [(2 + M) M, M D]; the head's: [M, M D]
    base: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True)
class Compressor:
    """What turns a block of tokens into one entry."""

    wkv: Matrix             # [2 hd, D] in a CSA layer, [hd, D] in an HCA layer
    wgate: Matrix
    ape: np.ndarray         # [ratio, as wkv's rows]
    norm: np.ndarray        # [hd]


@dataclass(frozen=True)
class Indexer:
    """What chooses the entries a token reads."""

    wq_b: Matrix            # [Hi * di, q_lora]
    weights_proj: Matrix    # [Hi, D]
    compressor: Compressor  # to di numbers


@dataclass(frozen=True)
class Attention:
    """One layer's attention: low-rank queries, one shared key-value row, grouped output."""

    wq_a: Matrix            # [q_lora, D]
    q_norm: np.ndarray
    wq_b: Matrix            # [H * hd, q_lora]
    wkv: Matrix             # [hd, D]
    kv_norm: np.ndarray
    wo_a: Matrix            # [groups * o_lora, H * hd / groups]
    wo_b: Matrix            # [D, groups * o_lora]
    attn_sink: np.ndarray   # [H]
    compressor: Compressor | None
    indexer: Indexer | None


@dataclass(frozen=True)
class Expert:
    """A clamped SwiGLU: w2 (silu(w1 x) * w3 x)."""

    w1: Matrix              # [inter, D], the gate
    w2: Matrix              # [D, inter]
    w3: Matrix              # [inter, D]


@dataclass(frozen=True)
class Gate:
    """Who works on a token: learned scores with a bias, or a table of token ids."""

    weight: Matrix          # [E, D]
    bias: np.ndarray | None         # [E], learned layers
    tid2eid: np.ndarray | None      # [V, K], hash layers


@dataclass(frozen=True)
class MoE:
    """A gate, its experts, and the one that all tokens share."""

    gate: Gate
    experts: tuple[Expert, ...]
    shared_experts: Expert


@dataclass(frozen=True)
class Block:
    """One layer."""

    attn_norm: np.ndarray
    ffn_norm: np.ndarray
    hc_attn: HyperConnection
    hc_ffn: HyperConnection
    attn: Attention
    ffn: MoE


@dataclass(frozen=True)
class Head:
    """What turns streams into logits; the matrix is shared by the model and its MTP block."""

    hc_head: HyperConnection
    norm: np.ndarray
    weight: Matrix          # [V, D]


@dataclass(frozen=True)
class MTP:
    """The block that predicts the token after next."""

    block: Block
    e_proj: Matrix          # [D, D]
    h_proj: Matrix          # [D, D]
    enorm: np.ndarray
    hnorm: np.ndarray
    head: Head


@dataclass(frozen=True)
class DSpark:
    """The drafter of the 0731 release: blocks that read the model's own layers and guess several tokens at once."""

    main_proj: Matrix       # [D, taps * D], the model's layers to one row
    main_norm: np.ndarray
    blocks: tuple[Block, ...]
    head: Head
    markov_w1: Matrix       # [V, r], a row for the token before
    markov_w2: Matrix       # [V, r], what it adds to each token's logit
    confidence: Matrix      # [1, D + r]


@dataclass(frozen=True)
class Weights:
    """A whole model."""

    embed: Matrix           # [V, D]
    layers: tuple[Block, ...]
    head: Head
    mtp: MTP | None
    dspark: DSpark | None = None


def mapped(tree, change, experts=None):                 # Weights or any noun, function -> the same noun
    """The same nouns with every matrix, vector and table changed: change(Matrix or array) gives what takes its place.

    What is neither (what an engine has placed already) stays as it is. experts(a layer's tuple of Expert) gives what takes the
    place of all of them, or None: each for itself.
    """
    if isinstance(tree, StoredMatrix | np.ndarray):
        return change(tree)
    if isinstance(tree, tuple):
        together = experts(tree) if experts and tree and isinstance(tree[0], Expert) else None
        return tuple(mapped(item, change, experts) for item in tree) if together is None else together
    if is_dataclass(tree):
        return replace(tree, **{field.name: mapped(getattr(tree, field.name), change, experts) for field in fields(tree)})
    return tree


def named(tree, config):                                # yields (name in a checkpoint, leaf)
    """Every matrix, vector and table of Weights, whatever an engine has made of them, under the name of its tensor."""
    return _beside(_Names(config, None, False).weights(), tree)


def _beside(names, tree):
    if isinstance(names, str):
        yield names, tree
    elif isinstance(names, tuple):
        for name, item in zip(names, tree):
            yield from _beside(name, item)
    elif names is not None:
        for field in fields(names):
            yield from _beside(getattr(names, field.name), getattr(tree, field.name))


def build(config, tensor, keep=True):                   # -> Weights
    """Arrange tensors into nouns. `tensor(name)` gives a stored array or None; keep: decoded matrices stay in memory."""
    return _Builder(config, tensor, keep).weights()


class _Builder:
    def __init__(self, config, tensor, keep):
        self.config, self.tensor, self.keep = config, tensor, keep

    def matrix(self, name):
        codes = self.tensor(name + ".weight")
        if codes.dtype == np.float16:
            codes = codes.astype(np.float32)
        return Matrix(codes, self.tensor(name + ".scale"), keep=self.keep, name=name)

    def vector(self, name):
        return np.ascontiguousarray(self.tensor(name), dtype=np.float32)

    def table(self, name):
        table = self.tensor(name)
        experts = self.config.n_routed_experts
        if table.min() < 0 or table.max() >= experts:
            raise Refused(f"{name}: expected experts 0 to {experts - 1}, got {table.min()} to {table.max()}. "
                          "Is the file damaged?")
        return table

    def hyper_connection(self, name):
        return HyperConnection(*(self.vector(f"{name}_{part}") for part in ("fn", "base", "scale")))

    def compressor(self, name):
        return Compressor(self.matrix(f"{name}.wkv"), self.matrix(f"{name}.wgate"), self.vector(f"{name}.ape"),
                          self.vector(f"{name}.norm.weight"))

    def indexer(self, name):
        return Indexer(self.matrix(f"{name}.wq_b"), self.matrix(f"{name}.weights_proj"), self.compressor(f"{name}.compressor"))

    def attention(self, name, kind):
        return Attention(
            wq_a=self.matrix(f"{name}.wq_a"), q_norm=self.vector(f"{name}.q_norm.weight"), wq_b=self.matrix(f"{name}.wq_b"),
            wkv=self.matrix(f"{name}.wkv"), kv_norm=self.vector(f"{name}.kv_norm.weight"),
            wo_a=self.matrix(f"{name}.wo_a"), wo_b=self.matrix(f"{name}.wo_b"), attn_sink=self.vector(f"{name}.attn_sink"),
            compressor=None if kind == "window" else self.compressor(f"{name}.compressor"),
            indexer=self.indexer(f"{name}.indexer") if kind == "csa" else None)

    def expert(self, name):
        return Expert(*(self.matrix(f"{name}.{part}") for part in ("w1", "w2", "w3")))

    def moe(self, name, is_hash):
        gate = Gate(self.matrix(f"{name}.gate"), None if is_hash else self.vector(f"{name}.gate.bias"),
                    self.table(f"{name}.gate.tid2eid") if is_hash else None)
        pool = tuple(self.expert(f"{name}.experts.{number}") for number in range(self.config.n_routed_experts))
        return MoE(gate, pool, self.expert(f"{name}.shared_experts"))

    def block(self, name, layer):
        return Block(
            attn_norm=self.vector(f"{name}.attn_norm.weight"), ffn_norm=self.vector(f"{name}.ffn_norm.weight"),
            hc_attn=self.hyper_connection(f"{name}.hc_attn"), hc_ffn=self.hyper_connection(f"{name}.hc_ffn"),
            attn=self.attention(f"{name}.attn", self.config.layer_kind(layer)),
            ffn=self.moe(f"{name}.ffn", self.config.is_hash_layer(layer)))

    def mtp(self, name, head):
        return MTP(
            block=self.block(name, self.config.n_layers),
            e_proj=self.matrix(f"{name}.e_proj"), h_proj=self.matrix(f"{name}.h_proj"),
            enorm=self.vector(f"{name}.enorm.weight"), hnorm=self.vector(f"{name}.hnorm.weight"),
            head=Head(self.hyper_connection(f"{name}.hc_head"), self.vector(f"{name}.norm.weight"), head))

    def dspark(self, head):
        stages = self.config.n_dspark_layers
        first = "mtp.0"
        last = f"mtp.{stages - 1}"
        return DSpark(
            main_proj=self.matrix(f"{first}.main_proj"), main_norm=self.vector(f"{first}.main_norm.weight"),
            blocks=tuple(self.block(f"mtp.{stage}", self.config.n_layers + stage) for stage in range(stages)),
            head=Head(self.hyper_connection(f"{last}.hc_head"), self.vector(f"{last}.norm.weight"), head),
            markov_w1=self.matrix(f"{last}.markov_head.markov_w1"), markov_w2=self.matrix(f"{last}.markov_head.markov_w2"),
            confidence=self.matrix(f"{last}.confidence_head.proj"))

    def weights(self):
        head = self.matrix("head")
        return Weights(
            embed=self.matrix("embed"), layers=tuple(self.block(f"layers.{i}", i) for i in range(self.config.n_layers)),
            head=Head(self.hyper_connection("hc_head"), self.vector("norm.weight"), head),
            mtp=self.mtp("mtp.0", head) if self.config.n_mtp_layers else None,
            dspark=self.dspark(head) if self.config.n_dspark_layers else None)


class _Names(_Builder):                 # the same tree with names for leaves
    def matrix(self, name):
        return f"{name}.weight"

    def vector(self, name):
        return name

    table = vector
