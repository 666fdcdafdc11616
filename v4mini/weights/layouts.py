"""Tensors as people really store them, held against what a config asks for. The header has the last word.

    matrices of linears and experts     plain floats, or codes with scales:
        fp8     codes [out, in]         F8_E4M3, U8, I8             scales [ceil(out/128), ceil(in/128)]
        fp4     codes [out, in / 2]     I8, U8, F4 (as [out, in])   scales [out, in / 32]
        scales  F8_E8M0, U8, I8, or floats that are powers of two (F32, BF16, F16)
    other tensors                       F32, BF16, F16; tables: any integers

What is asked for must be there. Layers and drafting blocks that are not asked for are passed over.
Not here: names (names.py), which tensors there are (spec.py), the numbers (numerics/matrix.py), opening (checkpoint.py).
"""

import re
from collections import Counter
from typing import NamedTuple

from v4mini.numerics.matrix import scale_shape
from v4mini.shapes import Refused
from v4mini.weights.spec import layer_of, tensors

FLOATS = {"F32", "BF16", "F16"}
INTEGERS = {"I64", "I32", "I16", "U8", "U16", "U32", "U64"}
FP8_CODES, FP4_CODES = {"F8_E4M3", "U8", "I8"}, {"I8", "U8", "F4"}
SCALES = {"F8_E8M0", "U8", "I8"} | FLOATS
LINES = 18                                  # of a refusal, beside its first line and its last
# Beside the model in some files: positions as transformers computes them, the MTP block's copies of embedding and head.
NEEDLESS = re.compile(r"(.*\.)?(inv_freq|original_inv_freq)|mtp\.\d+\.(emb\..*|embed\.weight|embed_tokens\.weight|head\.weight)")


class Fit(NamedTuple):
    """What a header holds of a config: the config as the header has it, each matrix's format, what is wrong, what was left."""

    config: object
    formats: dict               # {matrix's released name: "fp8" | "fp4"}; others are plain
    problems: list              # one line each
    passed_over: list           # released names that nobody asked for
    notes: list                 # one line each


def fit(config, found, asked=True):     # {released name: something with dtype and shape} -> Fit
    """Hold stored tensors against a config. asked: its drafting blocks are wanted; else they may be absent."""
    _check_proportion(config, found)
    notes = []
    if not asked:
        config, notes = _without_absent_drafts(config, found)
    formats = {}
    problems = []
    wanted = set()
    specs = tensors(config)
    for spec in specs:
        wanted.add(spec.name)
        format, faults = _format_of(spec, found)
        problems += faults
        if format in ("fp8", "fp4"):
            formats[spec.name] = format
            wanted.add(spec.scale_name)
    passed_over, extra = _others(config, found, wanted, {".".join(spec.name.split(".")[:2]) for spec in specs if spec.is_mtp})
    problems += [f"extra: {name} {found[name].dtype} {list(found[name].shape)}" for name in extra]
    return Fit(_as_stored(config, specs, found, formats), formats, problems, passed_over, notes + _beyond(config, passed_over))


def check(config, found):       # -> [one line per problem], empty if all that the config asks for is there
    """All that is wrong with a checkpoint: missing, extra, wrong shape, wrong dtype."""
    return fit(config, found).problems


def grouped(problems, most=LINES):      # [line] -> [line], at most `most`
    """Problems that differ in numbers only become one line with a count."""
    groups = {}
    for problem in problems:
        groups.setdefault(re.sub(r"\b\d+\b", "N", problem), []).append(problem)
    lines = [same[0] if len(same) == 1 else f"{same[0]} (and {len(same) - 1:,} more like it)" for same in groups.values()]
    return lines if len(lines) <= most else lines[: most - 1] + [f"and {len(lines) - most + 1} other kinds of problem"]


def likely_cause(config, found, problems):      # -> a sentence, or ""
    """What most often lies behind such problems."""
    experts = {source.shape[0] for name, source in found.items() if name.endswith("ffn.gate.weight") and source.shape}
    if len(experts) > 1:
        return (f"Its layers hold different numbers of experts ({', '.join(map(str, sorted(experts)))}); "
                "v4mini knows one number for all layers.")
    if experts and experts != {config.n_routed_experts}:
        return f"Its gates know {experts.pop()} experts, its config {config.n_routed_experts} (n_routed_experts): set that right."
    if any(name.startswith("mtp.0.main_") for name in found) and config.n_mtp_layers:
        return "Its mtp.* are DSpark's blocks, but its config has no dspark_block_size: take the config.json of that release."
    if problems and all(problem.startswith("missing: mtp.") for problem in problems):
        return "Its MTP block is not whole: fetch the rest, or load with config.replace(n_mtp_layers=0)."
    return "Is config.json this checkpoint's own?"


def _format_of(spec, found):            # -> format, [problems]
    weight = found.get(spec.name)
    if weight is None:
        lost = [f"missing: {name} {dtype} {list(shape)}" for name, dtype, shape in spec.stored() if name not in found]
        return spec.format, lost
    dtype = weight.dtype
    shape = tuple(weight.shape)
    if spec.role in ("linear", "expert") and dtype not in FLOATS:
        return _quantised(spec, dtype, shape, found)
    right = INTEGERS if spec.role == "table" else FLOATS
    problems = []
    if shape != spec.shape:
        problems.append(f"wrong shape: {spec.name} wanted {list(spec.shape)}, got {list(shape)}")
    if dtype not in right:
        problems.append(f"wrong dtype: {spec.name} wanted {spec.stored()[0][1]}, got {dtype}")
    return "plain", problems


def _quantised(spec, dtype, shape, found):
    out, width = spec.shape
    if dtype in FP8_CODES and shape == spec.shape:
        format = "fp8"
    elif dtype in FP4_CODES and width % 32 == 0 and shape == (out, width if dtype == "F4" else width // 2):
        format = "fp4"
    else:
        kind = "shape" if dtype in FP8_CODES | FP4_CODES else "dtype"
        wanted, got = (list(spec.stored()[0][2]), list(shape)) if kind == "shape" else (spec.stored()[0][1], dtype)
        return spec.format, [f"wrong {kind}: {spec.name} wanted {wanted}, got {got}"]
    scale = found.get(spec.scale_name)
    wanted = scale_shape(format, out, width)
    if scale is None:
        return format, [f"missing: {spec.scale_name} F8_E8M0 {list(wanted)}"]
    problems = []
    if tuple(scale.shape) != wanted:
        problems.append(f"wrong shape: {spec.scale_name} wanted {list(wanted)}, got {list(scale.shape)}")
    if scale.dtype not in SCALES:
        problems.append(f"wrong dtype: {spec.scale_name} wanted F8_E8M0, got {scale.dtype}")
    return format, problems


def _without_absent_drafts(config, found):
    """A config that tells of a drafting block whose tensors are not there: most conversions drop it."""
    kept = {name.split(".", 2)[2] for name in found if name.startswith("mtp.0.")}
    dspark = "main_norm.weight" in kept
    if config.n_mtp_layers and (not kept or dspark):
        said = "are DSpark's blocks, which its config does not describe" if dspark else "are not in these files"
        return config.replace(n_mtp_layers=0), [f"The tensors of the MTP block {said}: loaded without."]
    if config.n_dspark_layers and not kept:
        return config.replace(n_dspark_layers=0), ["The tensors of DSpark's blocks are not in these files: loaded without."]
    return config, []


def _others(config, found, wanted, drafts):     # -> passed over, extra
    passed_over, extra = [], []
    for name in found:
        if name in wanted:
            continue
        unasked = (name.startswith("layers.") and _number(name) >= config.n_layers
                   or name.startswith("mtp.") and ".".join(name.split(".")[:2]) not in drafts or NEEDLESS.fullmatch(name))
        (passed_over if unasked else extra).append(name)
    return passed_over, extra


def _number(name):
    try:
        return layer_of(name)
    except ValueError:          # "layers.x": nobody's name
        return -1


def _beyond(config, passed_over):
    layers = {layer_of(name) for name in passed_over if name.startswith("layers.")}
    if not layers:
        return []
    return [f"The config asks for {config.n_layers} layers; {len(layers)} more, {min(layers)} to {max(layers)}, are passed over."]


def _as_stored(config, specs, found, formats):          # -> Config that says how this checkpoint stores its weights
    def usual(role):            # the format that most matrices of a role have; None where none is there
        kinds = Counter(formats.get(spec.name) or "plain" for spec in specs if spec.role == role and spec.name in found)
        return kinds.most_common(1)[0][0] if kinds else None
    linear, expert = usual("linear"), usual("expert")
    plain = "f32" if getattr(found.get("embed.weight"), "dtype", None) == "F32" else "bf16"
    dtype = "fp8" if linear == "fp8" else config.dtype if linear is None or config.dtype != "fp8" else plain
    experts = config.expert_dtype if expert is None or expert == (config.expert_dtype or dtype) else expert
    if expert == "plain":
        experts = "bf16" if dtype == "fp8" else None
    if dtype == "f32" and experts:          # floats beside quantised experts: counted as the release counts them
        dtype = "bf16"
    if (dtype, experts) == (config.dtype, config.expert_dtype):
        return config
    try:
        return config.replace(dtype=dtype, expert_dtype=experts)
    except Refused:             # sizes that the released format would not store: they are stored, so they can be read
        return config


def _check_proportion(config, found):
    """A config of a million tensors beside files of a thousand is refused before a list of them is made."""
    asked = (config.n_layers + config.n_draft_layers) * (3 * config.n_routed_experts + 20)
    if asked > 1000 + 8 * len(found):
        raise Refused(f"config: expected the tensors of these files, {len(found):,}, got {config.n_layers} layers of "
                      f"{config.n_routed_experts} experts (n_layers, n_routed_experts), which are {asked:,} at least. "
                      "Is config.json this checkpoint's own?")
