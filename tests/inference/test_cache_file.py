"""A saved cache comes back bit for bit, or not at all."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from inference.fake import TOKENS, Fake

from v4mini.config import Config
from v4mini.inference.cache import Cache
from v4mini.inference.cache_file import read_cache
from v4mini.inference.cache_storage import SavedStorage
from v4mini.planning.memory import STORAGES
from v4mini.shapes import Refused
from v4mini.weights.file import open_file, write_file

SMALL = Config.tiny().replace(window_size=5, compress_ratios=(4, 0, 6, 4, 0), max_seq_len=400)


def filled(rng, tokens=45, storage="float32", config=SMALL):        # -> Cache, Fake, tokens
    cache, fake = Cache(config, storage, reserve=4), Fake(config, storage)
    text = [int(token) for token in rng.integers(0, TOKENS, tokens)]
    if tokens:
        fake.feed(cache, text)
    return cache, fake, text


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("tokens", [0, 1, 4, 5, 45, 300])
@pytest.mark.parametrize("mapped", [False, True])
def test_saved_and_loaded_goes_on_the_same(rng, tmp_path, storage, tokens, mapped):
    cache, fake, text = filled(rng, tokens, storage)
    cache.rewind(min(tokens, 1))
    cache.save(tmp_path / "saved")
    again = Cache.load(tmp_path / "saved", SMALL, mapped)
    assert all(isinstance(stores[0].storage, SavedStorage) == mapped for stores in again._stores.values())
    assert (again.length, again.max_rewind, again.nbytes, again.storage, again.reserve, again.layers) == (
        cache.length, cache.max_rewind, cache.nbytes, cache.storage, cache.reserve, cache.layers)
    for each in (again, cache):
        each.rewind(each.max_rewind)
        fake.feed(each, text[: each.length] + [1, 2, 3])
        fake.feed(each, text[: each.length - 3] + [1, 2, 3] + [4, 5, 6] * 30)


def test_it_is_a_safetensors_file_that_others_read(rng, tmp_path):
    safetensors = pytest.importorskip("safetensors")
    filled(rng)[0].save(tmp_path / "saved.safetensors")
    with safetensors.safe_open(tmp_path / "saved.safetensors", "np") as file:
        assert file.metadata()["length"] == "45" and len(file.metadata()["checksum"]) == 64
        assert file.get_tensor("layers.0.entries").shape == (11, SMALL.head_dim)
        assert file.get_tensor("layers.2.entries").shape == (7, SMALL.head_dim)


def test_only_what_is_needed_is_saved(rng, tmp_path):
    filled(rng)[0].save(tmp_path / "saved")
    file = open_file(tmp_path / "saved")
    assert file.entries["layers.1.window"].shape == (4 + 4, SMALL.head_dim)             # window_size - 1, and the reserve
    assert file.entries["layers.2.kv"].shape == (45 - 36, SMALL.head_dim)               # block of 6 that token 41 is in


def test_a_damaged_file_is_never_loaded(rng, tmp_path):
    """1,000 of them: a bit, a byte, a hole, an end cut off or added, two parts exchanged, anywhere in the file."""
    filled(rng, storage="released")[0].save(tmp_path / "saved")
    good, path = (tmp_path / "saved").read_bytes(), tmp_path / "damaged"
    header = 8 + int.from_bytes(good[:8], "little")
    for number in range(1000):
        bad = bytearray(good)
        at = int(rng.integers(0, header if number % 2 else len(good)))
        kind = number // 2 % 6
        if kind == 0:
            bad[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            bad[at] = int(rng.integers(256))
        elif kind == 2:
            bad[at: at + 40] = bytes(len(bad[at: at + 40]))
        elif kind == 3:
            del bad[at:]
        elif kind == 4:
            bad[at:at] = rng.bytes(int(rng.integers(1, 20)))
        else:
            bad[at: at + 8], bad[-8:] = bad[-8:], bad[at: at + 8]
        if bad != good:
            path.write_bytes(bad)
            with pytest.raises(Refused):
                Cache.load(path, SMALL)


@pytest.mark.parametrize("change", [b" ", b"\t", b"\n"])
def test_even_a_blank_of_the_header_counts(rng, tmp_path, change):
    filled(rng)[0].save(tmp_path / "saved")
    raw = bytearray((tmp_path / "saved").read_bytes())
    end = 8 + int.from_bytes(raw[:8], "little")
    raw[:8] = (end - 8 + 8).to_bytes(8, "little")
    raw[end:end] = change * 8                           # still a valid safetensors file that says the same
    (tmp_path / "saved").write_bytes(raw)
    with pytest.raises(Refused, match="expected bytes of checksum"):
        Cache.load(tmp_path / "saved", SMALL)


def test_another_config_is_refused(rng, tmp_path):
    filled(rng)[0].save(tmp_path / "saved")
    for change in ({"window_size": 6}, {"rope_theta": 5000.0}, {"index_topk": 8}):
        with pytest.raises(Refused, match="made for a model of another config"):
            Cache.load(tmp_path / "saved", SMALL.replace(**change))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(Refused, match="no such file"):
        Cache.load(tmp_path / "none", SMALL)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(Refused):
        Cache.load(tmp_path / "text", SMALL)
    write_file(tmp_path / "weights", [("x", "F32", (1,), lambda: [np.zeros(1, np.float32)])])
    write_file(tmp_path / "older", [("x", "F32", (1,), lambda: [np.zeros(1, np.float32)])], {"format": "v4mini cache 1"})
    with pytest.raises(Refused, match="saved by an older version, whose rows hold other numbers; read the text again"):
        Cache.load(tmp_path / "older", SMALL)
    with pytest.raises(Refused, match="expected a file of the format 'v4mini cache 2', got 'none'"):
        Cache.load(tmp_path / "weights", SMALL)


@pytest.mark.parametrize("field, value, match", [
    ("length", "-1", "length"), ("length", "9" * 30, "length"), ("length", "401", "length between 0 and 400"),
    ("length", "44", "expected layers"),
    ("rewindable", "5", "rewindable between 0 and 4"), ("reserve", "x", "reserve"), ("storage", "float16", "storage among"),
    ("layers", "[0, 0]", "layers"), ("layers", "[9]", "layers"),
    ("layers", "0", "layers"), ("layers", "[1, 2, 3, 4]", "layers.4")])
def test_a_file_written_by_hand_is_not_believed(rng, tmp_path, field, value, match):
    """With a right checksum: what it says must still fit together."""
    filled(rng)[0].save(tmp_path / "saved")
    file = open_file(tmp_path / "saved")
    tensors = [(name, e.dtype, e.shape, lambda name=name: [file.tensor(name)]) for name, e in file.entries.items()]
    said = {**file.metadata, field: value, "checksum": "0" * 64}
    write_file(tmp_path / "forged", tensors, said)
    raw = (tmp_path / "forged").read_bytes()
    (tmp_path / "forged").write_bytes(raw.replace(b"0" * 64, hashlib.sha256(raw).hexdigest().encode(), 1))
    with pytest.raises(Refused, match=match):
        Cache.load(tmp_path / "forged", SMALL)


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(rng, tmp_path, monkeypatch):
    cache, fake, text = filled(rng)
    cache.save(tmp_path / "saved")
    fake.feed(cache, text + [1, 2, 3])

    def stop(done):
        if done > 1000:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        cache.save(tmp_path / "saved", progress=stop)
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(Refused, match="saved: cannot be written"):
        cache.save(tmp_path / "saved")
    assert os.listdir(tmp_path) == ["saved"] and Cache.load(tmp_path / "saved", SMALL).length == 45


def test_a_place_that_takes_no_file_is_told_by_its_name(rng, tmp_path):
    cache = filled(rng)[0]
    with pytest.raises(Refused, match="no folder/saved: cannot be written"):
        cache.save(tmp_path / "no folder" / "saved")
    (tmp_path / "folder").mkdir()
    with pytest.raises(Refused, match="folder: cannot be written"):
        cache.save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


SAVE_FOR_EVER = """
import itertools, sys
import numpy as np
from v4mini.config import Config
from v4mini.inference.cache import Cache
config = Config.tiny()
for number in itertools.count(1):
    cache = Cache(config)
    cache.extend(0, "entries", np.full((2000, config.head_dim), number, np.float32))
    cache.commit(8000)
    cache._growing = {(0, "entries"): cache._growing[0, "entries"]}
    cache._sliding = {}
    cache.save(sys.argv[1])
    sys.stdout.write(".")
    sys.stdout.flush()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs kill -9")
def test_killed_while_saving_the_file_is_the_old_or_the_new_one(tmp_path, rng):
    path = tmp_path / "saved"
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SAVE_FOR_EVER, str(path)], stdout=subprocess.PIPE)
        process.stdout.read(1)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert read_cache(path, Config.tiny()).length == 8000       # checks the sha256 of every byte
    for name in set(os.listdir(tmp_path)) - {"saved"}:              # what a kill left: whole and signed, or refused
        with contextlib.suppress(Refused):
            assert read_cache(tmp_path / name, Config.tiny()).length == 8000
