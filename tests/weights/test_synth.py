"""Random checkpoints of real shapes: files as released, whole or refused, and resumed where they were left."""

import json

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.shapes import Refused
from v4mini.weights import synth as module
from v4mini.weights.layouts import check
from v4mini.weights.random import random_tensors
from v4mini.weights.store import INDEX, open_store
from v4mini.weights.synth import file_plan, free_bytes, most_layers, synth, total_bytes
from v4mini.writing import part_name

MINI = Config.mini()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synth(tmp_path_factory.mktemp("synth") / "a folder" / "mini", MINI, seed=3)


def test_it_is_whole_and_the_random_checkpoint_of_that_seed(folder):
    wanted = random_tensors(MINI, seed=3)
    with open_store(folder) as store:
        assert check(MINI, store.entries()) == [] and set(store) == set(wanted)
        assert all(store[name].tobytes() == wanted[name].tobytes() for name in store)
        assert store.metadata["total_size"] == store.nbytes == total_bytes(MINI)
    assert Config.load(folder) == MINI


def test_files_are_the_release_s_46():
    """Flash's index: the embedding in the first file, layer i in file i + 2, the head in the 45th, the MTP block in the last."""
    files = file_plan(Config.flash())
    assert list(files) == [f"model-{n:05d}-of-00046.safetensors" for n in range(1, 47)]
    owners = [{".".join(spec.name.split(".")[:2]) for spec in specs} for specs in files.values()]
    assert owners[0] == {"embed.weight"} and owners[45] == {"mtp.0"}
    assert all(owner == {f"layers.{i}"} for i, owner in enumerate(owners[1:44]))
    assert owners[44] == {"norm.weight", "head.weight", "hc_head_fn", "hc_head_base", "hc_head_scale"}
    assert total_bytes(Config.flash()) == 159_609_485_896


def test_activations_stay_finite_and_lively_through_all_layers(folder):
    logits = load(folder, backend="numpy").logits(np.arange(140) % 97)
    assert np.isfinite(logits).all() and 0.3 < logits.std() < 3


def test_progress_ends_at_the_whole_and_never_goes_back(tmp_path):
    seen = []
    synth(tmp_path / "x", MINI, progress=seen.append)
    assert seen == sorted(seen) and seen[-1] == total_bytes(MINI) and len(seen) > 100


class Killed(Exception):
    pass


def test_a_killed_run_leaves_no_checkpoint_and_the_next_one_goes_on(tmp_path, monkeypatch, folder):
    half = total_bytes(MINI) // 2

    def stop_after(done):
        if done > half:
            raise Killed
    with pytest.raises(Killed):
        synth(tmp_path / "x", MINI, seed=3, progress=stop_after)
    with pytest.raises(Refused):
        open_store(tmp_path / "x")
    here = sorted(path.name for path in (tmp_path / "x").iterdir())
    assert 1 < len(here) < len(file_plan(MINI)) and not [name for name in here if name.endswith(".part")]
    (tmp_path / "x" / part_name("model-00007-of-00009.safetensors")).write_bytes(b"half")      # of a process that was killed
    written = []
    real = module.write_file
    monkeypatch.setattr(module, "write_file", lambda path, *rest: (written.append(path.name), real(path, *rest))[1])
    synth(tmp_path / "x", MINI, seed=3)
    assert written == [name for name in file_plan(MINI) if name not in here]
    for path in folder.iterdir():
        assert (tmp_path / "x" / path.name).read_bytes() == path.read_bytes(), path.name
    assert len(list((tmp_path / "x").iterdir())) == len(list(folder.iterdir()))


def test_a_whole_one_is_left_as_it_is(tmp_path):
    synth(tmp_path / "x", MINI)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "x").glob("*.safetensors")}
    synth(tmp_path / "x", MINI, reserve=10**18)         # nothing to write, nothing to find room for
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "x").glob("*.safetensors")}


@pytest.mark.parametrize("there, match", [
    ("model-00001-of-00004.safetensors", "expected an empty folder"), ("notes.txt", "expected an empty folder"),
    ("model.safetensors", "expected an empty folder"), ("config.json", "another config.json")])
def test_a_folder_that_holds_anything_else_is_refused_and_kept(tmp_path, there, match):
    (tmp_path / there).write_text("mine")
    with pytest.raises(Refused, match=match):
        synth(tmp_path, MINI)
    assert (tmp_path / there).read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


def test_another_seed_or_shape_is_not_mixed_in(folder):
    before = (folder / INDEX).read_bytes()
    for config, seed in ((MINI, 4), (MINI.replace(q_lora_rank=256), 3)):
        with pytest.raises(Refused, match="got another checkpoint's"):
            synth(folder, config, seed)
    assert (folder / INDEX).read_bytes() == before


def test_a_file_in_the_folder_s_place_is_refused(tmp_path):
    (tmp_path / "x").write_text("mine")
    with pytest.raises(Refused, match="expected a folder"):
        synth(tmp_path / "x", MINI)


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda path: 10_000_000)
    with pytest.raises(Refused, match=r"wanted 1\d,\d{3},\d{3} bytes and 8,589,934,592 to stay free, got 10,000,000"):
        synth(tmp_path / "x", MINI)
    assert not (tmp_path / "x").exists()


def test_as_many_layers_as_fit():
    flash = Config.flash().replace(n_mtp_layers=0)
    sizes = {n: total_bytes(flash.replace(n_layers=n)) + (n + 2) * module.HEADERS for n in (1, 4, 5, 43)}
    assert most_layers(flash, sizes[4]) == flash.replace(n_layers=4) == most_layers(flash, sizes[5] - 1)
    assert most_layers(flash, sizes[5]).n_layers == 5 and most_layers(flash, 10**15) == flash
    with pytest.raises(Refused, match=f"expected room for one layer, {sizes[1]:,} bytes, got {sizes[1] - 1:,}"):
        most_layers(flash, sizes[1] - 1)
    with_mtp = most_layers(Config.flash(), sizes[5])
    assert with_mtp.n_layers == 3 and with_mtp.n_mtp_layers == 1       # the block is a little larger than a layer


def test_free_room_of_a_path_that_is_not_there_yet(tmp_path):
    assert free_bytes(tmp_path / "not" / "yet") == pytest.approx(free_bytes(tmp_path), rel=0.1)


def test_the_index_lists_every_tensor_in_its_file(folder):
    index = json.loads((folder / INDEX).read_text())
    listed = {name: file for file, specs in file_plan(MINI).items() for spec in specs for name, _, _ in spec.stored()}
    assert listed == index["weight_map"]
