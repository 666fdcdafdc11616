"""One small model in every layout that people store V4 in: the same logits, on both engines, streamed and not."""

import json
import re
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.inference.streaming import open_streaming
from v4mini.machine import resident_bytes
from v4mini.numerics.blocks import quantise_fp8
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused
from v4mini.weights.file import DTYPES, write_file
from v4mini.weights.names import HfSlice, to_hf
from v4mini.weights.store import open_store

MINI = Path(__file__).parents[2] / "data" / "mini"
IDS = [0, 17, 4, 300, 51, 9, 1000, 77]
WORDS = {str(kind): word for word, kind in DTYPES.items() if word != "F4"}


@pytest.fixture(scope="module")
def released():                                         # -> {name: (dtype, array)}
    with open_store(MINI) as store:
        return {name: (store.entry(name).dtype, np.array(store[name])) for name in store}


@pytest.fixture(scope="module")
def canonical():
    return load(MINI, backend="numpy").logits(IDS)


def fields(drop=(), **changes):
    said = json.loads((MINI / "config.json").read_text())
    return {name: value for name, value in said.items() if name not in drop} | changes


def write(folder, tensors, config, name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    rows = []
    for tensor, (dtype, array) in tensors.items():
        shape = (*array.shape[:-1], array.shape[-1] * 2) if dtype == "F4" else array.shape
        rows.append((tensor, dtype, shape, lambda array=array: [np.ascontiguousarray(array).reshape(-1).view(np.uint8)]))
    write_file(folder / name, rows, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def dense(tensors, name):
    return Matrix(tensors[name][1], tensors[name.replace(".weight", ".scale")][1], name=name).dense()


def quantised(tensors):
    return [name for name in tensors if name.endswith(".weight") and name.replace(".weight", ".scale") in tensors]


def floats(tensors, kind, word):                        # dequantised: FP8 and FP4 weights are exact in BF16
    plain = {name: pair for name, pair in tensors.items() if not name.endswith(".scale")}
    return plain | {name: (word, dense(tensors, name).astype(kind)) for name in quantised(tensors)}


def base(tensors):                                      # experts in FP8, scales as F32
    out = dict(tensors)
    for name in quantised(tensors):
        if ".experts." in name:
            again = quantise_fp8(dense(tensors, name))
            out |= {name: ("F8_E4M3", again.codes), name.replace(".weight", ".scale"): ("F8_E8M0", again.scale)}
    return {name: ("F32", array.astype(np.float32)) if dtype == "F8_E8M0" else (dtype, array)
            for name, (dtype, array) in out.items()}


def bytes_only(tensors):                                # every code and scale under the name of a byte
    return {name: ("U8", array.view(np.uint8)) if dtype in ("I8", "F8_E4M3", "F8_E8M0") else (dtype, array)
            for name, (dtype, array) in tensors.items()}


def one_rank(tensors):                                  # convert.py: wo_a in BF16, experts as F4, no copies of MTP's embedding
    out = {name: pair for name, pair in tensors.items() if not name.endswith("wo_a.scale")}
    for name in quantised(tensors):
        if name.endswith("wo_a.weight"):
            out[name] = ("BF16", dense(tensors, name).astype(ml_dtypes.bfloat16))
        elif ".experts." in name:
            out[name] = ("F4", tensors[name][1].view(np.uint8))
    return out


def saved_again(tensors):                               # save_pretrained: experts fused, names of transformers, no MTP
    fused = {}
    plain = {name: pair for name, pair in floats(tensors, ml_dtypes.bfloat16, "BF16").items() if not name.startswith("mtp.")}
    for name, (dtype, array) in plain.items():
        place = to_hf(name)
        if isinstance(place, HfSlice):
            fused.setdefault(place.name, {})[place.expert, place.part or 0] = array
        else:
            fused[place] = (dtype, array)
    def whole(held):
        return np.stack([np.concatenate([part for key, part in sorted(held.items()) if key[0] == expert]) for expert in range(8)])
    return {name: ("BF16", whole(held)) if isinstance(held, dict) else held for name, held in fused.items()}


LAYOUTS = {                                             # name: tensors, config, largest difference of a logit
    "release": (dict, fields(), 0), "first release": (dict, fields(drop=["expert_dtype"]), 0),
    "Base": (base, fields(expert_dtype="fp8"), 0), "bytes": (bytes_only, fields(), 0),
    "BF16 copy": (lambda t: floats(t, ml_dtypes.bfloat16, "BF16"), fields(drop=["quantization_config"]), 0),
    "BF16 copy, old config": (lambda t: floats(t, ml_dtypes.bfloat16, "BF16"), fields(), 0),
    "F32 copy": (lambda t: floats(t, np.float32, "F32"), fields(drop=["quantization_config"], expert_dtype="fp8"), 0),
    "convert.py": (one_rank, fields(), 0), "save_pretrained": (saved_again, fields(drop=["quantization_config"]), 0),
    "scale_inv": (lambda t: {name.replace(".scale", ".weight_scale_inv"): pair for name, pair in t.items()}, fields(), 0),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_gives_the_released_logits(name, released, canonical, tmp_path):
    tensors, config, bound = LAYOUTS[name]
    folder = write(tmp_path / "model", tensors(released), config)
    assert np.abs(load(folder, backend="numpy").logits(IDS) - canonical).max() <= bound
    assert np.abs(load(folder, backend="numba").logits(IDS) - canonical).max() < 1e-4
    with open_streaming(folder, resident_bytes() + (1 << 30), backend="numpy") as streamed:
        assert np.abs(streamed.logits(IDS) - canonical).max() <= 1e-5


def test_a_hash_row_that_names_an_expert_twice_counts_it_twice_on_both_engines(released, tmp_path):
    same = {name: ("I64", np.full_like(array, 3)) if name.endswith("tid2eid") else (dtype, array)
            for name, (dtype, array) in released.items()}
    folder = write(tmp_path / "model", same, fields())
    ours, theirs = (load(folder, backend=engine).logits(IDS) for engine in ("numpy", "numba"))
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("from_where", [0.5, 0.9])
def test_a_file_whose_tail_was_never_written_is_named(from_where, released, tmp_path):
    folder = write(tmp_path / "model", released, fields())
    raw = bytearray((folder / "model.safetensors").read_bytes())
    cut = int(len(raw) * from_where)
    raw[cut:] = bytes(len(raw) - cut)
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(Refused, match=r"model.safetensors: .*zeros alone in .*never written"):
        load(folder)


def test_scales_of_another_program_are_refused_by_name(released, tmp_path):
    odd = {name: ("F32", array.astype(np.float32) * 1.1) if re.search(r"layers.0.*wkv.scale", name) else (dtype, array)
           for name, (dtype, array) in released.items()}
    with pytest.raises(Refused, match=r"layers.0.attn.wkv scale: expected powers of two"):
        load(write(tmp_path / "model", odd, fields()))


def test_layers_that_nobody_asks_for_stay_in_the_file(released, tmp_path):
    folder = write(tmp_path / "model", released, fields())
    model = load(folder, backend="numpy", config=Config.load(folder).replace(n_layers=2, n_mtp_layers=0))
    assert model.logits(IDS).shape == (8, 2048) and len(model.weights.layers) == 2 and model.weights.mtp is None
