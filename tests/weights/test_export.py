"""An exported folder holds the same numbers under the same names; transformers answers from it as we do."""

import json
import subprocess
import sys

import numpy as np
import pytest
from weights.stored import fields, write

import v4mini as v4
from v4mini.lessons.places import data_folder
from v4mini.shapes import Refused
from v4mini.weights.export import export, problems
from v4mini.weights.store import open_store


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return export(data_folder() / "mini", tmp_path_factory.mktemp("out") / "mini")


def test_the_same_logits_and_no_scale(exported):
    ids = np.arange(200) % 2048
    before, after = (v4.load(path, backend="numpy").logits(ids) for path in (data_folder() / "mini", exported))
    np.testing.assert_array_equal(after, before)
    config = json.loads((exported / "config.json").read_text())
    assert "quantization_config" not in config and config["expert_dtype"] is None and config["torch_dtype"] == "bfloat16"
    assert (exported / "tokenizer.json").read_bytes() == (data_folder() / "mini/tokenizer.json").read_bytes()


def test_float32_weights_stay_float32(tmp_path):
    path, ids = export(data_folder() / "tiny", tmp_path / "tiny", "f32"), np.arange(40) % 97
    np.testing.assert_array_equal(v4.load(path).logits(ids), v4.load(data_folder() / "tiny").logits(ids))


def test_who_takes_what(exported, tmp_path):
    assert problems(exported, "transformers") == []
    assert problems(data_folder() / "mini", "transformers") == []
    assert [text.split(":")[0] for text in problems(data_folder() / "mini", "vllm")] == ["head_dim"]
    assert [text.split(":")[0] for text in problems(exported, "vllm")] == ["formats", "head_dim"]
    assert "wo_a" in problems(data_folder() / "mini", "sglang")[0] and "wo_a" in problems(exported, "sglang")[0]
    assert "W8A8" in problems(data_folder() / "mini", "vllm-ascend")[0]
    with pytest.raises(Refused, match="expected one of transformers"):
        problems(exported, "ollama")
    with pytest.raises(Refused, match="expected 'bf16' or 'f32'"):
        export(exported, tmp_path / "x", "fp8")


def test_tiles_that_transformers_cuts_otherwise_are_told(tmp_path):
    save_pieces = {"layers.1.attn.wo_a.scale": lambda scale: scale - np.uint8([[0, 1], [0, 0]])}
    with open_store(data_folder() / "mini") as store:
        held = {name: (store.entry(name).dtype, np.array(store[name])) for name in store}
    for name, change in save_pieces.items():
        held[name] = "F8_E8M0", change(held[name][1].view(np.uint8))
    write(tmp_path / "uneven", held, fields())
    assert "got 1 matrices with other scales, the first layers.1.attn.wo_a.weight [256, 192]" in problems(
        tmp_path / "uneven", "transformers")[0]


@pytest.mark.slow
def test_a_folder_of_released_sizes_is_taken_as_it_is(tmp_path):
    config = v4.Config.flash().replace(n_layers=1, n_mtp_layers=0, n_routed_experts=8, vocab_size=2048)
    v4.random_weights(config, tmp_path / "flash-1")
    for target in ("transformers", "vllm", "sglang"):
        assert problems(tmp_path / "flash-1", target) == []


def test_the_command_says_why(exported):
    command = [sys.executable, "-m", "v4mini", "export", str(exported)]
    done = subprocess.run([*command, "--check", "vllm"], capture_output=True, text=True)
    assert done.returncode == 1 and "head_dim: expected 512" in done.stdout and "read, not run" in done.stdout
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "expected --out DIR or --check PROGRAM" in done.stderr


@pytest.fixture(scope="module")
def theirs(exported):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM, logging
    logging.set_verbosity_error()
    return AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()


@pytest.mark.parity
@pytest.mark.parametrize("length", [1, 5, 127, 128, 129, 300, 511, 512, 513])
def test_transformers_gives_our_logits(exported, theirs, length):
    import torch

    ids = np.random.default_rng(length).integers(0, 2048, length)
    with torch.no_grad():
        got = theirs(torch.tensor(ids[None])).logits[0].numpy()
    np.testing.assert_allclose(got, v4.load(exported).logits(ids), rtol=0, atol=2e-4)


@pytest.mark.parity
@pytest.mark.parametrize("use_cache", [True, False])
def test_transformers_generates_our_greedy_text(exported, theirs, use_cache):
    import torch

    model, ids = v4.load(exported), np.random.default_rng(0).integers(0, 2048, 130)
    ours = list(v4.generate(model, ids, max_new_tokens=20, temperature=0))
    with torch.no_grad():
        got = theirs.generate(torch.tensor(ids[None]), max_new_tokens=20, do_sample=False, use_cache=use_cache)
    assert got[0, len(ids):].tolist() == [int(token) for token in ours]
