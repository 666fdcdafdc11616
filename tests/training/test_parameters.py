"""Parameters: checked against the one table of tensors, and each a leaf of its own under its released name."""

import ml_dtypes
import numpy as np
import pytest

from v4mini import Config, Refused
from v4mini.backend import Backend
from v4mini.numerics.matrix import Matrix
from v4mini.training.gradients import Gradients
from v4mini.training.parameters import as_released, check_parameters, leaves
from v4mini.training.tape import Tape
from v4mini.weights.random import random_tensors
from v4mini.weights.spec import tensors

CONFIG = Config.tiny()


@pytest.fixture
def params():
    return random_tensors(CONFIG)


@pytest.mark.parametrize("name, change, words", [
    ("norm.weight", None, "norm.weight is missing"), ("a.weight", np.ones(2, np.float32), "a.weight is unknown"),
    ("norm.weight", np.ones(7, np.float32), r"expected norm.weight \[48\] float32, got \[7\] float32"),
    ("norm.weight", np.ones(48, int), r"expected norm.weight \[48\] float32, got \[48\] int64"),
    ("layers.0.ffn.gate.tid2eid", np.ones((97, 2), np.float32), r"\[97, 2\] int, got \[97, 2\] float32")])
def test_what_does_not_fit_the_config_is_refused(params, name, change, words):
    check_parameters(CONFIG, params)
    if change is None:
        del params[name]
    else:
        params[name] = change
    with pytest.raises(Refused, match=words):
        check_parameters(CONFIG, params)


def test_every_float_tensor_is_a_leaf_of_its_own_and_holds_what_was_given(params):
    tree, found = leaves(CONFIG, params, Tape(Backend(), Gradients()))
    assert found.keys() == {spec.name for spec in tensors(CONFIG) if spec.format != "i64"}
    assert len({id(value) for value in found.values()}) == len(found)
    for name, value in found.items():
        held = value.data.dense() if isinstance(value.data, Matrix) else value.data
        assert value.name == name and np.shares_memory(held, params[name]), name
    assert tree.layers[1].attn.wq_a is found["layers.1.attn.wq_a.weight"]
    assert tree.mtp.head.hc_head.scale is found["mtp.0.hc_head_scale"] and tree.mtp.head.weight is tree.head.weight
    assert np.array_equal(tree.layers[0].ffn.gate.tid2eid, params["layers.0.ffn.gate.tid2eid"])


def test_equal_tensors_are_still_different_leaves(params):
    """Norms of ones are alike in every number; names go by the array, not by what it holds."""
    for name in params:
        if name.endswith("norm.weight"):
            params[name] = np.ones_like(params[name])
    tree, found = leaves(CONFIG, params, Tape(Backend(), Gradients()))
    assert tree.layers[2].attn_norm is found["layers.2.attn_norm.weight"]
    assert tree.layers[2].ffn_norm is found["layers.2.ffn_norm.weight"]


def test_quantised_leaves_hold_what_a_checkpoint_would(rng):
    config = Config.mini()
    params = {spec.name: np.zeros(spec.shape, np.int64) if spec.format == "i64" else rng.standard_normal(spec.shape, np.float32)
              for spec in tensors(config)}
    _, found = leaves(config, params, Tape(Backend("released"), Gradients(), "released"), "released")
    kinds = {}
    for spec in tensors(config):
        if spec.format == "i64":
            continue
        data, given = found[spec.name].data, params[spec.name]
        held = data.dense() if isinstance(data, Matrix) else data
        kinds.setdefault(spec.format, []).append(spec.name)
        if spec.format == "f32":
            np.testing.assert_array_equal(held, given)
            continue
        assert not np.array_equal(held, given)
        # the largest of a tile is a number of the format's top octave, so the error is at most half a step there
        step = {"bf16": 2**-8, "fp8": 2**-4, "fp4": 2**-2}[spec.format]
        assert np.abs(held - given).max() <= step * np.abs(given).max(), spec.name
        if spec.format == "bf16":
            np.testing.assert_array_equal(held, given.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert kinds.keys() == {"f32", "bf16", "fp8", "fp4"}


def test_as_released_names_codes_and_scales(rng):
    spec = next(spec for spec in tensors(Config.mini()) if spec.format == "fp4")
    stored = as_released(spec, rng.standard_normal(spec.shape, np.float32))
    assert list(stored) == [spec.name, spec.scale_name]
    assert stored[spec.name].dtype == np.int8 and stored[spec.name].shape == (spec.shape[0], spec.shape[1] // 2)
