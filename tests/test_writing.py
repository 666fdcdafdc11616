"""writing.py: what is replaced, what is refused, what a killed or interrupted writer leaves."""

import errno
import os
import signal
import socket
import stat
import subprocess
import sys
import threading

import pytest

from v4mini import writing
from v4mini.shapes import Refused
from v4mini.writing import alone, append, make_folder, replacing, sweep, target, write_whole

posix = pytest.mark.skipif(os.name == "nt", reason="links, modes and pipes of POSIX")


def test_a_new_file_and_its_replacement(tmp_path):
    write_whole(tmp_path / "a", b"one")
    write_whole(str(tmp_path / "a"), "zwei, ü")
    assert (tmp_path / "a").read_bytes() == "zwei, ü".encode() and os.listdir(tmp_path) == ["a"]


def made(path, kind):                   # something that is no regular file, at path
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as own:
            here = os.getcwd()
            os.chdir(path.parent)       # a socket's address holds about 100 bytes
            try:
                own.bind(path.name)
            finally:
                os.chdir(here)
    elif kind == "device":
        path.symlink_to("/dev/full")
    elif kind == "circle":
        path.symlink_to(path.name)
    elif kind == "link to a pipe":
        os.mkfifo(path.with_name("pipe"))
        path.symlink_to("pipe")


@posix
@pytest.mark.parametrize("kind, words", [("folder", "got a folder"), ("pipe", "got a pipe"), ("socket", "got a socket"),
                                         ("device", "got a device"), ("circle", "circle"), ("link to a pipe", "got a pipe")])
def test_what_is_no_regular_file_is_refused_and_left(tmp_path, kind, words):
    path = tmp_path / "target"
    made(path, kind)
    before = {child.name: os.lstat(child) for child in tmp_path.iterdir()}
    for write in (lambda: write_whole(path, b"x"), lambda: append(path, "x")):
        with pytest.raises(Refused, match=f"target: cannot be written; [^(]*{words}"):
            write()
    after = {child.name: os.lstat(child) for child in tmp_path.iterdir()}
    assert {name: (s.st_mode, s.st_ino) for name, s in after.items()} == {n: (s.st_mode, s.st_ino) for n, s in before.items()}


@pytest.mark.skipif(not hasattr(os, "mknod") or os.name == "nt" or os.geteuid() != 0, reason="only root makes devices")
def test_a_device_file_of_ones_own_stays_a_device(tmp_path):
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    except OSError as error:
        pytest.skip(f"no devices here: {error}")
    with pytest.raises(Refused, match="got a device"):
        write_whole(path, b"x")
    assert stat.S_ISCHR(os.lstat(path).st_mode) and os.listdir(tmp_path) == ["null"]


@posix
@pytest.mark.parametrize("there", [True, False], ids=["a file", "nothing yet"])
def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path, there):
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").mkdir()
    if there:
        (tmp_path / "disk" / "real").write_bytes(b"old")
    (tmp_path / "here" / "link").symlink_to("../disk/real")
    (tmp_path / "here" / "second").symlink_to("link")
    write_whole(tmp_path / "here" / "second", b"new")
    append(tmp_path / "here" / "link", "er")
    assert (tmp_path / "disk" / "real").read_bytes() == b"newer" and not (tmp_path / "disk" / "real").is_symlink()
    assert os.readlink(tmp_path / "here" / "second") == "link" and os.readlink(tmp_path / "here" / "link") == "../disk/real"
    assert sorted(os.listdir(tmp_path / "here")) == ["link", "second"] and os.listdir(tmp_path / "disk") == ["real"]


@posix
def test_permissions_are_those_of_before_and_else_the_umask_s(tmp_path):
    (tmp_path / "old").write_bytes(b"")
    os.chmod(tmp_path / "old", 0o640)
    before = os.umask(0o027)
    try:
        for name in ("old", "new"):
            write_whole(tmp_path / name, b"x")
        append(tmp_path / "log", "x")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("old", "new", "log")}
    assert modes == {"old": 0o640, "new": 0o640, "log": 0o640}
    os.chmod(tmp_path / "old", 0o600)
    write_whole(tmp_path / "old", b"y")
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o600


@posix
def test_a_file_that_is_protected_stays_even_for_root(tmp_path):
    (tmp_path / "kept").write_bytes(b"mine")
    os.chmod(tmp_path / "kept", 0o444)
    for write in (lambda: write_whole(tmp_path / "kept", b"x"), lambda: append(tmp_path / "kept", "x")):
        with pytest.raises(Refused, match="protected against writing"):
            write()
    assert (tmp_path / "kept").read_bytes() == b"mine"


@posix
def test_another_name_of_the_same_file_keeps_what_it_had(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "b")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new" and (tmp_path / "b").read_bytes() == b"old"


@pytest.mark.parametrize("name, words", [("", "a folder's"), ("x/", "a folder's"), ("no/file", "cannot be written"),
                                         (7, "a path"), (None, "a path"), ("a\0b", "null"), ("x" * 300, "cannot be written")])
def test_paths_that_name_no_file(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Refused) as refused:
        write_whole(name, b"x")
    text = str(refused.value)
    assert (words in text or "the path of a file" in text) and "\n" not in text and os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("name", ["ü" * 127, "x" * 255, "a\nb\x1b[2J", "-rf", " ", "a b.png", b"\xff\xfe", "~", "CON",
                                  "日本" * 40])
def test_odd_names_are_names(tmp_path, name):
    raw = os.fsencode(name)
    for content in (b"1", b"2"):
        write_whole(os.path.join(os.fsencode(tmp_path), raw), content)
    assert os.listdir(os.fsencode(tmp_path)) == [raw]
    with open(os.path.join(os.fsencode(tmp_path), raw), "rb") as file:
        assert file.read() == b"2"


def test_a_name_that_would_move_the_cursor_is_shown_harmless(tmp_path):
    with pytest.raises(Refused) as refused:
        write_whole(tmp_path / "no folder\x1b[2J" / "x", b"")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_whatever_fails_the_old_file_stays_alone(tmp_path, monkeypatch, call):
    (tmp_path / "f").write_bytes(b"old")

    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")
    if call == "write":
        with pytest.raises(Refused, match="cannot be written"), replacing(tmp_path / "f") as new:
            new.write(b"half")
            monkeypatch.setattr(new, "file", type("broken", (), {"write": broken, "close": new.file.close})())
            new.write(b"the rest")
    else:
        monkeypatch.setattr(os, call, broken)
        with pytest.raises(Refused, match="cannot be written"):
            write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def test_a_pipe_that_comes_while_we_write_is_not_replaced(tmp_path):
    if os.name == "nt":
        pytest.skip("no pipes with names")
    with pytest.raises(Refused, match="got a pipe"), replacing(tmp_path / "f") as new:
        new.write(b"x")
        os.mkfifo(tmp_path / "f")
    assert os.listdir(tmp_path) == ["f"] and stat.S_ISFIFO((tmp_path / "f").stat().st_mode)


# ---- what is left, and swept ----

HALF = ("import os, sys, time; from v4mini.writing import NewFile\n"
        "new = NewFile(sys.argv[1]); new.write(b'half'); print(new.part, flush=True); time.sleep(60)")


def half_written(path):                 # -> process, path of its temporary file
    process = subprocess.Popen([sys.executable, "-c", HALF, path], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_a_killed_writer_s_file_goes_and_a_living_one_s_stays(tmp_path):
    dead, one = half_written(tmp_path / "a")
    alive, two = half_written(tmp_path / "b")
    with dead, alive:
        try:
            dead.send_signal(signal.SIGKILL)
            dead.wait()
            assert os.path.exists(one) and os.path.exists(two)
            write_whole(tmp_path / "other", b"x")
            assert not os.path.exists(one) and os.path.exists(two)
        finally:
            alive.kill()
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["other"]


def test_files_of_strangers_are_not_swept(tmp_path):
    ours = writing.part_name("x")
    other_check = ours[:-6] + ("0" if ours[-6] != "0" else "1") + ".part"
    strangers = [".x.part", ".x.0123abcd.part", "x.part", ours[1:], ours.replace(".part", ".tmp"), other_check,
                 ".model.safetensors.v4mini-00000000-0000000000000000-00000000.part"]
    for name in strangers:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / writing.part_name("folder")).mkdir()
    sweep(tmp_path)
    assert set(strangers) < set(os.listdir(tmp_path)) and len(os.listdir(tmp_path)) == len(strangers) + 1
    if os.name != "nt":
        (tmp_path / writing.part_name("link")).symlink_to(strangers[0])
        sweep(tmp_path)
        assert len(os.listdir(tmp_path)) == len(strangers) + 2


def test_another_computer_s_file_is_left_for_a_day(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(writing, "_host", lambda: "00000000")
        elsewhere = tmp_path / writing.part_name("x")
    elsewhere.write_bytes(b"half")
    sweep(tmp_path)
    assert elsewhere.exists()
    if os.name != "nt":
        os.utime(elsewhere, (1e9, 1e9))
        sweep(tmp_path)
        assert not elsewhere.exists()


def test_many_writers_of_one_file_leave_one_of_theirs_whole(tmp_path):
    contents = [bytes([n]) * 100_000 for n in range(8)]

    def write(content):
        for _ in range(20):
            write_whole(tmp_path / "f", content)
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "f").read_bytes() in contents and os.listdir(tmp_path) == ["f"]


# ---- logs, locks, folders ----

def test_a_line_that_has_no_room_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    append(tmp_path / "log", "one\n")
    limit = ("import resource, signal, sys; from v4mini.writing import append\n"
             "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
             "append(sys.argv[1], 'far too long a line\\n')")
    done = subprocess.run([sys.executable, "-c", limit, tmp_path / "log"], capture_output=True, text=True)
    assert "Refused" in done.stderr and (tmp_path / "log").read_bytes() == b"one\n"


def test_a_lock_is_one_s_alone_and_goes(tmp_path):
    lock = tmp_path / "lock"
    with alone(lock, "busy"):
        with pytest.raises(Refused, match="^busy$"), alone(lock, "busy"):
            pass
        code = "import sys; from v4mini.writing import alone\nwith alone(sys.argv[1], 'busy elsewhere'): pass"
        done = subprocess.run([sys.executable, "-c", code, lock], capture_output=True, text=True)
        assert "Refused: busy elsewhere" in done.stderr
    assert not lock.exists()
    with alone(lock, "busy"):
        pass


def test_a_lock_of_a_process_that_died_is_free(tmp_path):
    code = ("import sys, time; from v4mini.writing import alone\n"
            "with alone(sys.argv[1], 'busy'): print('in', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(Refused, match="busy"), alone(tmp_path / "lock", "busy"):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (tmp_path / "lock").exists()
    with alone(tmp_path / "lock", "busy"):
        pass
    assert not (tmp_path / "lock").exists()


def test_only_one_of_many_is_ever_inside(tmp_path):
    inside, most, entered = [0], [0], [0]

    def enter():
        for _ in range(200):
            try:
                with alone(tmp_path / "lock", "busy"):
                    inside[0] += 1
                    most[0], entered[0] = max(most[0], inside[0]), entered[0] + 1
                    inside[0] -= 1
            except Refused:
                pass
    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1 and entered[0] > 0 and os.listdir(tmp_path) == []


def test_folders(tmp_path):
    assert make_folder(tmp_path / "a" / "b").is_dir() and make_folder(tmp_path / "a").is_dir()
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(Refused, match="cannot be made"):
            make_folder(path)


def test_the_target_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert target("x") == os.path.join(os.path.realpath(tmp_path), "x")
