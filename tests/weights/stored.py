"""The bundled model's weights in each layout of data/layouts.json that is read, and its files in those that are not.

LAYOUTS: the row's name -> writer(folder, tensors) -> logits that the folder must give, None where the bundled model's are.
Files are written by hand here, from the layouts' descriptions; real save_pretrained files are in proof/test_huggingface.py.
"""

import json
from pathlib import Path

import ml_dtypes
import numpy as np

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.numerics.blocks import quantise_fp8
from v4mini.numerics.matrix import Matrix
from v4mini.weights.file import write_file
from v4mini.weights.names import HfSlice, to_hf
from v4mini.weights.random import random_weights
from v4mini.weights.store import open_store

MINI = Path(__file__).parents[2] / "data" / "mini"
IDS = [0, 17, 4, 300, 51, 9, 1000, 77, 2047, 1024, 1500]


def read(folder=MINI):                                  # -> {name: (dtype, array)}
    with open_store(folder) as store:
        return {name: (store.entry(name).dtype, np.array(store[name])) for name in store}


def fields(drop=(), **changes):                         # of the bundled config.json
    said = json.loads((MINI / "config.json").read_text())
    return {name: value for name, value in said.items() if name not in drop} | changes


def write(folder, tensors, config, name="model.safetensors", metadata=None):
    folder.mkdir(exist_ok=True)
    rows = []
    for tensor, (dtype, array) in tensors.items():
        shape = (*array.shape[:-1], array.shape[-1] * 2) if dtype == "F4" else array.shape
        rows.append((tensor, dtype, shape, lambda array=array: [np.ascontiguousarray(array).reshape(-1).view(np.uint8)]))
    write_file(folder / name, rows, {"format": "pt", **(metadata or {})})
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))


def dense(tensors, name):
    return Matrix(tensors[name][1], tensors[name.replace(".weight", ".scale")][1], name=name).dense()


def quantised(tensors):
    return [name for name in tensors if name.endswith(".weight") and name.replace(".weight", ".scale") in tensors]


def floats(tensors, word="BF16"):                       # dequantised: FP8 and FP4 weights are exact in BF16
    kind = {"BF16": ml_dtypes.bfloat16, "F32": np.float32}[word]
    plain = {name: pair for name, pair in tensors.items() if not name.endswith(".scale")}
    return plain | {name: (word, dense(tensors, name).astype(kind)) for name in quantised(tensors)}


def fp8_experts(tensors):
    out = dict(tensors)
    for name in quantised(tensors):
        if ".experts." in name:
            again = quantise_fp8(dense(tensors, name))
            out |= {name: ("F8_E4M3", again.codes), name.replace(".weight", ".scale"): ("F8_E8M0", again.scale)}
    return out


def float_scales(tensors):
    return {name: ("F32", array.astype(np.float32)) if dtype == "F8_E8M0" else (dtype, array)
            for name, (dtype, array) in tensors.items()}


def bytes_only(tensors):                                # every code and scale under the name of a byte
    return {name: ("U8", array.view(np.uint8)) if dtype in ("I8", "F8_E4M3", "F8_E8M0") else (dtype, array)
            for name, (dtype, array) in tensors.items()}


def converted(tensors):                                 # convert.py: wo_a in BF16, experts as F4
    out = {name: pair for name, pair in tensors.items() if not name.endswith("wo_a.scale")}
    for name in quantised(tensors):
        if name.endswith("wo_a.weight"):
            out[name] = ("BF16", dense(tensors, name).astype(ml_dtypes.bfloat16))
        elif ".experts." in name:
            out[name] = ("F4", tensors[name][1].view(np.uint8))
    return out


def cut_for(tensors, processes, number):                # what convert.py gives one process
    axes = {"embed": 0, "head": 0, "wq_b": 0, "wo_a": 0, "wo_b": 1, "attn_sink": 0, "weights_proj": 0}
    out = {}
    for name, (dtype, array) in tensors.items():
        leaf = name.removesuffix(".weight").removesuffix(".scale").split(".")[-1]
        if ".experts." in name:
            if int(name.split(".experts.")[1].split(".")[0]) // (8 // processes) == number:
                out[name] = (dtype, array)
        elif leaf in axes:
            assert array.shape[axes[leaf]] % processes == 0, name       # convert.py stops there too
            out[name] = (dtype, np.split(array, processes, axes[leaf])[number])
        else:
            out[name] = (dtype, array)
    return out


def of_transformers(tensors, fused):                    # BF16, no MTP, names as transformers has them
    held, out = {}, {}
    for name, (dtype, array) in floats(tensors).items():
        place = to_hf(name)
        if name.startswith("mtp."):
            continue
        if not fused:                                   # saved again: released names behind "model.", but for the head
            out["lm_head.weight" if name == "head.weight" else f"model.{name}"] = (dtype, array)
        elif isinstance(place, HfSlice):
            held.setdefault(place.name, {})[place.expert, place.part or 0] = array
        else:
            out[place] = (dtype, array)

    def whole(parts):
        of = [[part for key, part in sorted(parts.items()) if key[0] == expert] for expert in range(8)]
        return np.stack([np.concatenate(some) for some in of])
    return out | {name: ("BF16", whole(parts)) for name, parts in held.items()}


def saved_fields(version):                              # config.json as save_pretrained writes it
    kinds = {0: "sliding_attention", 4: "compressed_sparse_attention", 128: "heavily_compressed_attention"}
    old, config = fields(), Config.mini()
    share = {"partial_rotary_factor": config.rope_head_dim / config.head_dim}
    yarn = old["rope_scaling"] | {"rope_type": "yarn", "rope_theta": old["compress_rope_theta"], "attention_factor": 1.0} | share
    new = {"layer_types": [kinds[ratio] for ratio in config.compress_ratios[: config.n_layers]],
           "mlp_layer_types": ["hash_moe"] * 2 + ["moe"] * 2, "transformers_version": version, "dtype": "bfloat16",
           "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
           "rope_parameters": {"main": {"rope_type": "default", "rope_theta": old["rope_theta"]} | share, "compress": yarn}}
    return fields(drop=["quantization_config", "rope_scaling", "compress_ratios", "num_hash_layers"]) | new


def with_dspark(tensors):                               # three blocks in place of the MTP block: its block three times, and heads
    rng, config = np.random.default_rng(0), Config.mini().with_dspark(markov_rank=32)
    D, V = config.dim, config.vocab_size
    own = ("e_proj", "h_proj", "enorm", "hnorm", "norm.weight", "hc_head")
    body = {name.removeprefix("mtp.0."): pair for name, pair in tensors.items() if name.startswith("mtp.0.")}
    out = {name: pair for name, pair in tensors.items() if not name.startswith("mtp.")}
    for stage in range(3):
        out |= {f"mtp.{stage}.{name}": pair for name, pair in body.items() if not name.startswith(own)}
    out |= {f"mtp.2.{name}": pair for name, pair in body.items() if name.startswith(("norm.weight", "hc_head"))}
    wide = quantise_fp8(rng.normal(0, 0.05, (D, 3 * D)).astype(np.float32))
    out |= {"mtp.0.main_proj.weight": ("F8_E4M3", wide.codes), "mtp.0.main_proj.scale": ("F8_E8M0", wide.scale),
            "mtp.0.main_norm.weight": ("BF16", np.ones(D, ml_dtypes.bfloat16))}
    heads = {"markov_head.markov_w1": (V, 32), "markov_head.markov_w2": (V, 32), "confidence_head.proj": (1, D + 32)}
    for name, shape in heads.items():
        out[f"mtp.2.{name}.weight"] = ("BF16", rng.normal(0, 0.05, shape).astype(ml_dtypes.bfloat16))
    return out, config.to_released()


def pruned(tensors, kept=6):                            # experts kept.. are gone; nobody chooses them in `whole`
    whole, out = {}, {}
    for name, (dtype, array) in tensors.items():
        if name.endswith(".gate.bias"):
            array = np.where(np.arange(8) < kept, array, np.float32(-1e4))
        elif name.endswith("tid2eid"):
            array = np.stack([array[:, 0] % kept, (array[:, 0] + 1 + array[:, 1] % (kept - 1)) % kept], 1)
        whole[name] = (dtype, array)
        if ".experts." not in name or int(name.split(".experts.")[1].split(".")[0]) < kept:
            out[name] = (dtype, array[:kept] if name.endswith((".gate.bias", ".gate.weight")) else array)
    return whole, out


# ---- one writer a row ----

def _plainly(change=dict, name="model.safetensors", metadata=None, said=None, **config):
    return lambda folder, tensors: write(folder, change(tensors), said or fields(**config), name, metadata)


def _dspark(folder, tensors):
    write(folder, *with_dspark(tensors))


def _pruned(folder, tensors):
    whole, out = pruned(tensors)
    write(folder, whole, fields())
    wanted = load(folder, backend="numpy").logits(IDS)
    write(folder, out, fields(n_routed_experts=6))
    return wanted


def _unevenly(folder, tensors):
    out = pruned(tensors)[1]
    out["layers.0.ffn.gate.weight"] = tensors["layers.0.ffn.gate.weight"]
    write(folder, out, fields(n_routed_experts=6))


def _slices(folder, tensors):                           # of another model: the bundled one's wq_b has three tiles of rows
    config = Config.mini().replace(n_heads=8)
    folder.mkdir()
    random_weights(config, folder / "whole")
    held, wanted = converted(read(folder / "whole")), load(folder / "whole", backend="numpy").logits(IDS)
    for number in range(2):
        write(folder / "cut", cut_for(held, 2, number), config.to_released(), f"model{number}-mp2.safetensors")
    for path in (folder / "cut").iterdir():
        path.rename(folder / path.name)
    return wanted


def _of_another_quantiser(folder, tensors):
    write(folder, {name.replace(".w1.weight", ".w1.weight_packed"): pair for name, pair in tensors.items()}, fields())


UNQUANTISED = ["quantization_config", "expert_dtype"]
LAYOUTS = {
    "first release": _plainly(drop=["expert_dtype"]), "release": _plainly(), "0731": _dspark,
    "Base": _plainly(lambda t: float_scales(fp8_experts(t)), expert_dtype="fp8"),
    "FP8 experts": _plainly(fp8_experts, drop=["expert_dtype"]),
    "convert.py, one process": _plainly(converted, "model0-mp1.safetensors"), "convert.py, several processes": _slices,
    "save_pretrained, 5.23": _plainly(lambda t: of_transformers(t, False), said=saved_fields("5.23.0")),
    "save_pretrained, 5.24": _plainly(lambda t: of_transformers(t, False), said=saved_fields("5.24.0")),
    "transformers state_dict": _plainly(lambda t: of_transformers(t, True), said=saved_fields("5.24.0")),
    "BF16 copy": _plainly(floats, drop=UNQUANTISED), "F32 copy": _plainly(lambda t: floats(t, "F32"), drop=UNQUANTISED),
    "bytes": _plainly(bytes_only),
    "weight_scale_inv": _plainly(lambda t: {name.replace(".scale", ".weight_scale_inv"): pair for name, pair in t.items()}),
    "pruned": _pruned, "v4mini": _plainly(metadata={"weights": "trained, 875 steps, seed 0"})}
REFUSED = {"pruned unevenly": _unevenly, "another quantiser": _of_another_quantiser}
