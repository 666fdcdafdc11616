"""Which of the checkpoint layouts known to exist is this? Told from header and config alone, by the rules of data/layouts.json.

    features(...)   a few words about the files: {"experts": "fp4", "scales": "F8_E8M0", "names": "released", ...}
    recognise(...)  the rows of the table whose rules all of these words meet

A rule is a list of words for one feature; a feature that the files do not show (a part of a release) contradicts no rule.
The words are made here, which of them make a layout stands in the table alone.
Not here: whether the tensors fit the config (weights/layouts.py), reading them (weights/checkpoint.py).
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from v4mini.planning.tables import SOURCED, Field, read_table
from v4mini.shapes import Refused
from v4mini.weights.names import resolve

USUAL = {"fp4": "I8", "fp8": "F8_E4M3", "bf16": "BF16", "f32": "F32", "f16": "F16"}     # the stored dtype of each format
FOREIGN = re.compile(r".*\.(weight_packed|weight_global_scale|input_scale|weight_scale|weight_offset|qweight|qzeros)")
SLICE = re.compile(r"model\d+-mp(\d+)\.safetensors")
FIELDS = {"name": Field("text"), "title": Field("text"), "when": Field("object"),
          "read": Field("choice", choices=("yes", "refused")), "how": Field("text"), **SOURCED}
SIZES = {"name": Field("text"), "sizes": Field("object"), "experts": Field("whole", least=1), **SOURCED}


class Known(NamedTuple):
    """The table: rows of layouts, and the models whose number of experts is known."""

    layouts: list               # [{"name", "title", "when": {feature: [word]}, "read", "how", "source", "date", ...}]
    models: list                # [{"name", "sizes": {field of config.json: value}, "experts"}]


class Seen(NamedTuple):
    """What was recognised: rows that fit (one, if the files show enough), the words, and the nearest row if none fits."""

    rows: list
    features: dict              # {feature: word or None}
    nearest: tuple | None       # (row, [feature that differs])

    def told(self):             # -> a sentence
        """In one line, for people."""
        if len(self.rows) == 1:
            row = self.rows[0]
            return f"{row['title']}. {row['how']}"
        if self.rows:
            return f"too little is here to tell {', '.join(row['name'] for row in self.rows)} apart."
        row, differs = self.nearest
        seen = ", ".join(f"{feature}: {self.features[feature]}" for feature in differs)
        return f"none that is known here. The nearest is {row['name']}; what differs is {seen}."

    def as_dict(self):          # -> plain values, for --json
        """The same as plain data; `name` is None where no row or more than one fits."""
        row = self.rows[0] if len(self.rows) == 1 else {}
        return {"name": row.get("name"), "title": row.get("title"), "read": row.get("read"), "source": row.get("source"),
                "date": str(row["date"]) if row else None, "could_be": [row["name"] for row in self.rows],
                "features": self.features, "told": self.told()}


def known_layouts(path=None):           # -> Known
    """The table's rows. path: another file of the same form; by default data/layouts.json. Raises Refused."""
    if path is None:
        from v4mini.lessons.places import data_folder

        path = data_folder() / "layouts.json"
    found = read_table(path, {"layouts": FIELDS, "models": SIZES})
    for row in found["layouts"]:
        for feature, words in row["when"].items():
            if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
                raise Refused(f"{path}: layouts, {row['name']}: when.{feature} must be a list of words. Compare with other rows.")
    return Known(found["layouts"], found["models"])


def recognise(entries, fields, files=(), metadata=None, whole=True, known=None):      # -> Seen
    """entries: {stored name: something with dtype and shape}; fields: config.json as an object; files: names of the shards.

    whole: False for a part of a release, where nothing follows from what is not there. known: another table.
    """
    known = known or known_layouts()
    seen = features(entries, fields, files, metadata or {}, known.models, whole)
    differs = {row["name"]: [feature for feature, words in row["when"].items() if seen.get(feature) not in (None, *words)]
               for row in known.layouts}
    rows = [row for row in known.layouts if not differs[row["name"]]]
    if rows:
        return Seen(rows, seen, None)
    nearest = min(known.layouts, key=lambda row: len(differs[row["name"]]))
    return Seen([], seen, (nearest, differs[nearest["name"]]))


def features(entries, fields, files, metadata, models, whole=True):     # -> {feature: word or None}
    """The words that rules speak of. None: these files do not show it."""
    if any(FOREIGN.fullmatch(name) for name in entries):
        return _of_config(fields, models) | _of_files(files, metadata) | {"names": "of another quantiser"}
    found = resolve(entries)
    layers = {name: source for name, source in found.items() if name.startswith("layers.")}
    scales = {name: source for name, source in layers.items() if name.endswith(".scale")}

    def format_of(pattern):
        return _word(_format(found, name) for name in layers if re.search(pattern, name))
    linears, experts = format_of(r"\.attn\.(wq_a|wq_b|wkv|wo_b)\.weight$"), format_of(r"\.experts\.\d+\.w[123]\.weight$")
    without = "none" if linears or experts else None
    return _of_config(fields, models) | _of_files(files, metadata) | {
        "names": _spelling(entries), "linears": linears, "wo_a": format_of(r"\.wo_a\.weight$"), "experts": experts,
        "scales": _word(source.dtype for source in scales.values()) or without,
        "scale names": _word("weight_scale_inv" if source.name.endswith("_scale_inv") else "scale" for source in scales.values())
        or without,
        "drafts": _drafts(found, whole), "gates": _gates(layers, fields)}


def _of_config(fields, models):
    size = next((row for row in models if all(fields.get(name) == value for name, value in row["sizes"].items())), None)
    experts = fields.get("n_routed_experts", fields.get("num_local_experts"))
    said = fields.get("expert_dtype")
    version = re.match(r"(\d{1,4})\.(\d{1,4})", str(fields.get("transformers_version") or ""))
    return {"size": size["name"] if size else "other",
            "number of experts": "of another size" if size is None or type(experts) is not int else
            "as released" if experts == size["experts"] else "fewer" if experts < size["experts"] else "more",
            "expert_dtype": said[:40] if isinstance(said, str) else "not said",
            "config": "transformers" if "layer_types" in fields or "mlp_layer_types" in fields else
            "released" if "hidden_size" in fields else "inference",
            "saved by": "not said" if not version else "transformers 5.23 or before"
            if (int(version[1]), int(version[2])) < (5, 24) else "transformers 5.24 or later"}


def _of_files(files, metadata):
    counts = {SLICE.fullmatch(Path(name).name)[1] for name in files if SLICE.fullmatch(Path(name).name)}
    return {"files": "whole tensors" if not counts else "one process" if counts == {"1"} else "slices",
            "made by": "v4mini" if str(metadata.get("weights", "")).startswith(("trained", "random")) else "not said"}


def _spelling(entries):                 # of names: whose
    block = [name for name in entries if re.match(r"(model\.)?layers\.\d", name)]
    if not block:
        return None
    if any(".self_attn." in name or ".mlp." in name for name in block):
        return "transformers, in memory"
    return "transformers, saved" if all(name.startswith("model.") for name in block) else "released"


def _format(found, name):               # -> "fp4", "fp8 as U8", ...
    weight = found[name]
    scale = found.get(f"{name.removesuffix('weight')}scale")
    plain = {stored: word for word, stored in USUAL.items()}
    if scale is None:
        return f"{weight.dtype} without scales" if weight.dtype in ("I8", "F8_E4M3") else plain.get(weight.dtype, weight.dtype)
    rows = weight.shape[:1]
    format = "fp4" if weight.dtype == "F4" or weight.dtype != "F8_E4M3" and scale.shape[:1] == rows != (1,) else "fp8"
    return format if USUAL[format] == weight.dtype else f"{format} as {weight.dtype}"


def _word(words):                       # -> the word, or all of them, or None
    kinds = Counter(words)
    return " and ".join(sorted(kinds)) or None


def _drafts(found, whole):
    drafts = {name.split(".", 2)[2] for name in found if re.match(r"mtp\.\d+\.", name)}
    if not drafts:
        return "none" if whole else None
    if drafts & {"main_norm.weight", "main_proj.weight", "markov_head.markov_w1.weight"}:
        return "DSpark"
    return "MTP" if drafts & {"enorm.weight", "e_proj.weight", "h_proj.weight"} else None


def _gates(layers, fields):             # whether all layers have as many experts as the config says
    rows = {source.shape[0] for name, source in layers.items() if name.endswith("ffn.gate.weight") and source.shape}
    experts = fields.get("n_routed_experts", fields.get("num_local_experts"))
    if len(rows) > 1:
        return "differ"
    return None if not rows else "as the config says" if [*rows] == [experts] else "other than said"
