"""From a published config to the values of a Config: which of the spellings it is, and what each field means.

    the release's config.json            hidden_size, compress_ratios, rope_scaling
    what transformers saves              hidden_size, layer_types, mlp_layer_types, compress_rates, rope_parameters
    the release's inference/config.json  dim, n_layers, original_seq_len

Nothing is lost without a word: a field with another meaning than V4's is refused by name, one that is not known here is listed.
Not here: names of fields (fields.py), the rotation (rotation.py), which values are legal (rules.py).
"""

import json
from typing import NamedTuple

from v4mini.config.fields import ALIASES, DEFAULTS, DSPARK, FIXED, FOREIGN, NO_EFFECT, READ_ELSEWHERE, RELEASED
from v4mini.config.rotation import rotation
from v4mini.shapes import Refused
from v4mini.untrusted import brief

CSA_RATIO = 4                       # the reference: ratio 4 overlaps and has an indexer, any other non-zero ratio is HCA
KINDS = {"sliding_attention": 0, "compressed_sparse_attention": CSA_RATIO, "heavily_compressed_attention": 128}
OTHERS = {"deepseek_v41": "V4.1", "deepseek_v32": "V3.2", "deepseek_v3": "V3", "deepseek_v2": "V2", "kimi_k2": "Kimi K2"}
PLAIN_EXPERTS = {"bf16", "bfloat16", "f32", "fp32", "float32", "fp16", "float16"}


class Reading(NamedTuple):
    """What a config says: values for a Config, and one line for each field that this package does not know."""

    values: dict
    notes: list
    spelled: dict                   # {our name: the file's}


def read(fields, known):            # dict, our names -> Reading
    """Values of a Config from any of the three spellings. Raises Refused."""
    if not isinstance(fields, dict):
        raise Refused(f"config: expected an object of fields, got a JSON {type(fields).__name__}. Is it a config.json?")
    _expect_v4(fields)
    released = "hidden_size" in fields or "num_hidden_layers" in fields
    notes = _unknown(fields, set(RELEASED) if released else set(known))
    values = _from_released(fields) if released else dict(fields)
    values = DEFAULTS | {name: value for name, value in values.items() if name in known or name in DSPARK}
    values |= _drafters(fields, values)
    missing = sorted(set(known) - set(values) - {"n_dspark_layers", "more_eos_ids", *DSPARK})
    if missing:
        theirs = {ours: name for name, ours in RELEASED.items()} if released else {}
        raise Refused(f"config: missing {', '.join(missing)}"
                      + (f" (here: {', '.join(theirs.get(name, name) for name in missing)})" if released else "")
                      + ". Compare with data/configs/flash.json.")
    return Reading(_eos(values), notes, {ours: name for name, ours in RELEASED.items() if name in fields and name != ours})


def _expect_v4(fields):
    """One sentence for a config of another architecture."""
    kind, inner = fields.get("model_type"), fields.get("text_config")
    if kind is None and isinstance(inner, dict):
        kind = inner.get("model_type")
    classes = fields.get("architectures")
    if kind is None and isinstance(classes, list) and classes and isinstance(classes[0], str):
        kind = "deepseek_v4" if classes[0].startswith("DeepseekV4F") else classes[0]
    if isinstance(classes, list) and any(isinstance(name, str) and "V41" in name for name in classes):
        kind = "deepseek_v41"
    if kind is not None and kind != "deepseek_v4":
        name = OTHERS.get(kind if isinstance(kind, str) else "", "another model")
        raise Refused(f"config: model_type must be 'deepseek_v4', got {brief(kind)}: this is {name}, another architecture, and "
                      "v4mini knows V4. Open a V4 checkpoint, such as DeepSeek-V4-Flash.")
    if isinstance(inner, dict):
        raise Refused(f"config: expected V4's fields, got a text_config that holds them ({len(inner)} fields). "
                      "v4mini knows V4 alone; give the inner object as config.json if it is one.")
    foreign = sorted(name for name in set(fields) & set(FOREIGN) if fields[name])
    if foreign:
        raise Refused(f"config: {', '.join(foreign)}: V4 has no such field, {FOREIGN[foreign[0]]} has. This is another "
                      "architecture, and v4mini knows V4.")


def _unknown(fields, known):        # -> [one line per field that nothing here reads]
    strange = [name for name in fields if name not in known and name not in NO_EFFECT and name not in READ_ELSEWHERE
               and name not in FIXED and name not in FOREIGN and name not in DSPARK and name not in ALIASES]
    return [f"config: {brief(name)} is not known here and passed over. It could change numbers if another program reads it."
            for name in strange]


def _from_released(fields):         # either Hugging Face spelling -> our names
    fields = _without_aliases(fields)
    for name, fixed in FIXED.items():
        value = fields.get(name)
        if value is not None and (value != fixed or isinstance(value, bool) != isinstance(fixed, bool)):
            raise Refused(f"config: {name} must be {json.dumps(fixed)}, got {brief(fields[name])}. V4 has nothing else.")
    fields |= _layers(fields)
    ours = {RELEASED.get(name, name): value for name, value in fields.items() if name in RELEASED or name in DSPARK}
    if ours.get("swiglu_limit") == 0:
        raise Refused("config: swiglu_limit must be above 0 in this spelling, got 0. transformers would clamp everything to 0; "
                      "write null where nothing is clamped, or V4's 10.0.")
    if "swiglu_limit" in ours and ours["swiglu_limit"] is None:
        ours["swiglu_limit"] = 0.0
    if type(ours.get("n_layers")) is int and type(ours.get("n_hash_layers")) is int:
        ours["n_hash_layers"] = min(ours["n_hash_layers"], ours["n_layers"])       # a model cut to its first layers
    return ours | rotation(fields) | _formats(fields)


def _without_aliases(fields):
    fields = dict(fields)
    for alias, name in ALIASES.items():
        if alias in fields:
            value = fields.pop(alias)
            if fields.setdefault(name, value) != value:
                raise Refused(f"config: {alias} must be {name}, {brief(fields[name])}, got {brief(value)}. "
                              "They are two names of one field; leave one out.")
    return fields


def _formats(fields):               # -> dtype, expert_dtype
    """How weights are stored as far as the config says; a checkpoint's header has the last word (weights/layouts.py)."""
    said = fields.get("quantization_config")
    experts = fields.get("expert_dtype")
    if not said:
        kind = fields.get("dtype", fields.get("torch_dtype"))
        return {"dtype": "f32" if kind == "float32" else "bf16", "expert_dtype": None}
    method = said.get("quant_method") if isinstance(said, dict) else said
    wanted = {"quant_method": ("fp8", method), "weight_block_size": ([128, 128], [128, 128]), "fmt": ("e4m3", "e4m3")}
    for name, (right, default) in wanted.items():
        got = said.get(name, default) if isinstance(said, dict) else default
        if got != right and not (name == "weight_block_size" and got == tuple(right)):
            raise Refused(f"config: quantization_config.{name} must be {right if name == 'quant_method' else brief(right)}, got "
                          f"{brief(got)}. Use the released checkpoint.")
    experts = said.get("expert_dtype", experts) if experts is None else experts
    if isinstance(experts, str) and experts in PLAIN_EXPERTS:
        experts = "bf16"
    return {"dtype": "fp8", "expert_dtype": experts}


def _layers(fields):                # -> compress_ratios and num_hash_layers, whichever way they were given
    kinds, ratios, n = fields.get("layer_types"), fields.get("compress_ratios"), fields.get("num_hidden_layers")
    rates = _rates(fields)
    out = {}
    if kinds is not None:
        out["compress_ratios"] = _ratios_of(kinds, rates, n)
        out["num_nextn_predict_layers"] = 0         # transformers drops the MTP block, on loading and so on saving
        if isinstance(ratios, list) and ratios[: len(out["compress_ratios"])] != out["compress_ratios"]:
            raise Refused(f"config: compress_ratios must say the same as layer_types, got {brief(ratios)} and {brief(kinds)}. "
                          "transformers goes by layer_types; leave one out.")
    elif isinstance(ratios, list) and rates["heavily_compressed_attention"] is not None:
        other = [ratio for ratio in ratios if ratio not in (0, CSA_RATIO, rates["heavily_compressed_attention"])]
        if other:
            raise Refused(f"config: compress_rates.heavily_compressed_attention must be in compress_ratios, {brief(other[0])}, "
                          f"got {brief(rates['heavily_compressed_attention'])}. Leave compress_rates out.")
    hashes = _hash_layers(fields, n)
    return out if hashes is None else out | {"num_hash_layers": hashes}


def _rates(fields):                 # -> {kind: ratio}; the heavy one is None where nothing says it
    given = fields.get("compress_rates")
    if given is not None and not isinstance(given, dict):
        raise Refused(f"config: compress_rates must be an object, got {brief(given)}. Save the model again with save_pretrained.")
    rates = {"compressed_sparse_attention": CSA_RATIO, "heavily_compressed_attention": None} | (given or {})
    for name, kind in (("compress_rate_csa", "compressed_sparse_attention"),
                       ("compress_rate_hca", "heavily_compressed_attention")):
        if fields.get(name) is not None:
            rates[kind] = fields[name]
    if rates["compressed_sparse_attention"] != CSA_RATIO:
        raise Refused(f"config: compress_rates.compressed_sparse_attention must be {CSA_RATIO}, got "
                      f"{brief(rates['compressed_sparse_attention'])}. V4 knows its sparse layers by this number.")
    if rates["heavily_compressed_attention"] == CSA_RATIO:
        raise Refused(f"config: compress_rates.heavily_compressed_attention must not be {CSA_RATIO}, got it. "
                      "V4 knows its sparse layers by this number.")
    return rates


def _ratios_of(kinds, rates, n):    # layer_types -> [ratio]
    if not isinstance(kinds, list):
        raise Refused(f"config: layer_types must be a list, got {brief(kinds)}. Save the model again with save_pretrained.")
    unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in KINDS]
    if unknown:
        raise Refused(f"config: layer_types must be among {', '.join(KINDS)}, got {brief(unknown[0])}. Is it a V4?")
    heavy = rates["heavily_compressed_attention"]
    if heavy == 0:
        raise Refused("config: compress_rates.heavily_compressed_attention must be at least 2, got 0. V4 has 128.")
    values = KINDS | {"heavily_compressed_attention": 128 if heavy is None else heavy}
    return [values[kind] for kind in kinds][: n if type(n) is int and n >= 0 else None]


def _hash_layers(fields, n):        # -> how many first layers have hash routing, or None
    mlps, said = fields.get("mlp_layer_types"), fields.get("num_hash_layers")
    if mlps is None:
        return 3 if said is None and "layer_types" in fields else said
    if not isinstance(mlps, list):
        raise Refused(f"config: mlp_layer_types must be a list, got {brief(mlps)}. Save the model again with save_pretrained.")
    mlps = mlps[: n if type(n) is int and n >= 0 else None]
    count = sum(kind == "hash_moe" for kind in mlps)
    if mlps != ["hash_moe"] * count + ["moe"] * (len(mlps) - count) or (type(n) is int and len(mlps) != n):
        raise Refused("config: mlp_layer_types must be one per layer, hash_moe layers first, then moe, got "
                      f"{brief(mlps)}. V4 has no other order.")
    if said is not None and said != count and not (type(said) is int and said > len(mlps) == count):
        raise Refused(f"config: num_hash_layers must be the number of hash_moe layers, {count}, got {brief(said)}. "
                      "transformers goes by mlp_layer_types; leave one out.")
    return count


def _drafters(fields, values):      # -> n_mtp_layers, n_dspark_layers, compress_ratios with a 0 for each block that drafts
    """compress_ratios end with a 0 per drafting block, in some files with fewer or more than blocks: only 0 can stand there."""
    ratios, n, mtp = values.get("compress_ratios"), values.get("n_layers"), values.get("n_mtp_layers")
    if not isinstance(ratios, list | tuple) or type(n) is not int or not 0 < n <= len(ratios) or type(mtp) is not int:
        return {}                                       # the checks of Config say so
    layers = list(ratios[:n])
    rest = list(ratios[n:])
    wrong = [ratio for ratio in rest if ratio != 0 or type(ratio) is not int]
    if wrong:
        raise Refused(f"config: compress_ratios must be 0 after one per layer ({n} layers), got {brief(wrong[0])}. "
                      "The blocks that draft see a window only; is the number of layers cut, and this list not?")
    if not fields.get("dspark_block_size"):
        return {"compress_ratios": layers + [0] * max(0, min(mtp, 1))} if mtp in (0, 1) else {}
    targets = fields.get("dspark_target_layer_ids")
    stages = values.get("n_dspark_layers") or len(rest) or (mtp if mtp > 1 else 0) or (
        len(targets) if isinstance(targets, list) else 3)
    if type(stages) is not int or not 0 < stages <= 64:
        return {"n_dspark_layers": stages}
    return {"n_mtp_layers": 0, "n_dspark_layers": stages, "compress_ratios": layers + [0] * stages}


def _eos(values):                   # a list of ids that end a text: the first is eos_id, the others more_eos_ids
    ids = values.get("eos_id")
    if not isinstance(ids, list) or not ids:
        return values
    return values | {"eos_id": ids[0], "more_eos_ids": tuple(ids[1:])}
