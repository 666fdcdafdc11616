"""DSpark's blocks against a float64 derivation that keeps nothing (naive_dspark.py), and against its golden file."""

import numpy as np
import pytest
from layers import dspark_golden, naive_dspark
from tolerances import VISIBLE, WHOLE_MODEL

from v4mini.backend import Backend
from v4mini.inference.load import load
from v4mini.kernels.backend import NumbaBackend
from v4mini.layers.dspark import everything_but_itself, tap
from v4mini.lessons import data_folder
from v4mini.proof.drafts import rounds
from v4mini.weights.random import random_tensors

CONFIG = dspark_golden.CONFIG
FOLDER = data_folder() / "golden" / "dspark"
ENGINES = {"numpy": Backend, "numba": NumbaBackend}


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "cases.npz") as file:
        return dict(file)


def off(one, golden, number, prefix=""):                # -> the largest difference of a round from golden numbers
    return max(np.abs(one[name] - golden[f"{prefix}{name}_{number}"]).max() for name in ("logits", "confidence"))


@pytest.mark.parametrize("engine", ENGINES)
def test_three_rounds_give_the_golden_numbers(golden, engine):
    model = load(FOLDER, ENGINES[engine]())
    for number, one in enumerate(rounds(model, golden["ids"], golden["read"])):
        for name in ("logits", "confidence"):
            np.testing.assert_allclose(one[name], golden[f"{name}_{number}"], **WHOLE_MODEL)
        assert one["drafts"].tolist() == golden[f"drafts_{number}"].tolist()


@pytest.mark.parametrize("wrong", naive_dspark.WRONG)
def test_every_planted_mistake_shows_in_the_golden_numbers(golden, wrong):
    """And by far: a port that makes it is off by more than fifty times what float32 is allowed."""
    apart = [np.abs(golden[f"wrong/{wrong}/{name}_{number}"] - golden[f"{name}_{number}"]).max()
             for number in (1, 2) for name in ("logits", "confidence")]
    assert max(apart) > 50 * VISIBLE


@pytest.mark.parametrize("mistakes", [(), pytest.param(naive_dspark.WRONG, marks=pytest.mark.slow)], ids=["right", "all"])
def test_the_golden_file_is_what_the_derivation_gives(golden, mistakes):
    again = dspark_golden.cases(mistakes=mistakes)
    assert again.keys() == {name for name in golden if mistakes or not name.startswith("wrong/")}
    for name, value in again.items():
        np.testing.assert_allclose(value, golden[name], rtol=1e-9, atol=1e-9, err_msg=name)


def test_a_sum_of_streams_gives_the_same_as_their_mean():
    """main_norm divides the factor out again, so no golden number can tell the two apart, and none needs to."""
    tensors, ids = random_tensors(CONFIG), dspark_golden.text(CONFIG)
    mean, total = (naive_dspark.round_of(CONFIG, tensors, ids[:12], ids[12], wrong) for wrong in (None, "sum of streams"))
    np.testing.assert_allclose(total["logits"], mean["logits"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("changes", [
    {"n_dspark_layers": 1}, {"dspark_block_size": 1}, {"dspark_block_size": 9}, {"dspark_target_layer_ids": (0,)},
    {"dspark_target_layer_ids": (0, 1, 3)}, {"window_size": 1}, {"window_size": 3}, {"hc_mult": 1}, {"swiglu_limit": 0.0}],
    ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_one_odd_size_at_a_time(model_of, changes, engine):
    config = CONFIG.replace(**changes)
    ids, tensors = dspark_golden.text(config), random_tensors(config)
    for n, one in zip((5, 7), rounds(model_of(config, ENGINES[engine]()), ids, (5, 7))):
        wanted = naive_dspark.round_of(config, tensors, ids[:n], ids[n])
        np.testing.assert_allclose(one["logits"], wanted["logits"], **WHOLE_MODEL)
        np.testing.assert_allclose(one["confidence"], wanted["confidence"], **WHOLE_MODEL)


def test_who_reads_what_by_hand():
    assert everything_but_itself(2, 3).tolist() == [[0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]]
    assert everything_but_itself(3, 1).tolist() == [[0, 1, 2]]


def test_a_tap_is_the_mean_of_the_streams(rng):
    streams = rng.standard_normal((7, 4, 5)).astype(np.float32)
    np.testing.assert_allclose(tap(streams), streams.mean(axis=1), rtol=1e-6, atol=1e-7)
