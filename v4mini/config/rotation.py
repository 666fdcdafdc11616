"""How a published config spells its rotation: `rope_scaling` or `rope_parameters`, flat or nested, `type` or `rope_type`.

    flat      {"rope_type": "yarn", "factor": 16, "original_max_position_embeddings": 65536, "beta_fast": 32, "beta_slow": 1}
    nested    {"main": {"rope_type": "default", "rope_theta": 10000}, "compress": {"rope_type": "yarn", ...}}

Read as transformers 5.23 and 5.24 compute with it: `rope_scaling` goes before `rope_parameters`; a missing beta is 32 or 1, a
missing original length is max_position_embeddings; layers with a compressor get YaRN, window layers never. Where their reading
would not be V4's (a factor on cosines and sines, a base that they pass over) the config is refused, not guessed.
Not here: the angles (ops/rope.py), the other fields (reading.py).
"""

import math

from v4mini.shapes import Refused
from v4mini.untrusted import brief

NO_YARN = {"original_seq_len": 0, "rope_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0}
DEFAULT_SHARE = 64 / 512            # transformers' share of head_dim that is rotated, where a config gives none


def rotation(fields):               # the release's fields -> {our name: value}
    """rope_theta, compress_rope_theta, rope_head_dim and YaRN's four numbers. Raises Refused."""
    label = "rope_scaling" if fields.get("rope_scaling") else "rope_parameters"
    given = fields.get(label) or {}
    if not isinstance(given, dict):
        raise Refused(f"config: {label} must be an object or null, got {brief(given)}. Copy the release's.")
    ours = {"rope_head_dim": _rotated_dims(fields, fields.get("partial_rotary_factor"), "partial_rotary_factor")}
    ours = {name: value for name, value in ours.items() if value is not None}
    if "main" in given or "compress" in given:
        return ours | _nested(given, label, fields)
    return ours | _flat(given, label, fields)


def _flat(given, label, fields):
    ours = {name: fields[name] for name in ("rope_theta", "compress_rope_theta") if name in fields}
    base = given.get("rope_theta")
    if base is not None and base != fields.get("rope_theta", 10000.0):
        raise Refused(f"config: {label}.rope_theta must be rope_theta, {brief(fields.get('rope_theta', 10000.0))}, got "
                      f"{brief(base)}. transformers would pass over it; write it as rope_theta.")
    _rotated_dims(fields, given.get("partial_rotary_factor"), f"{label}.partial_rotary_factor")
    return ours | _yarn(given, label, fields, silent_factor=1.0)


def _nested(given, label, fields):
    main, compress = given.get("main"), given.get("compress")
    if not isinstance(main, dict) or not isinstance(compress, dict):
        raise Refused(f"config: {label} must hold both main and compress as objects, got {brief(given)}. "
                      "transformers would drop YaRN without a word; give both.")
    kind = _kind(main, f"{label}.main")
    if kind != "default":
        raise Refused(f"config: {label}.main.rope_type must be 'default', got {brief(kind)}. Window layers have no YaRN in V4.")
    ours = {}
    for name, part in (("rope_theta", main), ("compress_rope_theta", compress)):
        # transformers takes a missing base from rope_theta, for both parts
        base = part.get("rope_theta", fields.get("rope_theta"))
        if base is not None:
            ours[name] = base
    if "rope_theta" not in compress:
        raise Refused(f"config: {label}.compress.rope_theta must be given, got none. transformers would take rope_theta for it; "
                      "write compress_rope_theta there.")
    for part in ("main", "compress"):
        _rotated_dims(fields, given[part].get("partial_rotary_factor"), f"{label}.{part}.partial_rotary_factor")
    return ours | _yarn(compress, f"{label}.compress", fields, silent_factor=None)


def _kind(given, label):            # -> "default" | "yarn"
    kinds = {given[name] for name in ("rope_type", "type") if isinstance(given.get(name), str)}
    odd = [given[name] for name in ("rope_type", "type") if name in given and not isinstance(given[name], str)]
    if odd or len(kinds) > 1:
        raise Refused(f"config: {label}.rope_type must be one word, 'yarn' or 'default', got "
                      f"{brief(odd[0] if odd else sorted(kinds))}. Give it once.")
    kind = kinds.pop() if kinds else "default"
    if kind not in ("default", "yarn"):
        raise Refused(f"config: {label}.rope_type must be 'yarn' or 'default', got {brief(kind)}. V4 has no other rotation.")
    if kind == "default" and not ("rope_type" in given or "type" in given) and given.get("factor") is not None:
        raise Refused(f"config: {label} must say its rope_type beside a factor, got none. "
                      "transformers would drop YaRN without a word; add \"rope_type\": \"yarn\".")
    return kind


def _yarn(given, label, fields, silent_factor):         # -> YaRN's four numbers
    if _kind(given, label) == "default":
        return dict(NO_YARN)
    longest = fields.get("max_position_embeddings", 1048576)
    original = given.get("original_max_position_embeddings", longest)
    outside = fields.get("original_max_position_embeddings", original)
    if outside != original:
        raise Refused(f"config: {label}.original_max_position_embeddings must be given inside {label}, got {brief(outside)} "
                      "beside it, which transformers passes over. Move it.")
    factor = given.get("factor")
    if factor is None and _is_number(longest) and _is_number(original) and original > 0:
        factor = longest / original
    if not _is_number(factor):
        raise Refused(f"config: {label}.factor must be a number, got {brief(factor)}. V4 has 16.")
    if given.get("truncate", True) is not True:
        raise Refused(f"config: {label}.truncate must be true, got {brief(given['truncate'])}. V4 rounds YaRN's range to pairs.")
    _check_attention_factor(given, label, factor, silent_factor)
    return {"original_seq_len": original, "rope_factor": factor, "beta_fast": given.get("beta_fast") or 32.0,
            "beta_slow": given.get("beta_slow") or 1.0}


def _check_attention_factor(given, label, factor, silent):
    """V4 multiplies cosines and sines by nothing. transformers does, by a number it computes where the config gives none."""
    value = given.get("attention_factor", silent)
    if value is None:
        value = _computed_factor(given, factor)
    if not _is_number(value) or value != 1:
        said = "none" if given.get("attention_factor") is None else brief(value)
        raise Refused(f"config: {label}.attention_factor must be 1.0, as V4 has it, got {said}"
                      + (f", for which transformers computes {value:.4g}" if said == "none" and _is_number(value) else "")
                      + '. Write "attention_factor": 1.0.')


def _computed_factor(given, factor):
    one, all_dims = given.get("mscale"), given.get("mscale_all_dim")
    if factor <= 1 or not math.isfinite(factor):
        return 1.0
    if one and all_dims and _is_number(one) and _is_number(all_dims):
        return (0.1 * one * math.log(factor) + 1) / (0.1 * all_dims * math.log(factor) + 1 or 1)
    return 0.1 * math.log(factor) + 1


def _rotated_dims(fields, share, label):                # -> int, or None where nothing says it
    """qk_rope_head_dim, or a share of head_dim; both may be given and must agree, as transformers takes the share."""
    head_dim, dims = fields.get("head_dim"), fields.get("qk_rope_head_dim")
    if type(head_dim) is not int or not 0 < head_dim <= 2**24:
        return dims                                     # the check of head_dim says so
    if share is None:
        return int(head_dim * DEFAULT_SHARE) if dims is None else dims
    if not _is_number(share) or not 0 < share <= 1:
        raise Refused(f"config: {label} must be a share of head_dim, above 0 and at most 1, got {brief(share)} of "
                      f"{brief(head_dim)}. Give qk_rope_head_dim instead.")
    if dims is not None and int(head_dim * share) != dims:
        raise Refused(f"config: {label} must give qk_rope_head_dim, {brief(dims)}, got {brief(share)} of {head_dim}, which is "
                      f"{int(head_dim * share)}. Leave one of the two out.")
    return int(head_dim * share)


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1000
