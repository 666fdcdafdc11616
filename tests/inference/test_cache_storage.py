"""Growing rows in a file: the same rows, a file that holds only what was written, and places that cannot hold it."""

import errno

import numpy as np
import pytest
from inference.fake import SMALL, Fake, tokens_of

from v4mini.config import Config
from v4mini.inference.cache import Cache
from v4mini.planning.memory import STORAGES, cache_bytes
from v4mini.shapes import Refused


@pytest.mark.parametrize("storage", STORAGES)
def test_a_cache_in_a_file_shows_the_same_and_goes_when_closed(rng, tmp_path, storage):
    text, fake = tokens_of(rng, 200), Fake(SMALL, storage)
    with Cache(SMALL, storage, path=tmp_path / "rows") as cache:
        fake.feed(cache, text[:100])
        fake.feed(cache, text[:101])
        cache.rewind(4)
        twin = cache.copy()
        fake.feed(cache, text)
        assert (tmp_path / "rows").exists() and cache.nbytes == cache_bytes(SMALL, 200, storage)
    assert not (tmp_path / "rows").exists()
    fake.feed(twin, [*text[:97], *text])                # the copy still reads what both shared
    twin.close()
    with pytest.raises(Refused, match="cache: it was closed"):
        cache.extend(0, "window", np.zeros((1, SMALL.head_dim), np.float32))
    cache.close()


def test_a_forgotten_cache_takes_its_file_along(rng, tmp_path):
    cache = Cache(SMALL, path=tmp_path / "rows")
    Fake(SMALL).feed(cache, tokens_of(rng, 30))
    del cache
    assert not (tmp_path / "rows").exists()


def test_a_file_holds_only_what_was_written(rng, tmp_path):
    config = Config.tiny()                              # 1,048,576 tokens: 64 MB of room
    with Cache(config, path=tmp_path / "rows") as cache:
        Fake(config).feed(cache, tokens_of(rng, 1000))
        status = (tmp_path / "rows").stat()
        assert status.st_size > 50e6 and (not hasattr(status, "st_blocks") or status.st_blocks * 512 < 2e6)


def test_places_that_cannot_hold_a_file_are_refused(tmp_path, rng, monkeypatch):
    (tmp_path / "there").write_text("something")
    with pytest.raises(Refused, match="expected a new file"):
        Cache(SMALL, path=tmp_path / "there")
    assert (tmp_path / "there").read_text() == "something"
    for bad in (tmp_path / "no folder" / "rows", "zero\0byte"):
        with pytest.raises(Refused, match="cannot be made"):
            Cache(SMALL, path=bad)
    with pytest.raises(Refused, match="cannot hold"):
        Cache(SMALL.replace(max_seq_len=2**40, head_dim=60000), path=tmp_path / "large")
    assert not (tmp_path / "large").exists()


def test_a_full_disk_is_told_and_nothing_is_lost(tmp_path, rng):
    class Full:
        def seek(self, at):
            pass

        def write(self, raw):
            raise OSError(errno.ENOSPC, "No space left on device")
    fake, text = Fake(SMALL), tokens_of(rng, 40)
    with Cache(SMALL, path=tmp_path / "rows") as cache:
        fake.feed(cache, text)
        file, cache._scratch.file = cache._scratch.file, Full()
        with pytest.raises(Refused, match="no more room for the cache .No space"):
            fake.feed(cache, text + text)
        cache.abandon()
        cache._scratch.file = file
        fake.feed(cache, text + text)


def test_a_file_never_grows_into_the_next_kind_of_row(tmp_path):
    with Cache(SMALL, path=tmp_path / "rows") as cache, pytest.raises(Refused, match="at most 100 rows"):
        cache.extend(0, "entries", np.zeros((101, SMALL.head_dim), np.float32))
