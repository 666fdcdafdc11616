"""Random checkpoints: the same for the same seed, all that the table of tensors says, and lively."""

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.numerics.matrix import Matrix
from v4mini.weights import random
from v4mini.weights.layouts import check
from v4mini.weights.random import random_tensors, random_weights
from v4mini.weights.spec import tensors
from v4mini.weights.store import open_store

CONFIGS = {"tiny": Config.tiny(), "mini": Config.mini(), "bf16": Config.tiny().replace(dtype="bf16"),
           "fp8": Config.mini().replace(expert_dtype="fp8")}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_files_hold_what_the_table_says_and_the_same_as_in_memory(tmp_path, name):
    config = CONFIGS[name]
    with open_store(random_weights(config, tmp_path / "made", seed=3)) as store:
        assert check(config, store.entries()) == []
        made = random_tensors(config, seed=3)
        assert set(store) == set(made)
        for tensor in store:
            assert store[tensor].dtype == made[tensor].dtype and store[tensor].tobytes() == made[tensor].tobytes(), tensor
    assert Config.load(tmp_path / "made") == config


def test_a_seed_is_a_checkpoint(tmp_path):
    config = Config.tiny()
    paths = [random_weights(config, tmp_path / str(n), seed) for n, seed in enumerate((5, 5, 6))]
    first, same, other = [(path / "model.safetensors").read_bytes() for path in paths]
    assert first == same and first != other


def test_a_tensor_does_not_depend_on_the_others():
    """So a tensor of Flash can be made alone, and cutting layers changes no other tensor."""
    whole, cut = random_tensors(Config.tiny()), random_tensors(Config.tiny().replace(n_layers=1))
    assert np.array_equal(whole["layers.0.attn.wkv.weight"], cut["layers.0.attn.wkv.weight"])


def test_drawing_a_few_rows_at_a_time_is_how_large_ones_are_made(monkeypatch):
    monkeypatch.setattr(random, "ROWS_AT_ONCE", 100)
    made = random_tensors(Config.tiny())
    assert {name: array.shape for name, array in made.items()} == {
        name: shape for spec in tensors(Config.tiny()) for name, _, shape in spec.stored()}


def test_no_two_tensors_are_alike_and_none_is_constant():
    """So that a test in which two were swapped, or one forgotten, fails."""
    made = {name: array.astype(np.float64) for name, array in random_tensors(Config.tiny()).items()}
    assert len({array.tobytes() for array in made.values()}) == len(made)
    assert all(array.size == 1 or array.std() > 0.01 for array in made.values())
    assert all(np.isfinite(array).all() for array in made.values())


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini()], ids=["tiny", "mini"])
def test_a_token_ids_experts_are_distinct_and_all_are_used(config):
    for layer in range(config.n_hash_layers):
        table = random_tensors(config)[f"layers.{layer}.ffn.gate.tid2eid"]
        assert table.dtype == np.int64 and table.shape == (config.vocab_size, config.n_activated_experts)
        assert all(len(set(row)) == len(row) for row in table)
        assert set(table.ravel()) == set(range(config.n_routed_experts))
        counts = np.bincount(table.ravel())
        assert counts.max() < 2 * counts.min()


@pytest.mark.parametrize("name", ["layers.2.attn.wq_b", "layers.2.ffn.experts.3.w2", "layers.2.ffn.gate", "head"])
def test_a_matrix_keeps_the_size_of_what_goes_through_it(name):
    made = random_tensors(Config.mini())
    dense = Matrix(made[name + ".weight"], made.get(name + ".scale")).dense()
    assert 0.5 < dense.std() * dense.shape[1] ** 0.5 < 3 and abs(dense.mean()) < 0.1 * dense.std()


def test_quantised_codes_use_most_of_their_range():
    made = random_tensors(Config.mini())
    assert len(np.unique(made["layers.2.attn.wq_b.weight"].view(np.uint8))) > 150
    nibbles = made["layers.2.ffn.experts.3.w2.weight"].view(np.uint8)
    assert set(np.unique(nibbles & 15)) >= set(range(16)) - {8}


def test_progress_is_told(tmp_path):
    done = []
    random_weights(Config.tiny(), tmp_path / "made", progress=done.append)
    assert done == sorted(done) and done[-1] >= sum(spec.nbytes for spec in tensors(Config.tiny()))
