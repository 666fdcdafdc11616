"""Compiled kernels are kept in the first folder that takes them, and old versions' folders go, but never one in use."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from v4mini.kernels import folders
from v4mini.kernels.folders import KEPT, UNUSED, Folders, sweep, usual_places
from v4mini.shapes import Notice


@pytest.fixture
def blocked(tmp_path):
    """A place that nobody can write to, not even root: its parent is a file."""
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "place"


def test_the_first_folder_that_takes_a_file_gets_it(tmp_path, blocked):
    one, two = tmp_path / "one", tmp_path / "two"
    all_ = Folders([blocked, one, two], tmp_path / "last", "v4mini-1")
    assert all_.write("a", b"code") and all_.written == one / "v4mini-1"
    assert [path.read_bytes() for path in all_.found("a")] == [b"code"] and not two.exists()
    assert not list((one / "v4mini-1").glob("*writing*"))


def test_every_folder_is_read_even_if_it_cannot_be_written(tmp_path):
    shared, own = tmp_path / "shared", tmp_path / "own"
    assert Folders([shared], tmp_path / "last", "v4mini-1").write("a", b"of all")
    mine = Folders([shared, own], tmp_path / "last", "v4mini-1")
    mine.untried = [own]                                # as if the shared installation had refused
    mine.write("a", b"of mine")
    assert [path.read_bytes() for path in mine.found("a")] == [b"of all", b"of mine"]
    assert not list(Folders([shared, own], tmp_path / "last", "v4mini-2").found("a")), "another version"


def test_the_last_resort_is_told_in_one_line_once(tmp_path, blocked):
    all_ = Folders([blocked], tmp_path / "last", "v4mini-1")
    with pytest.warns(Notice, match=r"^kernels: .*place cannot be written \(Not a directory\)\. Compiled kernels are kept in "
                                    r".*last instead\. To choose a folder, set NUMBA_CACHE_DIR\.$") as told:
        assert all_.write("a", b"1") and all_.write("b", b"2")
    assert len(told) == 1 and (tmp_path / "last").stat().st_mode & 0o777 == 0o700


def test_nowhere_to_write_is_told_once_and_nothing_is_kept(blocked):
    all_ = Folders([blocked], blocked.parent / "last", "v4mini-1")
    with pytest.warns(Notice, match=r"Kernels are compiled anew in every process") as told:
        assert not all_.write("a", b"1") and not all_.write("b", b"2")
    assert len(told) == 1 and list(all_.found("a")) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows keeps temporary folders apart itself")
@pytest.mark.parametrize("whose", ["open to all", "a link"])
def test_code_is_not_run_from_a_folder_that_others_can_write_to(tmp_path, blocked, whose):
    last, other = tmp_path / "last", tmp_path / "other"
    other.mkdir(mode=0o700)
    last.symlink_to(other) if whose == "a link" else last.mkdir()
    os.chmod(last, 0o777 if whose == "open to all" else 0o700)
    (last / "v4mini-1").mkdir()
    (last / "v4mini-1" / "a").write_bytes(b"planted")
    all_ = Folders([blocked], last, "v4mini-1")
    assert list(all_.found("a")) == []
    with pytest.warns(Notice, match="compiled anew"):
        assert not all_.write("b", b"1")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_left_for_another_place_and_told(tmp_path, monkeypatch, number):
    write = Path.write_bytes

    def full(path, content):
        if tmp_path / "full" in path.parents:
            write(path, content[:3])                    # some of it came through
            raise OSError(number, os.strerror(number))
        return write(path, content)
    monkeypatch.setattr(Path, "write_bytes", full)
    all_ = Folders([tmp_path / "full", tmp_path / "home"], tmp_path / "last", "v4mini-1")
    with pytest.warns(Notice, match=rf"full cannot be written \({os.strerror(number)}\)\. Compiled kernels are kept in .*home"):
        assert all_.write("a", b"12345")
    assert [path.read_bytes() for path in all_.found("a")] == [b"12345"]
    assert not [path for path in (tmp_path / "full").rglob("*") if path.is_file()], "nothing half written stays"


def make(place, name, age):
    folder = place / name
    folder.mkdir()
    (folder / "code").write_bytes(b"1")
    os.utime(folder, (time.time() - age,) * 2)
    return folder


def test_old_versions_go_and_young_ones_stay(tmp_path):
    current, old = make(tmp_path, "v4mini-now", 2 * UNUSED), make(tmp_path, "v4mini-a", UNUSED + 60)
    young, stranger = make(tmp_path, "v4mini-b", 60), make(tmp_path, "of-others", 2 * UNUSED)
    (current / "x.writing-1").write_bytes(b"cut")
    os.utime(current / "x.writing-1", (1, 1))
    (current / "x.writing-2").write_bytes(b"being written")
    sweep(tmp_path, current)
    assert not old.exists() and current.exists() and young.exists() and stranger.exists()
    assert [path.name for path in current.glob("x*")] == ["x.writing-2"]


def test_of_many_young_versions_the_latest_stay(tmp_path):
    made = [make(tmp_path, f"v4mini-{number}", 60 * number) for number in range(KEPT + 3)]
    sweep(tmp_path, made[0])
    assert [folder.exists() for folder in made] == [True] * (KEPT + 1) + [False] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there; age alone decides")
def test_a_version_in_use_by_another_process_stays(tmp_path):
    old = make(tmp_path, "v4mini-old", 0)
    script = ("import sys\nfrom pathlib import Path\nfrom v4mini.kernels.folders import Folders\n"
              "place = Path(sys.argv[1])\nassert list(Folders([place], place / 'last', 'v4mini-old').found('code'))\n"
              "print('using', flush=True)\nsys.stdin.read()\n")
    command, pipe = [sys.executable, "-c", script, tmp_path], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as user:
        assert user.stdout.readline() == "using\n"
        os.utime(old, (1, 1))
        sweep(tmp_path, tmp_path / "v4mini-now")
        assert old.exists()
        user.stdin.close()
        user.wait()
        sweep(tmp_path, tmp_path / "v4mini-now")
        assert not old.exists()


def test_a_chosen_folder_is_the_only_usual_one(tmp_path, monkeypatch):
    assert usual_places(str(tmp_path), Path("package")) == [tmp_path]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(folders.sys, "platform", "linux")
    assert usual_places("", Path("package")) == [Path("package"), tmp_path / "v4mini"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(folders.os.path, "expanduser", lambda path: path)      # a user whom the system does not know
    assert usual_places("", Path("package")) == [Path("package")]
