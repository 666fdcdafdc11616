"""Parts in a folder: exactly the tensors that were asked for, bit for bit; whole or not there, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors
from full_disk import FullDisk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from weights.misbehaving import COMMIT

import v4mini as v4
from v4mini import writing
from v4mini.inspection import inspect_checkpoint
from v4mini.shapes import Refused
from v4mini.weights.remote import fetch as fetching
from v4mini.weights.remote.fetch import already_came, fetch
from v4mini.weights.remote.hub import Patience
from v4mini.weights.remote.plan import plan
from v4mini.weights.remote.record import RECORD, STAGING, check_sums, pinned, read_record, unfinished
from v4mini.weights.remote.release import open_release
from v4mini.weights.store import INDEX, open_store, write_store

QUICK = Patience(seconds=5, tries=1, first_wait=0.001)
EXPERT = "layers.2.ffn.experts.1"


@pytest.fixture
def open_it(server, tmp_path):
    def open_it(where="hf://owner/name", **more):
        return open_release(where, server.endpoint, cache=tmp_path / "cache", patience=QUICK, **more)
    return open_it


def bring(release, parts, into, progress=None):
    return fetch(release, plan(release, parts, into), progress)


def same(part, whole, names=None):                      # every tensor of the part is that of the whole, bit for bit
    with open_store(part) as ours, open_store(whole) as theirs:
        assert names is None or set(ours) == set(names)
        for name in ours:
            assert ours.entry(name).dtype == theirs.entry(name).dtype and ours[name].shape == theirs[name].shape
            assert ours[name].tobytes() == theirs[name].tobytes(), name
        return len(ours)


# ---- what was asked for, and nothing else ----

@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_tensors_in_any_order(folder, tmp_path_factory, data):
    release, into = open_release(folder), tmp_path_factory.mktemp("parts")
    wanted = set()
    for _ in range(data.draw(st.integers(1, 3))):
        names = data.draw(st.lists(st.sampled_from(release.names), min_size=1, max_size=12))
        bring(release, names, into)
        wanted |= set(names)
        assert same(into, folder, wanted) == len(wanted)
    assert check_sums(into) == []
    for path in into.glob("*.safetensors"):
        with safetensors.safe_open(path, "numpy") as theirs:            # the package agrees that these are its files
            assert set(theirs.keys()) <= wanted and theirs.metadata() == {"format": "pt"}


def test_a_gate_a_table_and_an_expert(open_it, server, folder, tmp_path):
    release, into = open_it(), tmp_path / "parts"
    ready = plan(release, ["layers.3.ffn.gate", "layers.0.ffn.gate.tid2eid", EXPERT], into)
    server.seen.clear()
    came = []
    fetch(release, ready, came.append)
    names = [name for name in release.names if name.startswith(("layers.3.ffn.gate.", "layers.0.ffn.gate.tid2eid", EXPERT + "."))]
    assert same(into, folder, names) == 9
    assert sorted(os.listdir(into)) == sorted([".fetching", "config.json", RECORD, INDEX, "layers.3.ffn.gate.safetensors",
                                               "layers.0.ffn.gate.tid2eid.safetensors", EXPERT + ".safetensors"])
    asked = sum(int(b) - int(a) + 1 for a, _, b in (one[6:].partition("-") for one in server.ranges(".safetensors")))
    assert asked == sum(release.entry(name).nbytes for name in names)   # not a byte more
    assert came == sorted(came) and came[-1] == ready.nbytes and unfinished(into) == {}
    with safetensors.safe_open(into / "layers.3.ffn.gate.safetensors", "numpy") as file:
        assert file.metadata()["fetched_from"] == f"hf://owner/name@{COMMIT}"
    record = read_record(into)
    assert (record.origin, record.revision, record.tensors) == ("hf://owner/name", COMMIT, len(release.names))
    assert record.compared == {name: "sha1" if name == "config.json" else "" for name in record.sha256}


def test_neighbours_come_in_one_request(folder, tmp_path):
    release = open_release(folder)
    ready = plan(release, ["layers.4"], tmp_path)
    assert ready.tensors > 60 and ready.ranges < ready.tensors / 3


def test_neighbours_by_number_in_different_files_are_none(tmp_path):
    (tmp_path / "release").mkdir()
    weight_map = {}
    for shard, names in (("1.safetensors", "ab"), ("2.safetensors", "cd")):
        fields = {name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i, name in enumerate(names)}
        text = json.dumps(fields).encode()
        values = np.array([ord(name) for name in names], np.float32).tobytes()
        (tmp_path / "release" / shard).write_bytes(len(text).to_bytes(8, "little") + text + values)
        weight_map |= dict.fromkeys(names, shard)
    (tmp_path / "release" / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "release" / "config.json").write_text("{}")
    bring(open_release(tmp_path / "release"), ["[ad]"], tmp_path / "parts")     # a ends in file 1 where d begins in file 2
    assert {name: float(array[0]) for name, array in open_store(tmp_path / "parts").items()} == {"a": 97, "d": 100}


def test_tensors_are_aligned(folder, tmp_path):
    bring(open_release(folder), ["layers.2.ffn", "layers.0.ffn.gate"], tmp_path)
    with open_store(tmp_path) as store:
        assert all(entry.start % store[name].dtype.itemsize == 0 for name, entry in store.entries().items())


def test_what_is_there_is_not_asked_for_again(open_it, server, folder, tmp_path):
    bring(open_it(), ["layers.3.ffn.gate"], tmp_path / "parts")
    server.seen.clear()
    ready = plan(open_it(), ["layers.3.ffn.gate"], tmp_path / "parts")
    assert ready.files == () and ready.present == 2 and server.ranges() == []
    bring(open_it(), ["layers.3.ffn"], tmp_path / "parts")
    assert same(tmp_path / "parts", folder) == sum(name.startswith("layers.3.ffn.") for name in open_it().names)
    assert not any(name.startswith("layers.3.ffn.gate") for name in read_names(tmp_path / "parts" / "layers.3.ffn.safetensors"))


def read_names(path):
    with safetensors.safe_open(path, "numpy") as file:
        return list(file.keys())


def test_all_is_the_release_itself_byte_for_byte_and_answers(open_it, folder, tmp_path):
    into = bring(open_it(), ["all"], tmp_path / "all")
    for path in folder.glob("*"):
        if path.name != INDEX:
            assert (into / path.name).read_bytes() == path.read_bytes()
    assert json.loads((into / INDEX).read_text()) == json.loads((folder / INDEX).read_text())
    ids = [0, 5, 9, 2]
    np.testing.assert_array_equal(v4.load(into, "numpy").logits(ids), v4.load(folder, "numpy").logits(ids))
    assert inspect_checkpoint(into)["missing"] == 0 and check_sums(into) == []


def test_part_by_part_it_becomes_whole_and_answers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("v4mini.weights.remote.plan.SHARD_BYTES", 1 << 20)
    release = open_release(folder)
    for parts in (["layers.*.ffn.gate", "embed"], ["layers.2", EXPERT], ["all"]):
        with pytest.raises(Refused):
            v4.load(tmp_path if (tmp_path / INDEX).exists() else tmp_path / "nothing yet", "numpy")
        bring(release, parts, tmp_path)
    assert same(tmp_path, folder) == len(release.names)
    assert any(path.name == "all-2.safetensors" for path in tmp_path.iterdir())         # what was left, in files of shard size
    ids = [0, 5, 9, 2]
    np.testing.assert_array_equal(v4.load(tmp_path, "numpy").logits(ids), v4.load(folder, "numpy").logits(ids))


def test_a_part_cannot_generate_and_inspection_says_what_is_missing(folder, tmp_path):
    bring(open_release(folder), ["layers.3.ffn.gate", "mtp.0.enorm"], tmp_path)
    with pytest.raises(Refused, match="missing: embed.weight"):
        v4.load(tmp_path, "numpy")
    report = inspect_checkpoint(tmp_path)
    assert report["problems"] == [] and report["missing"] == len(open_release(folder).names) - 3 and report["unfinished"] == {}
    parts = {part["group"]: (part["here"], part["of"], part["bytes"]) for part in report["parts"]}
    assert parts["gate weight"] == (1, 6, 4096) and parts["MTP block"][0] == 1 and parts["embedding"] == (0, 1, 0)
    whole = inspect_checkpoint(folder)
    assert sum(part["of"] for part in report["parts"]) == whole["tensors_stored"]
    assert sum(part["of_bytes"] for part in report["parts"]) == whole["bytes"]


def test_a_tensor_that_fits_no_config_is_a_problem_in_a_part_too(folder, tmp_path):
    bring(open_release(folder), ["layers.3.ffn.gate"], tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text()) | {"n_routed_experts": 9}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert [line.partition(":")[0] for line in inspect_checkpoint(tmp_path)["problems"]] == ["wrong shape"] * 2


def test_other_files_come_as_they_are(open_it, folder, tmp_path):
    bring(open_it(), ["tokenizer.json"], tmp_path / "parts")
    assert (tmp_path / "parts" / "tokenizer.json").read_text() == "{}" and read_record(tmp_path / "parts").revision == COMMIT
    assert plan(open_it(), ["tokenizer.json"], tmp_path / "parts").files == ()


# ---- one commit ----

def test_a_folder_stays_with_its_commit(open_it, server, tmp_path):
    into = bring(open_it(), ["layers.3.ffn.gate"], tmp_path / "parts")
    server.branches["main"] = "f" * 40
    with pytest.raises(Refused, match=f"got parts of hf://owner/name at {COMMIT[:12]}"):
        plan(open_it(), ["layers.4.ffn.gate"], into)
    for where in ("hf://owner/name", "https://huggingface.co/owner/name"):
        assert pinned(where, into) == f"hf://owner/name@{COMMIT}"
    assert pinned("hf://other/name", into) == "hf://other/name" and pinned("hf://owner/name", tmp_path) == "hf://owner/name"
    bring(open_it(pinned("hf://owner/name", into)), ["layers.4.ffn.gate"], into)
    assert {name.split(".")[1] for name in open_store(into)} == {"3", "4"}


def test_the_commit_is_recorded_before_the_first_byte(open_it, server, tmp_path):
    ready = plan(open_it(), ["layers.3.ffn.gate"], tmp_path / "parts")
    server.faults.append(("config.json", "416"))
    with pytest.raises(Refused, match="got 416"):
        fetch(open_it(), ready)
    assert read_record(tmp_path / "parts").revision == COMMIT and not (tmp_path / "parts" / "config.json").exists()


def test_another_checkpoint_is_not_touched(folder, tmp_path):
    write_store(tmp_path, [("a", "F32", (1,), lambda: [np.ones(1, np.float32)])])
    with pytest.raises(Refused, match="got another checkpoint"):
        plan(open_release(folder), ["norm"], tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="got a file"):
        plan(open_release(folder), ["norm"], tmp_path / "file")


@pytest.mark.parametrize("text", [
    "{}", "[]", "{", json.dumps({"origin": 1, "revision": "", "tensors": 0, "total_size": 0, "sha256": {}}),
    *(json.dumps({"origin": "x", "revision": "", "tensors": 0, "total_size": 0} | more) for more in (
        {"sha256": {"/dev/zero": "0"}}, {"sha256": {"../x": "0"}}, {"sha256": {"x": 0}}, {"sha256": {}, "compared": []},
        {"sha256": {}, "compared": {"x": 1}}))])
def test_a_damaged_record_is_refused(folder, tmp_path, text):
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(Refused, match="fetched.json"):
        plan(open_release(folder), ["norm"], tmp_path)


# ---- interrupted ----

def reader_sees(into):                                  # names, or nothing yet
    return set(open_store(into)) if (into / INDEX).exists() else set()


@pytest.mark.parametrize("kind", ["truncate", "short", "stall", "500", "416", "changed", "wrong range", "longer"])
def test_a_fault_leaves_what_was_there_and_the_next_try_goes_on(open_it, server, folder, tmp_path, kind, monkeypatch):
    into = bring(open_it(), ["layers.3.ffn.gate"], tmp_path / "parts")
    release = open_release("hf://owner/name", server.endpoint, cache=tmp_path / "cache",
                           patience=QUICK._replace(tries=0, seconds=0.2))
    ready = plan(release, ["layers.4", "layers.5.ffn.gate"], into)
    server.faults += [(release.where("layers.4.ffn.gate.weight"), kind)] * 30
    with pytest.raises(Refused):
        fetch(release, ready)
    assert reader_sees(into) == {"layers.3.ffn.gate.weight", "layers.3.ffn.gate.bias"} and same(into, folder) == 2
    server.release_stalled.set()
    server.forget()
    kept = already_came(plan(release, ["layers.4", "layers.5.ffn.gate"], into))
    assert kept > len(ready.files[0].header) if kind in ("truncate", "short", "stall") else kept >= 0
    server.seen.clear()
    bring(open_it(), ["layers.4", "layers.5.ffn.gate"], into)
    asked = sum(int(b) - int(a) + 1 for a, _, b in (one[6:].partition("-") for one in server.ranges(".safetensors")))
    assert asked == sum(file.size for file in ready.files) - len(ready.files[1].header) - max(kept, len(ready.files[0].header))
    assert same(into, folder) > 60 and check_sums(into) == [] and unfinished(into) == {}


def test_ctrl_c_keeps_what_came(open_it, server, folder, tmp_path):
    def stop(so_far):
        if so_far > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(open_it(), ["layers.4"], tmp_path / "parts", stop)
    (name, nbytes), = unfinished(tmp_path / "parts").items()
    assert name == "layers.4.safetensors" and nbytes > 100_000 and reader_sees(tmp_path / "parts") == set()
    assert already_came(plan(open_it(), ["layers.4"], tmp_path / "parts")) == nbytes
    bring(open_it(), ["layers.4"], tmp_path / "parts")
    assert same(tmp_path / "parts", folder) > 60


KILLED = """
import sys
from v4mini.weights.remote import fetch as fetching
from v4mini.weights.remote.plan import plan
from v4mini.weights.remote.release import open_release
import os, signal
fetching.VERIFY_EVERY = 10_000
where, into, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
release = open_release(where)
def progress(so_far):
    if so_far >= limit:
        os.kill(os.getpid(), signal.SIGKILL)
import v4mini.weights.remote.folder as folder
folder.CHUNK = 4096
fetching.fetch(release, plan(release, ["layers.4", "layers.5.ffn.gate", "embed"], into), progress)
"""


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_without_warning_again_and_again(folder, tmp_path):
    kept = []
    for limit in (60_000, 700_000, 1_200_000):
        command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "parts"), str(limit)]
        done = subprocess.run(command, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        if (tmp_path / "parts" / INDEX).exists():
            same(tmp_path / "parts", folder)
        kept.append(already_came(plan(open_release(folder), ["layers.4", "layers.5.ffn.gate", "embed"], tmp_path / "parts")))
    assert 40_000 <= kept[0] <= 70_000 and kept[1] > 500_000
    bring(open_release(folder), ["layers.4", "layers.5.ffn.gate", "embed"], tmp_path / "parts")
    assert same(tmp_path / "parts", folder) > 60 and check_sums(tmp_path / "parts") == []


def interrupt(release, folder):                         # a fetch of layer 4 that is stopped after a tenth of a megabyte
    def stop(so_far):
        if so_far > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(release, ["layers.4"], folder, stop)


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "journal", "other key"])
def test_unfinished_bytes_that_are_not_those_that_came_are_not_used(folder, tmp_path, damage):
    release = open_release(folder)
    interrupt(release, tmp_path)
    part, verified = (tmp_path / STAGING / f"layers.4.safetensors.{end}" for end in ("part", "verified"))
    raw = bytearray(part.read_bytes())
    if damage == "flip":
        raw[50_000] ^= 1
        part.write_bytes(raw)
    elif damage == "cut":
        part.write_bytes(raw[:-7])
    elif damage == "grow":              # bytes after the last verified one: of a crash, worth nothing
        part.write_bytes(raw + b"rubbish")
    elif damage == "journal":
        verified.write_text("{")
    else:
        verified.write_text(json.dumps(json.loads(verified.read_text()) | {"key": "0" * 64}))
    bring(release, ["layers.4"], tmp_path)
    assert same(tmp_path, folder) > 60


def test_unfinished_bytes_of_another_plan_are_not_used(folder, tmp_path):
    release = open_release(folder)
    interrupt(release, tmp_path)
    bring(release, ["layers.4.ffn.gate"], tmp_path)             # now layers.4 is less than it was
    ready = plan(release, ["layers.4"], tmp_path)
    assert already_came(ready) == 0
    fetch(release, ready)
    assert same(tmp_path, folder) > 60


# ---- checked before it counts ----

def test_a_whole_file_with_other_bytes_is_thrown_away(open_it, server, tmp_path):
    release = open_it()
    ready = plan(release, ["all"], tmp_path / "parts")
    server.faults.append(("model-00002", "other bytes"))
    with pytest.raises(Refused, match="its checksum is not the release's"):
        fetch(release, ready)
    assert not (tmp_path / "parts" / "model-00002-of-00006.safetensors").exists() and unfinished(tmp_path / "parts") == {}
    bring(open_it(), ["all"], tmp_path / "parts")
    assert inspect_checkpoint(tmp_path / "parts")["missing"] == 0


def test_a_disk_that_gives_back_other_bytes_is_noticed(folder, tmp_path, monkeypatch):
    real = fetching.read_header

    def flipped(path):
        raise AssertionError("the checksum comes first") if flipped.on else real(path)
    flipped.on = True
    monkeypatch.setattr(fetching, "read_header", flipped)
    real_verified = fetching._mark_verified

    def damaging(out, folder, file, revision, have, hasher):
        real_verified(out, folder, file, revision, have, hasher)
        with open(folder / STAGING / f"{file.name}.part", "r+b") as part:
            part.seek(3)
            part.write(b"\xff")
        return have
    monkeypatch.setattr(fetching, "_mark_verified", damaging)
    with pytest.raises(Refused, match="the disk gave back other bytes"):
        bring(open_release(folder), ["layers.3.ffn.gate"], tmp_path)
    assert reader_sees(tmp_path) == set()


def test_checksums_find_a_flipped_bit_later(folder, tmp_path):
    bring(open_release(folder), ["layers.3.ffn.gate", EXPERT], tmp_path)
    path = tmp_path / f"{EXPERT}.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    sizes = []
    assert check_sums(tmp_path, sizes.append) == [path.name] and sizes[-1] == sum(
        (tmp_path / name).stat().st_size for name in read_record(tmp_path).sha256)
    with pytest.raises(Refused, match="folder of fetched parts with checksums, got none"):
        check_sums(folder)


# ---- room, locks, limits ----

def test_a_disk_that_is_too_small_is_known_before(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: type("usage", (), {"free": 1_000_000}))
    with pytest.raises(Refused, match=r"expected room for 1[0-9.]+ MB, got 1.00 MB free"):
        bring(open_release(folder), ["embed"], tmp_path)


def test_a_disk_that_fills_up_keeps_what_came(folder, tmp_path, monkeypatch):
    disk = FullDisk(300_000, modes=("ab",))
    monkeypatch.setattr(writing, "open", disk.open, raising=False)
    monkeypatch.setattr("v4mini.weights.remote.folder.CHUNK", 1 << 14)
    with pytest.raises(Refused, match="No space left on device.*Make room"):
        bring(open_release(folder), ["layers.4"], tmp_path)
    disk.room = 1 << 30
    assert already_came(plan(open_release(folder), ["layers.4"], tmp_path)) > 250_000
    bring(open_release(folder), ["layers.4"], tmp_path)
    assert same(tmp_path, folder) > 60


def test_two_at_once_do_not_mix(folder, tmp_path):
    release, inside, go_on = open_release(folder), threading.Event(), threading.Event()

    def wait(_):
        inside.set()
        go_on.wait(20)

    first = threading.Thread(target=bring, args=(release, ["layers.4"], tmp_path, wait))
    first.start()
    inside.wait(20)
    try:
        with pytest.raises(Refused, match="another fetch is writing"):
            bring(open_release(folder), ["layers.3"], tmp_path)
    finally:
        go_on.set()
        first.join()
    assert same(tmp_path, folder) > 60


def test_the_limit_stops_a_fetch_that_was_planned_past_it(folder, tmp_path):
    with pytest.raises(Refused, match="in all at most"):
        bring(open_release(folder, limit=700_000), ["layers.4"], tmp_path)


def test_a_place_that_cannot_be_written(folder):
    with pytest.raises(Refused, match="cannot be made|expected a folder"):
        bring(open_release(folder), ["norm"], Path(__file__) / "below a file")
