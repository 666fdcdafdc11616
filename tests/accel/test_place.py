"""A checkpoint larger than a device: the text of the engine that holds it whole, and as many bytes moved as a replay says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flash_like import FLASH_LIKE

torch = pytest.importorskip("torch")

from accel.place import place, plan_device  # noqa: E402
from v4mini.inference.generate import generate  # noqa: E402
from v4mini.inference.load import load  # noqa: E402
from v4mini.inference.routing_trace import recorded  # noqa: E402
from v4mini.inference.streaming.replay import replay  # noqa: E402
from v4mini.numerics.matrix import Matrix  # noqa: E402
from v4mini.shapes import Refused  # noqa: E402
from v4mini.weights.synth import synth  # noqa: E402
from v4mini.weights.tree import named  # noqa: E402

BUNDLED = Path(__file__).parents[2] / "data" / "mini"
IDS = (np.arange(24) * 37 + 5) % 500
HOST = 8 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synth(tmp_path_factory.mktemp("placed") / "flash", FLASH_LIKE)


@pytest.fixture(scope="module")
def whole(folder):
    return load(folder, "numba", keep=False)


def limit_for(model, slots, chunk=512):                 # bytes for exactly so many experts on the device
    plan = plan_device(model.config, model.weights, 1 << 40, chunk)
    return plan.dense + plan.scratch + plan.cache + slots * plan.expert


@pytest.mark.parametrize("slots", [1, 7, 80])
def test_text_and_bytes_moved(folder, whole, slots):
    watched, recorder = recorded(whole)
    wanted = list(generate(watched, IDS, 10, temperature=0))
    with place(folder, limit_for(whole, slots), HOST, direct=False) as model:
        assert list(generate(model, IDS, 10, temperature=0)) == wanted
        told, device = replay(recorder.trace(len(IDS)).steps(), slots, "aged"), model.report()["device"]
    assert (device["expert_slots"], device["expert_uses"], device["expert_moves"]) == (slots, told.uses, told.misses)
    expert = model.device_plan.expert
    assert device["moved_bytes"] == told.misses * expert and model.slots.nbytes <= slots * expert


def test_logits_are_those_of_the_engine_that_has_it_whole(folder):
    right = load(folder, "torch", keep=False)
    with place(folder, limit_for(load(folder, "numpy", keep=False), 3), HOST) as model:
        pair = model.prefill(IDS, model.new_cache()), right.prefill(IDS, right.new_cache())
        np.testing.assert_allclose(*pair, rtol=0, atol=1e-5)        # BLAS adds by alignment, and copies lie elsewhere


def test_what_stays_on_the_device_is_what_was_planned(folder, whole):
    with place(folder, limit_for(whole, 2), HOST) as model:
        rest = {"embed", *(id(layer.ffn.experts) for layer in model.weights.layers)}
        placed = sum(leaf.nbytes for leaf in tensors_of(model.weights, rest))
        assert placed == model.device_plan.dense
        assert sum(model.device_plan.describe().values()) <= model.device_plan.limit
        assert not [leaf for _, leaf in named(model.weights, model.config) if isinstance(leaf, Matrix)]


def tensors_of(tree, rest):
    from dataclasses import fields, is_dataclass
    if id(tree) in rest or getattr(tree, "name", "") in rest or tree is None:
        return
    if is_dataclass(tree):
        for field in fields(tree):
            yield from tensors_of(getattr(tree, field.name), rest)
    elif isinstance(tree, tuple):
        for item in tree:
            yield from tensors_of(item, rest)
    elif hasattr(tree, "nbytes"):
        yield tree


def test_limits_that_are_too_small_say_for_what(folder, whole):
    with pytest.raises(Refused, match="memory: expected at least .* for one expert"):
        place(folder, limit_for(whole, 1) - 1, HOST)
    with pytest.raises(Refused, match="expected at least .* for the process"):
        place(folder, 1 << 40, 1000)
    with pytest.raises(Refused, match="engine of a device .* got 'numba'"):
        place(folder, 1 << 40, HOST, backend="numba")


def test_the_command(tmp_path, folder, whole):
    command = [sys.executable, "-m", "v4mini", "generate", "--model", folder, "--ids", "5 17 80", "-n", "4", "--temperature", "0"]
    limits = ["--backend", "torch", "--memory", str(HOST), "--device-memory", str(limit_for(whole, 5)), "--json"]
    report = json.loads(subprocess.run([*command, *limits], check=True, capture_output=True, text=True).stdout)
    assert report["ids"] == list(generate(whole, [5, 17, 80], 4, temperature=0))
    assert report["streaming"]["device"]["expert_slots"] == 5
    for wrong, said in ((["--device-memory", "1GiB"], "expected --memory"),
                        (["--device-memory", "1GiB", "--memory", "2GiB", "--backend", "numpy"], "engine of a device")):
        done = subprocess.run([*command, *wrong], capture_output=True, text=True)
        assert done.returncode == 2 and said in done.stderr
