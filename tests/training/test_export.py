"""Export: what others load is what was trained, rounded as the format rounds."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer as Theirs

import v4mini as v4
from v4mini import Config, Refused
from v4mini.training.export import export, parameters_of
from v4mini.training.init import initial_values
from v4mini.training.parameters import as_released, check_parameters
from v4mini.weights.spec import tensors
from v4mini.weights.store import open_store


@pytest.mark.parametrize("name", ["small", "mini"])
def test_the_folder_is_a_whole_model_in_the_released_format(small_recipe, small_tokenizer, rng, tmp_path, name):
    """Small: float32, so the very numbers. Mini: FP8, FP4 and BF16, so the numbers a training step with rounding saw."""
    config = small_recipe.config if name == "small" else Config.mini()
    params = initial_values(config, rng)
    text = json.dumps({"made": "by hand"}) if name == "mini" else small_tokenizer_text(small_tokenizer)
    assert export(config, params, tmp_path / "m", text, {"weights": "trained, 3 steps"}) == tmp_path / "m"
    assert {path.name for path in (tmp_path / "m").iterdir()} >= {"config.json", "tokenizer.json", "tokenizer_config.json"}
    model = v4.load(tmp_path / "m", backend="numpy")
    assert model.config == config and np.isfinite(model.logits([1, 2, 3])).all()
    with open_store(tmp_path / "m") as store:
        for spec in tensors(config):
            for stored, wanted in as_released(spec, params[spec.name]).items():
                got = store[stored]
                assert got.dtype == wanted.dtype and got.tobytes() == wanted.tobytes(), stored
    assert (tmp_path / "m" / "tokenizer.json").read_text() == text
    check_parameters(*parameters_of(tmp_path / "m"))    # one may go on training it
    for name, values in parameters_of(tmp_path / "m")[1].items():
        spec = next(spec for spec in tensors(config) if spec.name == name)
        np.testing.assert_array_equal(values, decoded(spec, as_released(spec, params[name])))


def decoded(spec, stored):
    if spec.format not in ("fp8", "fp4"):
        return stored[spec.name].astype(params_dtype(spec))
    codes, scale = stored[spec.name], stored[spec.scale_name].astype(np.float32)
    if spec.format == "fp4":                            # two to a byte, the first in the low half
        halves = np.stack([codes.view(np.uint8) & 15, codes.view(np.uint8) >> 4], axis=-1).reshape(len(codes), -1)
        codes = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6] + [-0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)[halves]
    rows, width = (128, 128) if spec.format == "fp8" else (1, 32)
    scale = np.repeat(np.repeat(scale, rows, axis=0), width, axis=1)
    return codes.astype(np.float32) * scale[: codes.shape[0], : codes.shape[1]]


def params_dtype(spec):
    return np.int64 if spec.format == "i64" else np.float32


def small_tokenizer_text(tokenizer):
    from training.conftest import TEXTS

    from v4mini.text import bpe

    return bpe.train(TEXTS, tokenizer.vocab_size)


def test_the_tokenizers_package_reads_the_tokenizer(small_recipe, small_tokenizer, rng, tmp_path):
    export(small_recipe.config, initial_values(small_recipe.config, rng), tmp_path, small_tokenizer_text(small_tokenizer))
    theirs = Theirs.from_file(str(tmp_path / "tokenizer.json"))
    text = "def f3(x, y):\n    return x + 3\n"
    assert theirs.encode(text, add_special_tokens=False).ids == list(small_tokenizer.encode(text))
    told = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert told["model_max_length"] == small_recipe.config.max_seq_len


def test_a_tensor_that_is_missing_leaves_no_half_model(small_recipe, rng, tmp_path):
    params = initial_values(small_recipe.config, rng)
    del params["norm.weight"]
    with pytest.raises((KeyError, Refused)):
        export(small_recipe.config, params, tmp_path / "m", "{}")
    with pytest.raises(Refused):
        v4.load(tmp_path / "m", backend="numpy")
