"""Weights as they may be stored: how many bytes each part of a V4 takes, released or re-quantised.

    weights      routed experts               other matrices in FP8 as released    the rest
    released     FP4, a scale per 32          FP8, a scale per 128 x 128           BF16, F32: 159.6 GB for Flash
    fp8          FP8, a scale per 128 x 128   FP8                                  as released; the Base checkpoints
    w8a8         INT8, a scale per row        INT8, a scale per row                as released; vLLM-Ascend's
    w4a8         INT4, a scale per row        INT8, a scale per row                as released; vLLM-Ascend's
    bf16         BF16                         BF16                                 as released
    q2           w1, w3: 66 bytes per 256     34 bytes per 32 (Q8_0)               as released, the head Q8_0; ds4's
                 (IQ2_XXS); w2: 84 (Q2_K)

Not here: shapes and names of tensors (weights/spec.py), caches (memory.py).
"""

import dataclasses
import re
from collections import Counter
from functools import lru_cache

from v4mini.shapes import Refused
from v4mini.weights.spec import tensors

WEIGHTS = ("released", "fp8", "w8a8", "w4a8", "bf16", "q2")
ARITHMETIC = {"released": "fp8", "fp8": "fp8", "w8a8": "int8", "w4a8": "int8", "bf16": "bf16", "q2": "bf16"}
EXPERTS = "routed experts"
QUANTISED = {EXPERTS, "shared experts", "attn wq_a", "attn wq_b", "attn wkv", "attn wo_a", "attn wo_b", "indexer wq_b",
             "MTP projections", "DSpark projection"}         # groups that the release stores in FP4 and FP8
ROW_SCALE = 4                   # bytes: one float32 a row of an INT8 or INT4 matrix
_NUMBERS = re.compile(r"\.\d+(?=\.)")                  # of layers and experts, in a name


@dataclasses.dataclass(frozen=True)
class Kind:
    """Tensors alike in all that bytes depend on. `one` is a specimen, its name without numbers."""

    one: object                 # TensorSpec
    count: int
    is_mtp: bool

    @property
    def size(self):             # -> numbers in all of them; a hash table holds none that were learned
        return 0 if self.one.format == "i64" else self.one.size * self.count

    @property
    def is_product(self):
        """Is a token multiplied with it? Norms, biases, tables and the embedding are not products."""
        return self.one.first == "matrix" and self.one.group != "embedding"


@lru_cache(maxsize=64)
def kinds(config):                                      # -> (Kind, ...)
    """All tensors of a checkpoint, summed up: Pro has 140,000, of some 40 kinds."""
    counted = Counter()
    first = {}
    for spec in tensors(config):
        key = _NUMBERS.sub("", spec.name), spec.shape, spec.format, spec.group
        counted[key] += 1
        first.setdefault(key, spec)
    return tuple(Kind(dataclasses.replace(first[key], name=key[0]), count, first[key].is_mtp) for key, count in counted.items())


def stored_bytes(config, weights="released", mtp=False):        # -> {group: bytes}
    """Bytes of a checkpoint by group, in one of WEIGHTS; with mtp the block for drafts too, as its own group."""
    check_weights(weights)
    groups = Counter()
    for kind in kinds(config):
        if mtp or not kind.is_mtp:
            groups["MTP block" if kind.is_mtp else kind.one.group] += kind.count * spec_bytes(kind.one, weights)
    return dict(groups)


def format_bytes(config, weights="released", mtp=False):        # -> {format: bytes}
    """The same by number format: what the released files hold as fp4, fp8, bf16, f32, i64."""
    check_weights(weights)
    formats = Counter()
    for kind in kinds(config):
        if mtp or not kind.is_mtp:
            formats[stored_format(kind.one, weights)] += kind.count * spec_bytes(kind.one, weights)
    return dict(formats)


def spec_bytes(spec, weights):                          # -> bytes of one tensor, scales included
    """By the table above. Plain floats and tables stay as they are."""
    is_expert = spec.group == EXPERTS
    is_quantised = spec.group in QUANTISED
    if weights == "q2" and (is_expert or is_quantised or spec.group == "output head"):
        return _ds4_bytes(spec, is_expert)
    if weights == "released" or not is_quantised:
        return spec.nbytes
    if weights == "fp8":
        return dataclasses.replace(spec, format="fp8").nbytes
    if weights == "bf16":
        return 2 * spec.size
    return (spec.size // 2 if is_expert and weights == "w4a8" else spec.size) + ROW_SCALE * spec.shape[0]


def stored_format(spec, weights):                       # -> "fp4", "int8" ...
    """The number format that this way of storing gives a tensor."""
    is_expert = spec.group == EXPERTS
    is_quantised = spec.group in QUANTISED
    if weights == "q2" and (is_expert or is_quantised or spec.group == "output head"):
        return "q2" if is_expert else "q8"
    if weights == "released" or not is_quantised:
        return spec.format
    return {"fp8": "fp8", "bf16": "bf16", "w8a8": "int8", "w4a8": "int4" if is_expert else "int8"}[weights]


def _ds4_bytes(spec, is_expert):
    if not is_expert:
        return spec.size * 34 // 32
    return spec.size * (84 if spec.name.endswith("w2.weight") else 66) // 256


def check_weights(weights):
    """Raise Refused unless it is one of WEIGHTS."""
    if weights not in WEIGHTS:
        raise Refused(f"weights: expected {', '.join(WEIGHTS)}, got {weights!r}. released is what DeepSeek published.")
