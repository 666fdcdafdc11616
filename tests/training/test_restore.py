"""A checkpoint that is whole but does not fit the run: every name, type, shape and number is looked at, and the run stays."""

import copy
import dataclasses

import numpy as np
import pytest

from v4mini import Refused
from v4mini.training.checkpoint import read_checkpoint, write_checkpoint
from v4mini.training.recipe import anticipating


@pytest.fixture(scope="module")
def saved(small_corpus, small_tokenizer, small_recipe, tmp_path_factory):      # recipe, arrays, state
    from v4mini.training.run import Run

    recipe = anticipating(small_recipe, 2)
    run = Run(recipe, small_corpus, small_tokenizer, engine="numpy")
    for _ in range(6):
        if run.is_stage_over:
            run.enter_next_stage()
        run.learn()
    path = tmp_path_factory.mktemp("saved") / "c.safetensors"
    run.save(path)
    return recipe, *read_checkpoint(path)


def put(holder, keys, value):
    for key in keys[:-1]:
        holder = holder[key]
    if value is None and keys[-1] in holder and not isinstance(holder[keys[-1]], int | float):
        del holder[keys[-1]]
    else:
        holder[keys[-1]] = value


STATES = [
    (["number"], 2, "number: expected 0 to 1"), (["number"], "1", "number"), (["number"], True, "number"),
    (["stage_step"], -1, "stage_step: expected 0 to 6"), (["stage_step"], 7, "stage_step"),
    (["step"], 1, "step: expected 2 to 6"),
    (["step"], 2.0, "step"), (["tokens"], 10**30, "tokens"), (["tokens"], 0, "tokens"), (["adamw_steps"], 99, "adamw_steps"),
    (["seconds"], -1.0, "seconds"), (["seconds"], "long", "seconds"), (["accuracy"], 1.5, "accuracy"),
    (["accuracy"], [], "accuracy"),
    (["feed"], None, "fields"), (["more"], 1, "fields"), (["feed", "rng", "bit_generator"], "MT19937", "feed.rng"),
    (["feed", "rng", "state", "inc"], 2, "feed.rng"), (["feed", "rng", "state", "state"], 2**128, "feed.rng"),
    (["feed", "rng", "uinteger"], -1, "feed.rng"), (["feed", "rng"], None, "feed"), (["feed", "rows"], [], "feed.rows"),
    (["feed", "rows"], {"length": 5, "seed": 1, "used": 0}, "feed.rows.length"),
    (["feed", "rows"], {"length": 64, "seed": -1, "used": 0}, "feed.rows.seed"),
    (["feed", "rows"], {"length": 64, "seed": 1, "used": 10**6}, "feed.rows.used"),
    (["recipe"], None, "another recipe"), (["texts"], None, "other texts"), (["texts", "crc32"], 1, "other texts")]


@pytest.mark.parametrize("keys, value, words", STATES, ids=lambda of: ".".join(of) if isinstance(of, list) else None)
def test_numbers_that_cannot_be(saved, run_of, tmp_path, keys, value, words):
    recipe, arrays, state = saved
    state = copy.deepcopy(state)
    put(state, keys, value)
    refused(run_of, recipe, arrays, state, tmp_path, words)


def without(arrays, name):
    return {other: array for other, array in arrays.items() if other != name}


def spoilt(arrays, name, value):
    array = arrays[name].copy()
    array.reshape(-1)[0] = value
    return arrays | {name: array}


TABLE, MATRIX, IDS = "params.layers.0.ffn.gate.tid2eid", "params.head.weight", "ahead.0.batch.ids"
ARRAYS = [
    (lambda a: without(a, MATRIX), "head.weight' is not there"),
    (lambda a: without(a, "muon.layers.0.attn.wkv.weight"), "not there"),
    (lambda a: a | {"params.x": a[MATRIX]}, "one of another model"),
    (lambda a: a | {"adamw.mean.norm.weight": a[MATRIX]}, "float32"),
    (lambda a: a | {MATRIX: a[MATRIX].T.copy()}, "head.weight: expected float32"),
    (lambda a: a | {MATRIX: a[MATRIX].astype(np.int64)}, "expected float32"),
    (lambda a: spoilt(a, MATRIX, np.nan), "finite"), (lambda a: spoilt(a, "adamw.square.head.weight", -1.0), "0 or more"),
    (lambda a: spoilt(a, TABLE, 99), "numbers of experts"), (lambda a: spoilt(a, TABLE, -1), "numbers of experts"),
    (lambda a: without(a, IDS), "ahead.0"), (lambda a: spoilt(a, IDS, 300), "token ids"),
    (lambda a: spoilt(a, IDS, -1), "token ids"),
    (lambda a: spoilt(a, "ahead.0.batch.positions", -1), "positions"),
    (lambda a: spoilt(a, "ahead.0.routes.2", 77), "experts"), (lambda a: without(a, "ahead.1.routes.3"), "routes"),
    (lambda a: {name: array for name, array in a.items() if not name.startswith("ahead.1.")}, "drawn ahead: expected 2"),
    (lambda a: a | {"ahead.x.y": a[IDS]}, "ahead.N.batch.NAME"), (lambda a: a | {"ahead.7": a[IDS]}, "ahead.N.batch.NAME")]


@pytest.mark.parametrize("change, words", ARRAYS, ids=range(len(ARRAYS)))
def test_arrays_that_do_not_fit(saved, run_of, tmp_path, change, words):
    recipe, arrays, state = saved
    refused(run_of, recipe, change(arrays), state, tmp_path, words)


def refused(run_of, recipe, arrays, state, tmp_path, words):
    write_checkpoint(tmp_path / "c.safetensors", arrays, state)
    run = run_of(recipe)
    before = {name: values.copy() for name, values in run.params.items()}
    with pytest.raises(Refused, match=words) as error:
        run.restore(tmp_path / "c.safetensors")
    assert "\n" not in str(error.value) and run.step == run.number == 0 and run.ahead == []
    assert all(np.array_equal(run.params[name], before[name]) for name in before)


def test_what_was_saved_fits(saved, run_of, tmp_path):
    recipe, arrays, state = saved
    write_checkpoint(tmp_path / "c.safetensors", arrays, state)
    run = run_of(recipe)
    run.restore(tmp_path / "c.safetensors")
    assert run.step == 6 and len(run.ahead) == 2 and all({1, 2, 3} <= set(routes) <= {1, 2, 3, 4} for _, routes in run.ahead)
    other = run_of(dataclasses.replace(recipe, seed=1))
    with pytest.raises(Refused, match="another recipe"):
        other.restore(tmp_path / "c.safetensors")
