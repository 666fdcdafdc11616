"""A release read from afar says what the same files say from nearby."""

import json

import numpy as np
import pytest
from huggingface_hub import HfApi
from weights.misbehaving import SIX_LAYERS

from v4mini.inspection import inspect_checkpoint, inspect_release
from v4mini.shapes import Refused
from v4mini.weights.file import write_file
from v4mini.weights.remote.hub import Patience
from v4mini.weights.remote.release import open_release
from v4mini.weights.store import INDEX, open_store

QUICK = Patience(seconds=5, tries=3, first_wait=0.001)


@pytest.fixture
def open_it(server, tmp_path):
    def open_it(cache="cache", **more):
        return open_release("hf://owner/name", server.endpoint, cache=tmp_path / cache, patience=QUICK, **more)
    return open_it


def test_headers_and_tensors_are_those_of_the_files(open_it, folder):
    release = open_it()
    with open_store(folder) as store:
        assert release.entries() == store.entries() and sorted(release.names) == sorted(store.names)
        assert release.total_size == store.nbytes and release.config == SIX_LAYERS
        for name in ("embed.weight", "layers.0.ffn.gate.tid2eid", "layers.2.ffn.experts.3.w1.weight", "hc_head_fn",
                     "layers.2.ffn.experts.3.w1.scale", "layers.4.attn.wq_b.weight"):
            theirs, ours = release.tensor(name), store[name]
            assert theirs.dtype == ours.dtype and theirs.shape == ours.shape and theirs.tobytes() == ours.tobytes()
            assert not theirs.flags.writeable


def test_huggingface_hub_reads_the_same_headers(open_it, server):
    release, api = open_it(), HfApi(endpoint=server.endpoint)
    theirs = api.parse_safetensors_file_metadata("owner/name", release.shards[1]).tensors
    ours = release.header(release.shards[1])
    first = min(entry.start for entry in ours.values())
    assert {name: (t.dtype, tuple(t.shape), tuple(t.data_offsets)) for name, t in theirs.items()} == {
        name: (e.dtype, e.shape, (e.start - first, e.stop - first)) for name, e in ours.items()}


def test_one_tensor_costs_one_header_and_itself(open_it, server):
    release = open_it()
    server.seen.clear()
    gate = release.tensor("layers.3.ffn.gate.weight")
    (header, data), shard = server.ranges(".safetensors"), release.where("layers.3.ffn.gate.weight")
    entry = release.entry("layers.3.ffn.gate.weight")
    assert data == f"bytes={entry.start}-{entry.stop - 1}" and gate.nbytes == entry.nbytes
    needed = min(entry.start for entry in release.header(shard).values())
    assert needed <= int(header.partition("-")[2]) + 1 <= 1.35 * needed         # one request brought it, with little more


def test_headers_are_kept_by_commit_and_read_again_if_damaged(open_it, server, tmp_path):
    open_it().read_headers()
    server.seen.clear()
    release = open_it()
    release.read_headers()
    assert server.ranges() == []        # the index, too, lies in the cache
    for path in (tmp_path / "cache").glob("*-00002-*.header"):
        path.write_bytes(path.read_bytes()[:-5])
    again = open_it()
    again.read_headers()
    assert len(server.ranges()) == 1 and again.entries() == release.entries()


def test_headers_that_need_a_second_request_come_as_well(open_it, folder, monkeypatch):
    monkeypatch.setattr("v4mini.weights.remote.release.ENTRY_BYTES", 10)
    with open_store(folder) as store:
        assert open_it().entries() == store.entries()


def test_a_fault_in_one_of_many_headers_is_told(open_it, server):
    server.faults.append(("00003", "wrong range"))
    with pytest.raises(Refused, match="00003.*expected bytes 0-"):
        open_it().read_headers()


def test_a_folder_is_a_release_too(folder, open_it):
    near, far = open_release(folder), open_it()
    assert near.entries() == far.entries() and near.name == str(folder) and near.source.revision == ""
    assert near.tensor("norm.weight").tobytes() == far.tensor("norm.weight").tobytes()
    assert near.source.budget.nbytes < 200_000
    with pytest.raises(Refused, match="in all at most"):
        open_release(folder, limit=100_000).tensor("embed.weight")


def test_one_file_without_an_index(tmp_path):
    write_file(tmp_path / "model.safetensors", [("a", "F32", (3,), lambda: [np.arange(3, dtype=np.float32)]),
                                                ("b", "F4", (2, 4), lambda: [np.arange(4, dtype=np.uint8)])])
    release = open_release(tmp_path)
    assert release.names == ["a", "b"] and list(release.tensor("a")) == [0, 1, 2] and release.total_size == 0
    assert release.tensor("b").shape == (2, 2)


@pytest.mark.parametrize("name, words", [
    ("layers.3.ffn.gate", "beginning of several"), ("layers.3.ffn.gat", "Did you mean layers.3.ffn.gate")])
def test_a_name_that_is_not_one_tensor(folder, name, words):
    with pytest.raises(Refused, match=words):
        open_release(folder).tensor(name)


def test_inspection_of_afar_says_the_same(open_it, folder):
    far, near = inspect_release(open_it()), inspect_checkpoint(folder)
    assert {**far, "name": 0} == {**near, "name": 0, **{key: far[key] for key in ("files", "revision", "read_bytes", "requests")}}
    assert far["problems"] == [] and far["index_total"] == far["bytes"] and far["read_bytes"] < 200_000


# ---- releases that are not what they say ----

def broken(folder, tmp_path, **changes):
    """A copy whose index says something else."""
    (tmp_path / "broken").mkdir()
    for path in folder.iterdir():
        (tmp_path / "broken" / path.name).symlink_to(path)
    (tmp_path / "broken" / INDEX).unlink()
    (tmp_path / "broken" / INDEX).write_text(json.dumps(json.loads((folder / INDEX).read_text()) | changes))
    return tmp_path / "broken"


@pytest.mark.parametrize("weight_map, words", [
    ({"norm.weight": "model-00002-of-00006.safetensors"}, "as the index says, got a file without it"),
    ({"norm.weight": "model-00009-of-00006.safetensors"}, "expected a file model-00009"),
    ({"norm.weight": "../model-00001-of-00006.safetensors"}, "inside this folder"),
    ({"norm.weight": 7}, "inside this folder"), ({}, "weight_map"), ([], "weight_map")])
def test_an_index_that_lies_is_refused(folder, tmp_path, weight_map, words):
    with pytest.raises(Refused, match=words):
        open_release(broken(folder, tmp_path, weight_map=weight_map)).tensor("norm.weight")


@pytest.mark.parametrize("where, words", [
    ("nowhere", "expected hf://owner/name or a folder"), ("https://example.org/a", "expected hf://owner/name"),
    ("s3://bucket/key", "expected hf://owner/name")])
def test_a_place_that_is_none(where, words):
    with pytest.raises(Refused, match=words):
        open_release(where)


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(Refused, match="or one .safetensors file, got 0 files"):
        open_release(tmp_path)
    write_file(tmp_path / "model.safetensors", [("a", "F32", (1,), lambda: [np.ones(1, np.float32)])])
    with pytest.raises(Refused, match="expected a file config.json, got none"):
        _ = open_release(tmp_path).config
