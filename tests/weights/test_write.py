"""save: floats in, the released format out, and the same back again."""

import json

import ml_dtypes
import numpy as np
import pytest
from tolerances import SAME_MODEL

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.numerics.blocks import even_tiles, quantise_fp4, quantise_fp8
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused
from v4mini.weights.layouts import check
from v4mini.weights.random import random_tensors
from v4mini.weights.spec import tensors
from v4mini.weights.store import open_store
from v4mini.weights.write import save

MINI = Config.mini().replace(n_layers=4, vocab_size=300)


@pytest.fixture(scope="module")
def values():                                           # float32 or integers by released name, none yet quantised
    draw = np.random.default_rng(0)
    return {spec.name: np.argsort(draw.random((spec.shape[0], 8)), 1)[:, : spec.shape[1]] if spec.format == "i64"
            else draw.standard_normal(spec.shape, dtype=np.float32) for spec in tensors(MINI)}


@pytest.fixture(scope="module")
def saved(values, tmp_path_factory):
    return save(tmp_path_factory.mktemp("saved") / "model", MINI, values.get)


def test_every_tensor_is_read_back_as_quantising_it_would_give(saved, values):
    with open_store(saved) as store:
        assert check(MINI, store.entries()) == []
        for spec in tensors(MINI):
            wanted = values[spec.name]
            if spec.format in ("fp8", "fp4"):
                wanted = (even_tiles(quantise_fp8(wanted)) if spec.format == "fp8" else quantise_fp4(wanted)).dense()
                got = Matrix(store[spec.name], store[spec.scale_name]).dense()
            else:
                wanted = wanted.astype(ml_dtypes.bfloat16) if spec.format == "bf16" else wanted
                got = store[spec.name]
            assert np.array_equal(got, wanted), spec.name


def test_what_was_saved_loads_and_runs(saved):
    model = load(saved)
    assert model.config == MINI and np.isfinite(model.logits(np.arange(9))).all()


def test_rounding_to_the_format_twice_is_rounding_once(saved, tmp_path):
    def value(name):
        scale = store.get(name.removesuffix("weight") + "scale")
        return store[name] if scale is None else Matrix(store[name], scale).dense()

    with open_store(saved) as store, open_store(save(tmp_path / "again", MINI, value)) as again:
        for spec in tensors(MINI):
            if spec.format in ("fp8", "fp4"):           # numbers, not codes: a block of small ones may take a smaller scale
                second = Matrix(again[spec.name], again[spec.scale_name]).dense()
                assert np.array_equal(second, value(spec.name)), spec.name
            else:
                assert np.array_equal(again[spec.name], store[spec.name]), spec.name


def test_float32_is_saved_as_it_is(tmp_path):
    made = random_tensors(Config.tiny())
    with open_store(save(tmp_path / "tiny", Config.tiny(), made.get)) as store:
        assert all(np.array_equal(store[name], array) for name, array in made.items())
    logits = [load(tmp_path / "tiny", keep=keep).logits([3, 1, 4]) for keep in (True, False)]
    np.testing.assert_allclose(*logits, **SAME_MODEL)


def test_the_config_stands_beside_in_the_releases_spelling(saved):
    fields = json.loads((saved / "config.json").read_text())
    assert fields["model_type"] == "deepseek_v4" and fields["hidden_size"] == 256 and fields["expert_dtype"] == "fp4"


def test_metadata_is_kept(tmp_path):
    path = save(tmp_path / "tiny", Config.tiny(), random_tensors(Config.tiny()).get, metadata={"steps": "12"})
    with open_store(path) as store:
        assert store.metadata == {"format": "pt", "steps": "12"}


@pytest.mark.parametrize("name, value, sentence", [
    ("norm.weight", np.zeros(5, np.float32), r"norm.weight: expected \[48\], got \[5\]"),
    ("head.weight", None, r"head.weight: expected \[97, 48\], got \[\]"),
    ("layers.0.attn.wkv.weight", np.zeros((48, 24), np.float32), r"expected \[24, 48\], got \[48, 24\]")])
def test_a_value_of_another_shape_is_refused_and_nothing_is_left_behind(tmp_path, name, value, sentence):
    made = random_tensors(Config.tiny()) | {name: value}
    with pytest.raises(Refused, match=sentence):
        save(tmp_path / "tiny", Config.tiny(), made.get)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_weight_that_is_not_finite_is_refused_by_name(values, tmp_path):
    bad = values["layers.1.attn.wkv.weight"].copy()
    bad[3, 7] = np.nan
    with pytest.raises(Refused, match=r"layers.1.attn.wkv.weight: the weight at \[3, 7\] is nan"):
        save(tmp_path / "model", MINI, (values | {"layers.1.attn.wkv.weight": bad}).get)
