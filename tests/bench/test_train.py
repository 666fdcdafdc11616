"""The training benchmark: all engines do the same step, and what fails is told. How fast anything is, no test asserts."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini.bench import train
from v4mini.bench.train import TrainResult, calm_step, compare_training, ratios, start, train_configs
from v4mini.cli import main
from v4mini.config import Config
from v4mini.shapes import Refused

TINY = Config.tiny().replace(n_mtp_layers=0, compress_ratios=(4, 0, 128, 4))


def task(engine, config=TINY, rows=2, length=20):
    return {"config": config.to_dict(), "rows": rows, "length": length, "engine": engine}


@pytest.mark.parametrize("engine", ["numpy", "numpy+adamw"])
def test_a_step_tells_its_parts(engine):
    first, found = start(task(engine)), calm_step()
    assert 0 < found["update_seconds"] < found["seconds"] and found["peak_bytes"] > 1e7
    assert abs(first["loss"] - 5.0) < 1.0               # log(97) and what random logits add


def test_the_models_are_such_as_transformers_can_train():
    for config in train_configs().values():
        assert config.n_mtp_layers == 0 and config.dtype == "f32" and config.expert_dtype is None
    mini, full = train_configs()["mini"], Config.mini()
    assert [mini.layer_kind(i) for i in range(mini.n_layers)] == [full.layer_kind(i) for i in range(full.n_layers)]


@pytest.mark.parity
def test_hugging_face_does_the_same_step():
    """All entries are read: three index heads often score 0, and torch breaks such ties in another way."""
    ours, theirs = (start(task(engine, TINY.replace(index_topk=64), length=150)) for engine in ("numpy", "hf"))
    assert abs(ours["loss"] - theirs["loss"]) < 1e-4 and theirs["how"] in train.WAYS
    assert 0 < (found := calm_step())["update_seconds"] < found["seconds"]


def test_each_engine_has_a_process_of_its_own():
    result, = compare_training({"tiny": TINY}, [(2, 16)], ["numpy"], rounds=3)
    assert (result.model, result.rows, result.length, result.engine, result.failure) == ("tiny", 2, 16, "numpy", "")
    assert result.tokens_per_second == pytest.approx(32 / result.seconds) and result.loss > 0
    assert len(result.rounds) == 3 and result.seconds == sorted(result.rounds)[1]
    with pytest.raises(Refused, match="expected auto, numba or numpy, got 'nonsense'"):
        list(compare_training({"tiny": TINY}, [(2, 16)], ["nonsense"], rounds=1))


def killed(task):
    os.kill(os.getpid(), 9)


def starved(task):
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory\nmore")


def without_torch(task):
    raise ModuleNotFoundError("No module named 'torch'")


def test_an_engine_that_is_killed_or_starved_is_reported_and_the_race_goes_on(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])              # the other process imports this file by its name
    for failing, words in ((killed, "killed (out of memory?)"), (starved, "DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(train, "start", failing)
        results = list(compare_training({"tiny": TINY}, [(2, 16), (1, 16)], ["numpy"], rounds=1))
        assert [result.failure for result in results] == [words] * 2 and results[0].seconds is None
    monkeypatch.setattr(train, "start", without_torch)
    with pytest.raises(Refused, match="No module named 'torch'. For --against hf run"):
        list(compare_training({"tiny": TINY}, [(2, 16)], ["hf"], rounds=1))


def test_ratios_are_medians_over_rounds_and_leave_out_what_did_not_finish():
    def result(engine, rows, *rounds):
        return TrainResult("mini", rows, 64, engine, 1.0, 1.0, 1.0, 1.0, 1, rounds=rounds)
    results = [result("numba", 4, 2.0, 4.0, 1.0), result("hf", 4, 5.0, 8.0, 6.0), result("numba", 2, 2.0), result("hf", 2)]
    assert ratios(results, "numba", "hf") == {("mini", 4, 64): 2.5}     # 2.5, 2, 6


def test_the_command_tells_all_of_it(monkeypatch):
    def compare(configs, batches, engines, rounds):
        for engine in engines:
            for rows, length in batches:
                seconds = {"numba": 2.0, "numba+adamw": 1.0}.get(engine, 5.0)
                yield TrainResult(*configs, rows, length, engine, seconds, 0.5, 100.0, 6.25, 10**9, "eager", rounds=(seconds,))
    monkeypatch.setattr(train, "compare_training", compare)
    words = CliRunner().invoke(main, ["bench", "train", "--model", "mini", "--against", "hf", "--batches", "3x64"]).output
    assert "training mini on 3 x 64 tokens: numba is 2.5 times as fast as hf" in words and "hf eager" in words
    assert "training mini on 3 x 64 tokens: numba+adamw is 5.0 times as fast as hf" in words
    told = json.loads(CliRunner().invoke(main, ["bench", "train", "--model", "mini", "--against", "hf", "--json"]).output)
    assert [(result["rows"], result["length"], result["engine"]) for result in told["results"]] == [
        (rows, length, engine) for engine in ("numba", "numba+adamw", "hf") for rows, length in ((4, 512), (2, 1024))]
    assert told["ratios"][0] == {"ours": "numba", "against": "hf", "model": "mini", "rows": 4, "length": 512, "times": 2.5}


@pytest.mark.parametrize("batches", ["", "many", "4", "4x", "0x16", "4x1", "4x512x2", "-1x8"])
def test_no_such_batches(batches):
    result = CliRunner().invoke(main, ["bench", "train", "--batches", batches])
    assert result.exit_code == 2 and "--batches: expected rows x tokens" in result.output and result.output.count("\n") == 1
