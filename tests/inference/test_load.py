"""From a folder on disk to a model that answers."""

import json

import ml_dtypes
import numpy as np
import pytest
from tolerances import SAME_MODEL, WHOLE_MODEL

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.inference.streaming.model import open_streaming
from v4mini.machine import resident_bytes
from v4mini.shapes import Refused
from v4mini.weights import file, names
from v4mini.weights.file import write_file
from v4mini.weights.random import random_tensors, random_weights
from v4mini.weights.store import open_store, write_store

IDS = np.arange(33) * 7 % 97
DTYPES = {np.dtype(np.float32): "F32", np.dtype(np.float16): "F16", np.dtype(ml_dtypes.bfloat16): "BF16",
          np.dtype(np.int64): "I64", np.dtype(np.int32): "I32"}


def rows(tensors):                                      # {name: array} -> what write_store takes
    return [(name, DTYPES[array.dtype], array.shape, lambda array=array: [array]) for name, array in tensors.items()]


def checkpoint(path, config, tensors, **how):
    path.mkdir()
    write_store(path, rows(tensors), **how)
    (path / "config.json").write_text(json.dumps(config.to_released()))
    return path


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(Config.tiny())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_weights(Config.tiny(), tmp_path_factory.mktemp("load") / "tiny")


def test_a_folder_loads_as_the_same_model(folder, tiny):
    model = load(folder)
    assert model.config == Config.tiny()
    np.testing.assert_allclose(model.logits(IDS), tiny.logits(IDS), **SAME_MODEL)
    np.testing.assert_allclose(model.mtp_logits(IDS), tiny.mtp_logits(IDS), **SAME_MODEL)


def test_names_are_resolved_and_headers_parsed_once(tmp_path, tensors, monkeypatch):
    held_by, parse, seen, parsed = names._held_by, file.parse_header, [], []
    monkeypatch.setattr(names, "_held_by", lambda name, *more: seen.append(name) or held_by(name, *more))
    monkeypatch.setattr(file, "parse_header", lambda raw, *more: parsed.append(more) or parse(raw, *more))
    path = checkpoint(tmp_path / "shards", Config.tiny(), tensors, shard_bytes=300_000)
    shards = len(list(path.glob("*.safetensors")))
    for opened in (lambda: load(path, "numpy"), lambda: open_streaming(path, resident_bytes() + (1 << 30), "numpy")):
        seen.clear()
        parsed.clear()
        opened()
        assert sorted(seen) == sorted(tensors) and len(parsed) == shards > 1


def test_one_file_loads_with_the_config_beside_it_or_a_given_one(folder, tmp_path, tiny):
    np.testing.assert_array_equal(load(folder / "model.safetensors").logits(IDS), load(folder).logits(IDS))
    alone = tmp_path / "weights.safetensors"
    alone.write_bytes((folder / "model.safetensors").read_bytes())
    assert load(alone, config=Config.tiny()).logits(IDS).shape == (33, 97)
    with pytest.raises(Refused, match="config: no file"):
        load(alone)


def test_shards_load_as_one(tmp_path, tensors, folder):
    path = checkpoint(tmp_path / "shards", Config.tiny(), tensors, shard_bytes=200_000)
    assert len(list(path.glob("*.safetensors"))) > 3
    np.testing.assert_array_equal(load(path).logits(IDS), load(folder).logits(IDS))


def test_the_released_formats_load_and_kept_or_decoded_each_time_are_the_same(tmp_path, mini):
    path = random_weights(Config.mini(), tmp_path / "mini")
    kept, fresh = load(path, keep=True), load(path, keep=False)
    np.testing.assert_allclose(kept.logits(IDS[:9]), mini.logits(IDS[:9]), **SAME_MODEL)
    np.testing.assert_allclose(fresh.logits(IDS[:9]), mini.logits(IDS[:9]), **SAME_MODEL)


def test_other_floats_and_short_integers_load_too(tmp_path, tensors, tiny):
    halves = {name: array.astype(np.int32 if array.dtype == np.int64 else np.float16) for name, array in tensors.items()}
    model = load(checkpoint(tmp_path / "halves", Config.tiny(), halves))
    assert model.weights.embed.format == "f32"
    np.testing.assert_allclose(model.logits(IDS), tiny.logits(IDS), rtol=0, atol=0.1)      # float16 keeps 11 bits


def test_hf_names_and_fused_experts_load_as_the_released_ones(tmp_path, tensors, folder):
    from v4mini.weights.names import HfSlice, to_hf

    held = {}
    for name, array in tensors.items():
        place = to_hf(name)
        held.setdefault(place.name if isinstance(place, HfSlice) else place, []).append((place, array))
    fused = {}
    for name, parts in held.items():
        if not isinstance(parts[0][0], HfSlice):
            fused[name] = parts[0][1]
            continue
        by_expert = {}
        for place, array in sorted(parts, key=lambda pair: (pair[0].expert, pair[0].part or 0)):
            by_expert.setdefault(place.expert, []).append(array)
        fused[name] = np.stack([np.concatenate(arrays) for arrays in by_expert.values()])
    path = checkpoint(tmp_path / "hf", Config.tiny(), fused)
    assert "model.layers.1.mlp.experts.gate_up_proj" in open_store(path)
    np.testing.assert_array_equal(load(path).logits(IDS), load(folder).logits(IDS))


# ---- refusals ----

def test_all_that_does_not_fit_is_told_at_once(tmp_path, tensors):
    wrong = {name: array for name, array in tensors.items() if name not in ("norm.weight", "layers.2.attn.attn_sink")}
    wrong |= {"layers.1.attn.wkv.weight": np.zeros((24, 47), np.float32),
              "layers.1.attn.compressor.ape": np.zeros(3, np.float32), "layers.3.ffn.gate.bias": np.zeros(5, np.int64)}
    with pytest.raises(Refused) as refused:
        load(checkpoint(tmp_path / "wrong", Config.tiny(), wrong))
    message = str(refused.value)
    assert "5 tensors do not fit" in message
    for line in ("missing: norm.weight", "missing: layers.2.attn.attn_sink F32 [6]",
                 "extra: layers.1.attn.compressor.ape F32 [3]",
                 "wrong shape: layers.1.attn.wkv.weight wanted [24, 48], got [24, 47]",
                 "wrong dtype: layers.3.ffn.gate.bias wanted F32, got I64", "Is config.json this checkpoint's own?"):
        assert line in message


def test_hundreds_of_problems_are_counted_and_the_first_are_shown(folder):
    with pytest.raises(Refused, match=r"and \d+ (more like it|other kinds)") as refused:
        load(folder, config=Config.tiny().replace(dim=64))
    assert len(str(refused.value).splitlines()) <= 22


def test_fused_experts_of_another_number_are_refused(tmp_path, tensors):
    fewer = {name: array for name, array in tensors.items() if ".experts.4." not in name}
    with pytest.raises(Refused, match=r"missing: layers.0.ffn.experts.4.w1.weight F32 \[40, 48\] .and 3 more like it"):
        load(checkpoint(tmp_path / "fewer", Config.tiny(), fewer))


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(Refused, match="nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(Refused, match="config: no file"):
        load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(Config.tiny().to_released()))
    with pytest.raises(Refused, match="expected .safetensors files"):
        load(tmp_path)


def test_a_file_that_was_cut_short_is_refused(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(Refused, match="fetch the whole file"):
        load(tmp_path)


def test_two_spellings_of_one_tensor_are_refused(tmp_path, tensors):
    with pytest.raises(Refused, match="expected it under one name"):
        load(checkpoint(tmp_path / "both", Config.tiny(), tensors | {"lm_head.weight": tensors["head.weight"]}))


# ---- files of others ----

@pytest.mark.parity
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("how", [{}, {"save_original_format": False}, {"max_shard_size": "300KB"}],
                         ids=["default", "fused", "shards"])
def test_what_transformers_saves_loads_and_answers_as_it_does(tmp_path, dtype, how):
    import torch

    from v4mini.proof.huggingface import transformers_model

    # 16 index heads: with 3, scores of exactly 0 are common, and torch.topk ranks equal ones as it likes
    config = Config.tiny().replace(n_mtp_layers=0, index_n_heads=16)
    theirs = transformers_model(random_tensors(config), config).to(getattr(torch, dtype))
    theirs.save_pretrained(tmp_path / "saved", **how)
    theirs = type(theirs).from_pretrained(tmp_path / "saved", dtype=torch.float32, experts_implementation="eager").eval()
    ours = load(tmp_path / "saved")
    assert ours.config == config.replace(dtype="f32" if dtype == "float32" else "bf16")
    ids = np.random.default_rng(0).integers(0, 97, 140)
    with torch.no_grad():
        wanted = theirs(torch.tensor(ids[None])).logits[0].numpy()
    np.testing.assert_allclose(ours.logits(ids), wanted, **WHOLE_MODEL)


@pytest.mark.parity
def test_what_the_safetensors_package_writes_loads(tmp_path, tensors, tiny):
    from safetensors.numpy import save_file

    save_file(tensors, tmp_path / "model.safetensors")
    np.testing.assert_allclose(load(tmp_path, config=Config.tiny()).logits(IDS), tiny.logits(IDS), **SAME_MODEL)


def test_a_tensor_file_of_ours_alone_loads(tmp_path, tensors, tiny):
    write_file(tmp_path / "any-name.safetensors", rows(tensors))
    model = load(tmp_path / "any-name.safetensors", config=Config.tiny())
    np.testing.assert_allclose(model.logits(IDS), tiny.logits(IDS), **SAME_MODEL)
