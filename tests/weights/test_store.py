"""A folder of shards: opened by name, never a mixture of two checkpoints, never outside its folder."""

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.shapes import Refused
from v4mini.weights.file import read_header
from v4mini.weights.ours import MARK
from v4mini.weights.store import INDEX, open_store, write_store


def rows(**values):     # four float32 of one value each: 16 bytes a tensor
    return [(name, "F32", (4,), lambda value=value: [np.full(4, value, np.float32)]) for name, value in values.items()]


def values(store):
    return {name: float(array[0]) for name, array in store.items()}


@pytest.fixture
def sharded(tmp_path):
    """a, b in the first shard; c, d in the second; e in the third."""
    write_store(tmp_path, rows(a=1, b=2, c=3, d=4, e=5), shard_bytes=32)
    return tmp_path


def edit_index(folder, **changes):
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(index | changes))


def shard(folder, number, of=3):
    return folder / f"model-{number:05d}-of-{of:05d}.safetensors"


def test_shards_are_one_mapping(sharded):
    with open_store(sharded) as store:
        assert values(store) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
        assert store.names == list("abcde") and store.nbytes == 80 and len(store) == 5
        assert store.where("c") == shard(sharded, 2) and store.entry("c").shape == (4,)
        assert "c" in store and "x" not in store and store.metadata == {"total_size": 80}
        assert not store["a"].flags.writeable and "5 tensors" in repr(store) and "3 file" in repr(store)
        with pytest.raises(KeyError):
            store["x"]
    assert sorted(os.listdir(sharded)) == [shard(sharded, n).name for n in (1, 2, 3)] + [INDEX, MARK]


def test_tensors_are_mapped_at_first_use_only(sharded):
    store = open_store(sharded)
    assert store.entries().keys() == set("abcde") and list(store) and "a" in store
    assert [file._map is None for file in store._files.values()] == [True, True, True]
    store["c"]
    assert [file._map is None for file in store._files.values()] == [True, False, True]


def test_one_file_opens_by_itself_or_through_its_folder(tmp_path):
    assert write_store(tmp_path, rows(a=1), metadata={"format": "pt"}) == [tmp_path / "model.safetensors"]
    safetensors.numpy.save_file({"other": np.ones(1)}, tmp_path / "adapter.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors", str(tmp_path)):
        store = open_store(path)
        assert values(store) == {"a": 1} and store.metadata == {"format": "pt"}
    os.rename(tmp_path / "adapter.safetensors", tmp_path / "model.safetensors")
    os.rename(tmp_path / "model.safetensors", tmp_path / "any name.safetensors")
    assert open_store(tmp_path).names == ["other"]


def test_the_packages_shards_open(tmp_path):
    for number, name in enumerate("ab", 1):
        safetensors.numpy.save_file({name: np.full((2, 3), number)}, shard(tmp_path, number, of=2))
    weight_map = {"a": shard(tmp_path, 1, of=2).name, "b": shard(tmp_path, 2, of=2).name}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert {name: array.sum() for name, array in open_store(tmp_path).items()} == {"a": 6, "b": 12}


def test_links_out_of_the_folder_are_followed_as_the_hub_cache_needs(sharded):
    blobs = sharded / "blobs"
    blobs.mkdir()
    os.rename(shard(sharded, 2), blobs / "4d7a2146")
    os.symlink("blobs/4d7a2146", shard(sharded, 2))
    assert values(open_store(sharded))["c"] == 3


@pytest.mark.parametrize("elsewhere", [
    "/etc/a.safetensors", "../a.safetensors", "b/../../a.safetensors", "C:\\a.safetensors", "C:a.safetensors", "b\\a.safetensors",
    "./a.safetensors", "b//a.safetensors", "a\0.safetensors", "", "a.bin", 3, None])
def test_an_index_cannot_lead_out_of_its_folder(sharded, elsewhere):
    edit_index(sharded, weight_map={"a": elsewhere})
    with pytest.raises(Refused, match="inside this folder"):
        open_store(sharded)


@pytest.mark.parametrize("text, words", [
    ("{", "expected JSON"), ("[]", "JSON object"), ("{}", "weight_map"), ('{"weight_map": []}', "weight_map"),
    ('{"weight_map": {}}', "weight_map"), ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "twice"),
    ('{"weight_map":' + "[" * 200_000, "nested too deeply"), ("\udcff", "UTF-8"),
    ('{"weight_map": {"a": "x.safetensors"}, "metadata": 1}', "metadata to be an object"),
])
def test_a_damaged_index_is_refused(sharded, text, words):
    (sharded / INDEX).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(Refused, match=words):
        open_store(sharded)


def test_all_missing_shards_are_named_up_to_five(tmp_path):
    write_store(tmp_path, rows(**{f"t{n}": n for n in range(9)}), shard_bytes=16)
    for number in range(2, 10):
        shard(tmp_path, number, of=9).unlink()
    with pytest.raises(Refused, match=r"expected 9 shards, got 1, without model-00002.*model-00006-of-00009\S+ and 3 more"):
        open_store(tmp_path)


def test_a_damaged_shard_is_refused_at_opening_not_at_use(sharded):
    whole = shard(sharded, 3).read_bytes()
    shard(sharded, 3).write_bytes(whole[:-1])
    with pytest.raises(Refused, match="00003.*whole file"):
        open_store(sharded)


def test_index_and_shards_must_agree(sharded):
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    edit_index(sharded, weight_map=weight_map | {"x": weight_map["a"]})
    with pytest.raises(Refused, match="expected 'x' in model-00001"):
        open_store(sharded)
    edit_index(sharded, weight_map=weight_map)
    safetensors.numpy.save_file({"e": np.zeros(1), "a": np.zeros(1)}, shard(sharded, 3))
    with pytest.raises(Refused, match="expected 'a' once, got it in model-00001-of-00003.safetensors and model-00003"):
        open_store(sharded)


def test_a_tensor_the_index_leaves_out_is_left_out(sharded):
    weight_map = json.loads((sharded / INDEX).read_text())["weight_map"]
    del weight_map["b"]
    edit_index(sharded, weight_map=weight_map)
    assert open_store(sharded).names == ["a", "c", "d", "e"]


def test_a_folder_without_safetensors_says_what_it_has(tmp_path):
    with pytest.raises(Refused, match="got none. Is this"):
        open_store(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(Refused, match=r"only pytorch_model\.bin; pickle and other formats are never read"):
        open_store(tmp_path)
    with pytest.raises(Refused, match="no such file"):
        open_store(tmp_path / "nowhere")


def test_shards_without_their_index_are_refused_even_a_lone_one(sharded):
    (sharded / INDEX).unlink()
    with pytest.raises(Refused, match="model-00003-of-00003.safetensors without it"):
        open_store(sharded)
    shard(sharded, 1).unlink()
    shard(sharded, 2).unlink()
    with pytest.raises(Refused, match="beside shards"):
        open_store(sharded)


def test_two_checkpoints_in_one_folder_are_refused(sharded):
    safetensors.numpy.save_file({"a": np.zeros(1)}, sharded / "model.safetensors")
    with pytest.raises(Refused, match="expected one checkpoint, got two"):
        open_store(sharded)


@pytest.mark.parametrize("first, then", [(16, 32), (16, 99), (99, 16), (16, 16), (99, 99)])
def test_a_new_checkpoint_replaces_the_old_one_whole(tmp_path, first, then):
    write_store(tmp_path, rows(a=1, b=2, c=3), shard_bytes=first)
    (tmp_path / "adapter.safetensors").write_bytes(b"mine")
    write_store(tmp_path, rows(b=5, z=6, y=7), shard_bytes=then)
    assert values(open_store(tmp_path)) == {"b": 5, "z": 6, "y": 7}
    files = {"model.safetensors"} if then == 99 else {INDEX} | {shard(tmp_path, n, of=48 // then + (then == 32)).name
                                                                for n in range(1, 4 if then == 16 else 3)}
    assert set(os.listdir(tmp_path)) == files | {MARK, "adapter.safetensors"}, "and what is not ours stays"


def test_a_checkpoint_may_be_rewritten_from_itself(sharded):
    store = open_store(sharded)
    write_store(sharded, [(name, "F32", (4,), lambda name=name: [store[name] + 1]) for name in store])
    assert values(open_store(sharded)) == {"a": 2, "b": 3, "c": 4, "d": 5, "e": 6}


def test_progress_counts_all_shards(tmp_path):
    sizes = []
    write_store(tmp_path, rows(a=1, b=2, c=3), shard_bytes=32, progress=sizes.append)
    assert sizes == [16, 32, 48]


def test_a_tensor_larger_than_a_shard_gets_its_own(tmp_path):
    big = ("big", "F32", (100,), lambda: [np.zeros(100, np.float32)])
    for tensors, shards in [([*rows(a=1), big, *rows(b=2)], "123"), ([big, *rows(a=1, b=2)], "122")]:
        write_store(tmp_path, tensors, shard_bytes=32)
        store = open_store(tmp_path)
        assert [store.where(name).name[:11] for name, *_ in tensors] == [f"model-0000{shard}" for shard in shards]


def test_metadata_is_in_every_shard_and_in_the_index(tmp_path):
    write_store(tmp_path, rows(a=1, b=2), shard_bytes=16, metadata={"format": "pt"})
    assert read_header(shard(tmp_path, 2, of=2))[1] == {"format": "pt"}
    assert open_store(tmp_path).metadata == {"format": "pt", "total_size": 32}


@pytest.mark.parametrize("fault", [
    lambda: rows(a=1) + rows(a=2),
    lambda: rows(a=1) + [("b", "F32", (9,), lambda: [bytes(3)])],
    lambda: rows(a=1) + [("b", "F31", (9,), lambda: [bytes(3)])],
])
def test_a_failed_write_leaves_the_old_checkpoint(sharded, fault):
    before = sorted(os.listdir(sharded))
    with pytest.raises(Refused):
        write_store(sharded, fault(), shard_bytes=16)
    assert sorted(os.listdir(sharded)) == before and values(open_store(sharded)) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="cannot be written"):
        write_store(tmp_path / "file", rows(a=1))


def test_a_writer_killed_while_writing_leaves_the_old_checkpoint(sharded):
    program = ("import sys, time; from v4mini.weights.store import write_store\n"
               "def chunks():\n"
               "    print('.', flush=True); yield bytes(8); time.sleep(60); yield bytes(8)\n"
               "write_store(sys.argv[1], [('a', 'F32', (4,), lambda: [bytes(16)]), ('b', 'F32', (4,), chunks)], shard_bytes=16)")
    with subprocess.Popen([sys.executable, "-c", program, sharded], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    assert values(open_store(sharded)) == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    write_store(sharded, rows(a=7))
    assert sorted(os.listdir(sharded)) == ["model.safetensors", MARK], "the next writer clears away what the killed one left"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("first, then", [(16, 16), (16, 99), (99, 16), (99, 99), (16, 32)])
def test_killed_at_any_moment_it_is_old_or_new_or_refused(tmp_path, monkeypatch, first, then):
    old, new = {"a": 1, "b": 2, "c": 3}, {"a": 4, "b": 5, "d": 6}
    seen = set()
    for moment in range(40):
        folder = tmp_path / str(moment)
        write_store(folder, rows(**old), shard_bytes=first)
        left = [moment]

        def step(real, left=left):
            def call(*args, **kwargs):
                if left[0] <= 0:
                    raise Killed
                left[0] -= 1
                return real(*args, **kwargs)
            return call

        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "mkdir", "fsync"):
                patch.setattr(os, name, step(getattr(os, name)))
            try:
                write_store(folder, rows(**new), shard_bytes=then)
                finished = True
            except Killed:
                finished = False
        try:
            now = values(open_store(folder))
            assert now == new if finished else now in (old, new)
            seen.add("old" if now == old else "new")
        except Refused:
            assert not finished
        write_store(folder, rows(**new), shard_bytes=then)      # whatever was left, the next writer knows it as ours
        assert values(open_store(folder)) == new and not [name for name in os.listdir(folder) if name.startswith(".")]
    assert seen == {"old", "new"}


SHARDS = ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "../x.safetensors"]
NAMES = st.sampled_from(["a", "b", "", *SHARDS])
TREES = st.recursive(st.none() | st.integers() | NAMES, lambda of: st.lists(of) | st.dictionaries(NAMES, of))
MAPS = (TREES | st.dictionaries(NAMES, NAMES)).map(lambda of: json.dumps({"weight_map": of}).encode())


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    write_store(folder, rows(a=1, b=2, c=3, d=4, e=5), shard_bytes=32)
    return folder


@settings(max_examples=300, deadline=None)
@given(index=MAPS | st.binary(max_size=40))
def test_any_index_opens_whole_or_is_refused(shared, index):
    (shared / INDEX).write_bytes(index)
    try:
        assert values(open_store(shared))
    except Refused as refused:
        assert str(refused).isprintable()


def test_slices_of_convert_py_are_called_slices(tmp_path):
    (tmp_path / "model1-mp2.safetensors").write_bytes(b"")
    with pytest.raises(Refused, match="expected all slices .* for several processes, got model1-mp2.* without model0-mp2"):
        open_store(tmp_path)


# ---- bounds before memory ----

def test_twenty_kilobytes_of_fused_experts_do_not_become_forty_million_names(tmp_path):
    from v4mini.weights.names import resolve

    entry = {"dtype": "F32", "shape": [99_999, 0, 3], "data_offsets": [0, 0]}
    text = json.dumps({f"layers.{n}.ffn.experts.gate_up_proj": entry for n in range(200)}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    assert len(text) < 30_000
    with open_store(tmp_path) as store, pytest.raises(Refused, match=r"at most 400,000 tensors, got 199,998 in this one"):
        resolve(store.entries())


def test_an_index_of_too_many_names_is_refused_unparsed(tmp_path, monkeypatch):
    (tmp_path / INDEX).write_bytes(b'{"weight_map": {' + b'"a":"b",' * 400_001 + b'"c":"d"}}')
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("parsed"))
    with pytest.raises(Refused, match="index: expected JSON of at most 400,000 values, got about 400,00"):
        open_store(tmp_path)


@pytest.mark.parametrize("bound, most", [("MAX_TENSORS", 7), ("MAX_HEADERS_BYTES", 300)])
def test_shards_that_each_keep_a_bound_are_held_to_one_for_all(tmp_path, monkeypatch, bound, most):
    monkeypatch.setattr(f"v4mini.weights.store.{bound}", 10**6)
    values = [(f"t{n}", "F32", (4,), lambda: [np.zeros(4, np.float32)]) for n in range(8)]
    write_store(tmp_path, values, shard_bytes=32)           # two to a shard
    some = {f"t{n}": f"model-0000{n // 2 + 1}-of-00004.safetensors" for n in range(0, 8, 2)}      # an index may choose
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": some}))
    assert len(open_store(tmp_path)) == 4
    monkeypatch.setattr(f"v4mini.weights.store.{bound}", most)
    with pytest.raises(Refused, match=r"expected headers of .* at most, got .* in \d of 4 shards"):
        open_store(tmp_path)


def test_an_index_that_is_a_pipe_a_device_or_large_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / INDEX)
    with pytest.raises(Refused, match="index: expected a regular file, got .*which is a pipe"):
        open_store(tmp_path)
