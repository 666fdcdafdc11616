"""ours.py: a folder that holds what we did not write is refused by every writer of checkpoints, and nothing in it changes."""

import hashlib
import json
import os

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.training.export import expect_exportable, export
from v4mini.weights.ours import MARK, Mark, expect_ours, read_mark
from v4mini.weights.random import random_tensors, random_weights
from v4mini.weights.store import INDEX, open_store, write_store
from v4mini.weights.synth import synth
from v4mini.weights.write import save, write_checkpoint

TINY = Config.tiny()


def put(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"a stranger's " + name.encode())
    return folder


def contents(folder):
    return {str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else None, os.lstat(path).st_ino)
            for path in sorted(folder.rglob("*"))}


def exported(folder, config=TINY):
    tensors = random_tensors(config)
    return export(config, {name: np.asarray(value) for name, value in tensors.items()}, folder, '{"a": "tokenizer"}')


ROW = [("a", "F32", (4,), lambda: [np.ones(4, np.float32)])]
WRITERS = {
    "random_weights": lambda folder: random_weights(TINY, folder),
    "write_checkpoint": lambda folder: write_checkpoint(folder, TINY, ROW),
    "write_store": lambda folder: write_store(folder, ROW),
    "save": lambda folder: save(folder, TINY, random_tensors(TINY).get),
    "export": exported,
    "synth": lambda folder: synth(folder, Config.mini()),
}
FLASH = [f"model-{n:05d}-of-00046.safetensors" for n in (1, 2, 46)] + [INDEX, "config.json", "tokenizer.json"]


@pytest.mark.parametrize("there", [FLASH, ["model.safetensors"], ["pytorch_model.bin"], ["x.gguf"], ["mine.safetensors"],
                                   FLASH[:1]], ids=lambda names: names[0])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_checkpoint_that_is_not_ours_is_refused_and_stays(tmp_path, writer, there):
    folder = put(tmp_path / "theirs", *there)
    before = contents(folder)
    with pytest.raises(Refused, match="expected an empty folder, or one that v4mini wrote, got another .*Choose another folder"):
        WRITERS[writer](folder)
    assert contents(folder) == before


@pytest.mark.parametrize("writer, name", [(writer, "config.json") for writer in WRITERS if writer != "write_store"]
                         + [("export", "tokenizer.json"), ("export", "tokenizer_config.json")])
def test_a_file_of_a_name_that_we_write_is_refused_without_weights_too(tmp_path, writer, name):
    folder = put(tmp_path / "theirs", name)
    before = contents(folder)
    with pytest.raises(Refused, match=f"got another {name}"):
        WRITERS[writer](folder)
    assert contents(folder) == before


@pytest.mark.parametrize("writer", sorted(set(WRITERS) - {"synth"}))
def test_our_own_is_replaced_and_what_stands_beside_stays(tmp_path, writer):
    folder = put(tmp_path / "ours", "notes.txt")
    WRITERS[writer](folder)
    first = {name: raw for name, (raw, _) in contents(folder).items()}
    WRITERS[writer](folder)
    assert {name: raw for name, (raw, _) in contents(folder).items()} == first and b"stranger" in first["notes.txt"]
    assert not [name for name in first if name.startswith(".")]
    said = read_mark(folder).files
    assert said == {name: [hashlib.sha256(raw).hexdigest()] for name, raw in first.items() if name not in (MARK, "notes.txt")}


@pytest.mark.parametrize("writer, name", [("random_weights", "model.safetensors"), ("random_weights", "config.json"),
                                          ("export", "tokenizer.json"), ("synth", "config.json"), ("synth", INDEX)])
def test_what_was_changed_since_is_refused_and_stays(tmp_path, writer, name):
    WRITERS[writer](tmp_path)
    raw = bytearray((tmp_path / name).read_bytes())
    raw[-2] ^= 1                        # same name, same size, same header
    (tmp_path / name).write_bytes(raw)
    before = contents(tmp_path)
    with pytest.raises(Refused, match=f"got {name} in it, which was changed since v4mini wrote it"):
        WRITERS[writer](tmp_path)
    assert contents(tmp_path) == before


def test_a_release_downloaded_over_our_own_is_theirs(tmp_path):
    write_store(tmp_path, [*ROW, ("b", "F32", (4,), lambda: [np.ones(4, np.float32)])], shard_bytes=16)
    put(tmp_path, INDEX, "model-00001-of-00046.safetensors")
    before = contents(tmp_path)
    with pytest.raises(Refused, match="changed since"):
        write_store(tmp_path, ROW)
    assert contents(tmp_path) == before


def test_a_trained_model_is_not_lost_to_random_weights_but_random_ones_may_go(tmp_path):
    exported(tmp_path)
    before = contents(tmp_path)
    for writer in ("random_weights", "synth"):
        with pytest.raises(Refused, match="of the kind 'trained'"):
            WRITERS[writer](tmp_path)
    assert contents(tmp_path) == before
    random_weights(TINY, tmp_path / "random")
    exported(tmp_path / "random")
    assert read_mark(tmp_path / "random").kind == "trained"


def test_names_alone_prove_nothing(tmp_path):
    """A record that somebody else made, or that tells of other bytes, opens no door."""
    folder = put(tmp_path / "theirs", "model.safetensors")
    before = contents(folder)
    for text in ('{"format": "v4mini folder 1", "kind": "random", "files": {"model.safetensors": ["00"]}}', "{", "[]", "{}", "\0",
                 '{"format": "v4mini folder 1", "kind": "random", "files": {"../x": []}}',
                 '{"format": "v4mini folder 1", "kind": "random", "files": {"x": "y"}}',
                 '{"format": "v4mini folder 1", "kind": 3, "files": {}}'):
        (folder / MARK).write_text(text)
        with pytest.raises(Refused, match="Choose another folder|fetch it again|expected"):
            random_weights(TINY, folder)
        (folder / MARK).unlink()
        assert contents(folder) == before


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_links_into_somebody_s_cache_are_not_followed_to_replace_it(tmp_path):
    put(tmp_path / "blobs", "abc")
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "model.safetensors").symlink_to("../blobs/abc")
    with pytest.raises(Refused, match="did not write"):
        random_weights(TINY, tmp_path / "snapshot")
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "model.safetensors").symlink_to("../blobs/nothing")
    with pytest.raises(Refused, match="did not write"):
        random_weights(TINY, tmp_path / "gone")
    assert (tmp_path / "blobs" / "abc").read_bytes() == b"a stranger's abc"


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
def test_a_link_to_a_folder_is_that_folder(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to("disk")
    random_weights(TINY, tmp_path / "out")
    assert (tmp_path / "out").is_symlink() and "model.safetensors" in os.listdir(tmp_path / "disk")


def test_two_writers_of_one_folder_do_not_mix(tmp_path):
    def chunks():
        with pytest.raises(Refused, match="another process is writing into this folder"):
            write_store(tmp_path, ROW)
        return [np.ones(4, np.float32)]
    write_store(tmp_path, [("a", "F32", (4,), chunks)])
    with open_store(tmp_path) as store:
        assert list(store) == ["a"]


def test_what_would_be_refused_after_training_is_refused_before(tmp_path):
    with pytest.raises(Refused, match="another tokenizer.json"):
        expect_exportable(put(tmp_path / "theirs", "tokenizer.json"))
    expect_exportable(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_record_is_plain(tmp_path):
    Mark("random", {"b": ["2"], "a": ["1"]}).write(tmp_path)
    assert json.loads((tmp_path / MARK).read_text()) == {
        "format": "v4mini folder 1", "kind": "random", "files": {"a": ["1"], "b": ["2"]}}
    assert expect_ours(tmp_path, "trained").kind == "trained"
