"""One tensor, several spellings: the released names, and those of Hugging Face transformers. Ours are the released ones.

    released                       layers.3.attn.indexer.compressor.norm.weight
    transformers, in memory        model.layers.3.self_attn.compressor.indexer.kv_norm.weight
    transformers, saved again      model.layers.3.self_attn.compressor.indexer.norm.weight, and other mixtures

`save_pretrained` turns names back by regular expressions, so a file may hold released names behind "model.", in-memory names,
or halves of both. Therefore every folder and leaf below is accepted in either spelling; a leaf alone says nothing, as
kv_norm is attn.kv_norm, attn.compressor.norm or attn.indexer.compressor.norm, depending on its folder.

Not here: shapes (spec.py), files (store.py), numbers.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from v4mini.shapes import Refused
from v4mini.weights.file import MAX_TENSORS

_COMPRESSOR = {"wkv": "kv_proj", "wgate": "gate_proj", "ape": "position_bias", "norm": "kv_norm"}

# Inside a block: (released folder, HF folder) -> released leaf: HF leaf.
_BLOCK = {
    ("", ""): {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "hc_attn_fn": "attn_hc.fn", "hc_attn_base": "attn_hc.base", "hc_attn_scale": "attn_hc.scale",
        "hc_ffn_fn": "ffn_hc.fn", "hc_ffn_base": "ffn_hc.base", "hc_ffn_scale": "ffn_hc.scale",
    },
    ("attn.", "self_attn."): {
        "attn_sink": "sinks", "wq_a": "q_a_proj", "q_norm": "q_a_norm", "wq_b": "q_b_proj",
        "wkv": "kv_proj", "kv_norm": "kv_norm", "wo_a": "o_a_proj", "wo_b": "o_b_proj",
    },
    ("attn.compressor.", "self_attn.compressor."): _COMPRESSOR,
    ("attn.indexer.", "self_attn.compressor.indexer."): {"wq_b": "q_b_proj", "weights_proj": "scorer.weights_proj"},
    ("attn.indexer.compressor.", "self_attn.compressor.indexer."): _COMPRESSOR,
    ("ffn.gate.", "mlp.gate."): {"weight": "weight", "bias": "e_score_correction_bias", "tid2eid": "tid2eid"},
    ("ffn.shared_experts.", "mlp.shared_experts."): {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"},
}
_TOP = {
    "embed.weight": "model.embed_tokens.weight", "head.weight": "lm_head.weight", "norm.weight": "model.norm.weight",
    "hc_head_fn": "model.hc_head.hc_fn", "hc_head_base": "model.hc_head.hc_base", "hc_head_scale": "model.hc_head.hc_scale",
}
_LEAVES = {"weight": ".weight", "scale": ".weight_scale_inv"}   # an FP8 linear's scales, as transformers holds them
_BARE = {"attn_sink", "ape"}                                    # parameters, not modules: nothing follows their name

_PART = {"w1": ("gate_up_proj", 0), "w3": ("gate_up_proj", 1), "w2": ("down_proj", None)}
_NUMBER = r"(0|[1-9][0-9]{0,5})"
_IN_BLOCK = re.compile(rf"((?:layers|mtp)\.{_NUMBER}\.)(.+)")
_ONE_EXPERT = re.compile(rf"(?:ffn|mlp)\.experts\.{_NUMBER}\.(w[123]|(?:gate|down|up)_proj)\.(weight|scale|weight_scale_inv)")
_ALL_EXPERTS = re.compile(r"(?:ffn|mlp)\.experts\.(gate_up_proj|down_proj)(_scale_inv)?")


def _spellings():       # -> {any spelling inside a block: released}, {released: HF}
    read, write = {}, {}
    for (ours, theirs), leaves in _BLOCK.items():
        for leaf, their_leaf in leaves.items():
            plain = leaf in _BARE or leaf.startswith("hc_") or ours == "ffn.gate."
            for ending, their_ending in ([("", "")] if plain else [("." + key, value) for key, value in _LEAVES.items()]):
                released = ours + leaf + ending
                write[released] = theirs + their_leaf + their_ending
                for folder in (ours, theirs):
                    for stem in (leaf, their_leaf):
                        read[folder + stem + ending] = read[folder + stem + their_ending] = released
    # Saved again, attn.kv_norm lost its prefix: the rule that undoes compressor.kv_norm matches it as well.
    read["attn.norm.weight"] = read["self_attn.norm.weight"] = "attn.kv_norm.weight"
    return read, write


_READ, _WRITE = _spellings()
_READ_TOP = {spelling.removeprefix("model."): ours for ours, theirs in _TOP.items() for spelling in (ours, theirs)}
_MTP_ONLY = {"e_proj.weight", "e_proj.scale", "h_proj.weight", "h_proj.scale", "enorm.weight", "hnorm.weight", "norm.weight",
             "hc_head_fn", "hc_head_base", "hc_head_scale"}    # transformers has no MTP, so they have one spelling


class HfSlice(NamedTuple):
    """Where transformers holds a tensor of one expert: `name`[expert], of that half `part` of the rows (None: all rows)."""

    name: str
    expert: int
    part: int | None


class Source(NamedTuple):
    """Which stored tensor holds a released one, and where in it: `index` is `...` for all of it, else (expert, rows).

    dtype and shape are those of the released tensor, as far as the mapping that was resolved knows them.
    """

    name: str
    index: object = ...
    dtype: object = None
    shape: tuple | None = None

    def of(self, tensors):      # -> array, a view
        """The tensor itself, from the mapping that was resolved."""
        return tensors[self.name][self.index]


def to_native(name):    # -> str
    """The released spelling of a name in any spelling; a name that is nobody's, or of all experts at once, as it is."""
    short = name.removeprefix("model.")
    if short in _READ_TOP:
        return _READ_TOP[short]
    block = _IN_BLOCK.fullmatch(short)
    if not block:
        return name
    prefix, _, rest = block.groups()
    if rest in _READ:
        return prefix + _READ[rest]
    if rest in _MTP_ONLY and prefix.startswith("mtp."):
        return short
    if prefix.startswith("mtp.") and rest.replace(".weight_scale_inv", ".scale") in _MTP_ONLY:
        return prefix + rest.replace(".weight_scale_inv", ".scale")
    expert = _ONE_EXPERT.fullmatch(rest)
    if expert:
        number, leaf, ending = expert.groups()
        leaf = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}.get(leaf, leaf)
        return f"{prefix}ffn.experts.{number}.{leaf}.{'weight' if ending == 'weight' else 'scale'}"
    return name


def to_hf(native):      # -> str, or HfSlice for a tensor of one expert
    """Where transformers holds a released tensor in memory (`state_dict`); mtp.* and what is nobody's as it is.

    transformers reads no MTP; its other names begin with "model.", except lm_head.weight.
    """
    if native in _TOP:
        return _TOP[native]
    block = _IN_BLOCK.fullmatch(native)
    if not block or native.startswith("mtp."):
        return native
    prefix, _, rest = block.groups()
    if rest in _WRITE:
        return f"model.{prefix}{_WRITE[rest]}"
    expert = _ONE_EXPERT.fullmatch(rest)
    if expert and rest.startswith("ffn.") and expert[2] in _PART and expert[3] in ("weight", "scale"):
        stem, part = _PART[expert[2]]
        ending = "_scale_inv" if expert[3] == "scale" else ""
        return HfSlice(f"model.{prefix}mlp.experts.{stem}{ending}", int(expert[1]), part)
    return native


def resolve(tensors):   # -> {released name: Source}
    """Find every released tensor among stored ones, whatever their spelling.

    `tensors` maps names to anything with a shape (a Store, its entries, a state_dict): tensors that fuse all experts are cut by
    theirs. A plain list of names will do where none is fused. Nothing is read or copied.
    Refused when two stored names mean one tensor, or a fused tensor cannot be cut.
    """
    found = {}
    for name in tensors:
        for native, index in _held_by(name, tensors, MAX_TENSORS - len(found)):
            if native in found:
                raise Refused(f"{native}: expected it under one name, got it as {found[native].name!r} and {name!r}; "
                              "are two checkpoints mixed?")
            found[native] = Source(name, index, *_dtype_and_shape(tensors, name, index))
    return found


def _dtype_and_shape(tensors, name, index):
    if not isinstance(tensors, Mapping):
        return None, None
    entry = tensors[name]
    shape = tuple(entry.shape)
    return entry.dtype, shape if index is ... else (index[1].stop - index[1].start, *shape[2:])


def _held_by(name, tensors, most):      # yields (released name, index), `most` of them at most
    block = _IN_BLOCK.fullmatch(name.removeprefix("model."))
    fused = block and _ALL_EXPERTS.fullmatch(block[3])
    if not fused:
        yield to_native(name), ...
        return
    if not isinstance(tensors, Mapping):
        raise Refused(f"{name}: expected its shape, as it holds all experts, got a name alone; give a mapping of name to tensor.")
    experts, rows = _experts_and_rows(name, tuple(tensors[name].shape), fused[1])
    ending = "scale" if fused[2] else "weight"
    leaves = [(leaf, part or 0) for leaf, (stem, part) in _PART.items() if stem == fused[1]]
    if experts * len(leaves) > most:
        raise Refused(f"{name}: expected a checkpoint of at most {MAX_TENSORS:,} tensors, got {experts * len(leaves):,} in this "
                      "one alone, or too many together. V4-Pro has 140,000.")
    for expert in range(experts):
        for leaf, part in leaves:
            yield f"{block[1]}ffn.experts.{expert}.{leaf}.{ending}", (expert, slice(part * rows, (part + 1) * rows))


def _experts_and_rows(name, shape, stem):       # -> experts, rows of one tensor of one expert
    halves = 2 if stem == "gate_up_proj" else 1
    if len(shape) != 3 or shape[0] > 99_999 or shape[1] % halves:
        wanted = "[experts, 2 * inter, D], w1's rows first" if halves == 2 else "[experts, D, inter]"
        raise Refused(f"{name}: expected {wanted}, got {list(shape)}; was it saved by another version of transformers?")
    return shape[0], shape[1] // halves
