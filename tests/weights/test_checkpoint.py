"""One small model in every layout that people store V4 in: the same logits, on both engines, streamed and not."""

import re

import numpy as np
import pytest
from weights.stored import IDS, LAYOUTS, MINI, REFUSED, fields, floats, read, write

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.inference.streaming.model import open_streaming
from v4mini.inspection import inspect_checkpoint
from v4mini.inspection.recognise import known_layouts
from v4mini.machine import resident_bytes
from v4mini.shapes import Refused
from v4mini.weights.export import export
from v4mini.weights.file import open_file

BOUNDS = {"pruned": 2e-5}                               # a gate of six columns: BLAS may add in another order, by its threads too
STREAMED = {"F32 copy": 1e-4}                           # BLAS reads these where they lie, and adds by how they are aligned
COMPILED = 1e-4                                         # the other engine adds in another order


@pytest.fixture(scope="module")
def released():                                         # -> {name: (dtype, array)}
    return read()


@pytest.fixture(scope="module")
def canonical():
    return load(MINI, backend="numpy").logits(IDS)


def test_the_table_and_the_writers_know_the_same_layouts():
    rows = {row["name"]: row["read"] for row in known_layouts().layouts}
    assert {name for name, read in rows.items() if read == "yes"} == set(LAYOUTS)
    assert {name for name, read in rows.items() if read == "refused"} == set(REFUSED)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_gives_the_released_logits(name, released, canonical, tmp_path):
    wanted = LAYOUTS[name](tmp_path / "model", released)
    wanted = canonical if wanted is None else wanted
    for engine, bound in (("numpy", BOUNDS.get(name, 0)), ("numba", COMPILED)):
        loaded = load(tmp_path / "model", backend=engine, keep=False)
        logits = loaded.logits(IDS)
        assert np.abs(logits - wanted).max() <= bound
        with open_streaming(tmp_path / "model", resident_bytes() + (1 << 30), backend=engine) as streamed:
            assert np.abs(streamed.logits(IDS) - logits).max() <= STREAMED.get(name, 0)


@pytest.mark.parametrize("name", REFUSED)
def test_a_layout_that_is_not_read_is_refused(name, released, tmp_path):
    REFUSED[name](tmp_path / "model", released)
    with pytest.raises(Refused, match="different numbers of experts" if name == "pruned unevenly" else "weight_packed"):
        load(tmp_path / "model")


@pytest.mark.parametrize("change, said", [
    (lambda t: floats(t), fields()), (lambda t: floats(t, "F32"), fields(drop=["quantization_config"], expert_dtype="fp8"))])
def test_float_copies_under_a_config_that_was_left(change, said, released, canonical, tmp_path):
    write(tmp_path / "model", change(released), said)
    np.testing.assert_array_equal(load(tmp_path / "model", backend="numpy").logits(IDS), canonical)


def test_a_hash_row_that_names_an_expert_twice_counts_it_twice_on_both_engines(released, tmp_path):
    same = {name: ("I64", np.full_like(array, 3)) if name.endswith("tid2eid") else (dtype, array)
            for name, (dtype, array) in released.items()}
    folder = tmp_path / "model"
    write(folder, same, fields())
    ours, theirs = (load(folder, backend=engine).logits(IDS) for engine in ("numpy", "numba"))
    assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("from_where", [0.5, 0.9])
def test_a_file_whose_tail_was_never_written_is_named(from_where, released, tmp_path):
    folder = tmp_path / "model"
    write(folder, released, fields())
    raw = bytearray((folder / "model.safetensors").read_bytes())
    cut = int(len(raw) * from_where)
    raw[cut:] = bytes(len(raw) - cut)
    (folder / "model.safetensors").write_bytes(raw)
    with pytest.raises(Refused, match=r"model.safetensors: .*zeros alone in .*never written"):
        load(folder)


def test_scales_of_another_program_are_refused_by_name(released, tmp_path):
    odd = {name: ("F32", array.astype(np.float32) * 1.1) if re.search(r"layers.0.*wkv.scale", name) else (dtype, array)
           for name, (dtype, array) in released.items()}
    write(tmp_path / "model", odd, fields())
    with pytest.raises(Refused, match=r"layers.0.attn.wkv scale: expected powers of two"):
        load(tmp_path / "model")


def test_layers_that_nobody_asks_for_stay_in_the_file(released, tmp_path):
    folder = tmp_path / "model"
    write(folder, released, fields())
    model = load(folder, backend="numpy", config=Config.load(folder).replace(n_layers=2, n_mtp_layers=0))
    assert model.logits(IDS).shape == (len(IDS), 2048) and len(model.weights.layers) == 2 and model.weights.mtp is None


# ---- slices of convert.py ----

def test_slices_that_do_not_belong_together_are_refused(released, tmp_path):
    LAYOUTS["convert.py, several processes"](tmp_path / "model", released)
    second = tmp_path / "model" / "model1-mp2.safetensors"
    whole = read(second)
    second.rename(tmp_path / "aside")
    with pytest.raises(Refused, match=r"expected all slices .* without model1-mp2.safetensors. Put them into"):
        load(tmp_path / "model")
    other = dict(whole)
    del other["norm.weight"]
    write(tmp_path / "model", other, None, "model1-mp2.safetensors")
    with pytest.raises(Refused, match=r"expected norm.weight|expected 'norm.weight' as BF16 \[256\] in each of 2 slices"):
        load(tmp_path / "model")
    twice = whole | {"layers.0.ffn.experts.0.w1.weight": ("F4", np.zeros((128, 128), np.uint8))}
    write(tmp_path / "model", twice, None, "model1-mp2.safetensors")
    with pytest.raises(Refused, match="in one slice, got it in model0-mp2.safetensors and model1-mp2.safetensors"):
        load(tmp_path / "model")


@pytest.mark.parametrize("name, at", [("norm.weight", 0), ("layers.0.ffn.shared_experts.w1.weight", "middle")])
def test_slices_of_two_checkpoints_are_refused(released, tmp_path, name, at):
    LAYOUTS["convert.py, several processes"](tmp_path / "model", released)
    path = tmp_path / "model" / "model1-mp2.safetensors"
    entry = open_file(path).entries[name]
    raw = bytearray(path.read_bytes())
    raw[entry.start + (entry.nbytes // 2 if at == "middle" else at)] ^= 8
    path.write_bytes(raw)
    with pytest.raises(Refused, match=f"'{name}' alike in each of 2 slices, got other bytes in model1-mp2.safetensors than in "):
        load(tmp_path / "model", backend="numpy")


def test_what_joined_slices_take_is_said(released, tmp_path, caplog):
    LAYOUTS["convert.py, several processes"](tmp_path / "model", released)
    load(tmp_path / "model")
    assert "2 slices are joined: what was cut takes" in caplog.text


# ---- what transformers itself reads and writes ----

@pytest.fixture(scope="module")
def transformers():
    module = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")                   # FP8 weights are read through it
    module.logging.set_verbosity_error()
    return module


@pytest.fixture(scope="module")
def copied(transformers, tmp_path_factory):             # -> a BF16 copy, as transformers holds it
    folder = export(MINI, tmp_path_factory.mktemp("out") / "bf16")
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="bfloat16")


@pytest.mark.parity
def test_transformers_reads_the_bundled_model_as_we_do(transformers, canonical):
    import torch

    theirs = transformers.AutoModelForCausalLM.from_pretrained(MINI).float().eval()
    with torch.no_grad():
        logits = theirs(torch.tensor([IDS])).logits[0].numpy()
    assert np.abs(logits - canonical).max() < 2e-4


@pytest.mark.parity
def test_what_save_pretrained_writes_is_recognised_and_gives_the_released_logits(transformers, copied, canonical, tmp_path):
    copied.save_pretrained(tmp_path / "saved")
    version = "5.23" if transformers.__version__ < "5.24" else "5.24"
    assert inspect_checkpoint(tmp_path / "saved")["layout"]["name"] == f"save_pretrained, {version}"
    np.testing.assert_array_equal(load(tmp_path / "saved", backend="numpy").logits(IDS), canonical)
    with open_streaming(tmp_path / "saved", resident_bytes() + (1 << 30), backend="numpy") as streamed:
        assert np.abs(streamed.logits(IDS) - canonical).max() <= 1e-5


@pytest.mark.parity
def test_a_state_dict_of_transformers_is_recognised_and_gives_the_released_logits(copied, canonical, tmp_path):
    from safetensors.torch import save_file

    held = {name: tensor.contiguous() for name, tensor in copied.state_dict().items()}
    copied.config.save_pretrained(tmp_path)
    save_file(held, tmp_path / "model.safetensors", {"format": "pt"})
    assert inspect_checkpoint(tmp_path)["layout"]["name"] == "transformers state_dict"
    np.testing.assert_array_equal(load(tmp_path, backend="numpy").logits(IDS), canonical)


@pytest.mark.parity
def test_saving_what_was_read_from_fp8(transformers, canonical, tmp_path):
    theirs = transformers.AutoModelForCausalLM.from_pretrained(MINI)
    if transformers.__version__ < "5.24":               # it cannot turn its own reading back
        with pytest.raises(ValueError, match="Undefined Operation"):
            theirs.save_pretrained(tmp_path / "saved")
        return
    theirs.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved", backend="numpy").logits(IDS), canonical)
