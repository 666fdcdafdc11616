"""Every command that writes, pointed at every target that is none: what happened, as a table.

    python tests/hostile/targets.py

Each case runs in a process of its own, without root's privileges where only permissions stand in the way; a device is
another /dev/full. Not here: wrong bytes, kills (the other files of this folder).
"""

import ctypes
import itertools
import json
import os
import resource
import signal
import stat
import sys
import tempfile
from pathlib import Path

STRANGERS = {"model-00001-of-00046.safetensors": b"a stranger's weights", "model.safetensors.index.json": b"{}",
             "config.json": b"{}", "tokenizer.json": b"{}"}
SMALL_DISK = 1000                       # bytes that a file may have
SECONDS = 60                            # of work, for one case


def commands(work):                     # -> {name: ("file" or "folder", function of the target)}
    """What is written, by the function or the command that a user calls; models are small."""
    import nbformat
    import numpy as np
    from click.testing import CliRunner

    from accel.checks import evidence
    from v4mini import Config, load, random_weights
    from v4mini.cli import main
    from v4mini.cli.chat_commands import Commands
    from v4mini.inference.cache import Cache
    from v4mini.lessons.notebooks import save as save_notebook
    from v4mini.lessons.places import data_folder
    from v4mini.shapes import Refused
    from v4mini.text.conversation import Conversation
    from v4mini.training.checkpoint import write_checkpoint
    from v4mini.viz.speed import save_kernels
    from v4mini.weights.random import random_tensors
    from v4mini.weights.write import save
    from v4mini.writing import append

    tiny = Config.tiny()
    model = random_weights(tiny, work / "tiny")
    release = random_weights(Config.mini().replace(n_layers=1), work / "release")
    cache = Cache(tiny)
    chat = Commands(Conversation(load(model, backend="numpy"), None, None, system="x" * 2 * SMALL_DISK))
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("x" * 2 * SMALL_DISK)])
    timing = type("timing", (), {"name": "x", "share": 0.5, "bound": "read"})

    def command(*arguments):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        if result.exit_code == 2:
            raise Refused(result.output.strip().rpartition("\n")[2].removeprefix("v4mini: "))
        if result.exit_code or (result.exception and not isinstance(result.exception, SystemExit)):
            raise RuntimeError(f"exit {result.exit_code}: {result.exception!r}")
    return {
        "generate --trace": ("file", lambda to: command("generate", "--ids", "1,2", "-n", 2, "--model", model,
                                                        "--backend", "numpy", "--trace", to)),
        "cache.save": ("file", lambda to: cache.save(to)),
        "new_cache(path=)": ("file", lambda to: Cache(tiny, path=to).close()),
        "chat /save": ("file", lambda to: chat.save(str(to))),
        "train's checkpoint": ("file", lambda to: write_checkpoint(to, {"a": np.zeros(900, "f4")}, {"step": 1})),
        "card --measure": ("file", lambda to: _card(to)),
        "lessons run": ("file", lambda to: save_notebook(notebook, to)),
        "accel selftest": ("file", lambda to: evidence.write(to, evidence.read(data_folder() / "accel" / "evidence.json"))),
        "bench --plot": ("file", lambda to: save_kernels([timing], to)),
        "bench million --log": ("file", lambda to: append(to, json.dumps({"line": "x" * 2000}) + "\n")),
        "random_weights": ("folder", lambda to: random_weights(tiny, to)),
        "weights.write.save": ("folder", lambda to: save(to, tiny, random_tensors(tiny).get)),
        "train --out": ("folder", lambda to: command("train", "--config", "tiny", "--steps", 1, "--backend", "numpy",
                                                     "--out", to)),
        "train --export": ("folder", lambda to: _export(to, tiny, random_tensors(tiny))),
        "export": ("folder", lambda to: command("export", model, "--dtype", "f32", "--out", to)),
        "synth": ("folder", lambda to: command("synth", "--model", "mini", "--layers", 1, "--reserve", "1MB", "--out", to)),
        "fetch": ("folder", lambda to: command("fetch", release, "norm", "--into", to)),
    }


def _card(to):                          # card.json under another name
    from unittest import mock

    from v4mini.lessons.places import data_folder
    from v4mini.training import card

    good = card.read_card(data_folder() / "mini")
    with mock.patch.object(card, "NAME", to.name):
        card.write_card(to.parent, good)


def _export(to, config, tensors):       # what the command calls before training, and after it
    from v4mini.training.export import expect_exportable, export

    expect_exportable(to)
    export(config, tensors, to, "{}")


TARGETS = ("a new name", "a stranger's checkpoint", "a device", "a pipe", "a link", "a full disk", "a read-only folder")


def prepare(target, kind, base):        # -> path to write to, what must be there afterwards: {path: state}
    """The target, made in the empty folder `base`."""
    path = base / "target.png"
    if target == "a stranger's checkpoint":
        path.mkdir()
        for name, raw in STRANGERS.items():
            (path / name).write_bytes(raw)
    elif target == "a device":
        make_device(path, 7, "/dev/full")
    elif target == "a pipe":
        os.mkfifo(path)
    elif target == "a link":
        (base / "disk").mkdir()
        path.symlink_to("disk/real")
        if kind == "folder":
            (base / "disk" / "real").mkdir()
    elif target == "a read-only folder":
        (base / "locked").mkdir()
        os.chmod(base / "locked", 0o555)
        path = base / "locked" / "target.png"
    return path


def make_device(path, minor, twin):
    """One of the kernel's memory devices under another name; without the right to make one, a link to the twin in /dev."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    except OSError:
        path.symlink_to(twin)


def states(base):                       # -> {name: what it is}, contents too
    return {str(one.relative_to(base)): (stat.S_IFMT(os.lstat(one).st_mode), one.read_bytes() if one.is_file() else b"")
            for one in sorted(base.rglob("*"))}


def outcome(function, kind, target, base):              # -> words; "WRONG ..." for what must not be
    """Run one case in a child and look at what is left."""
    path = prepare(target, kind, base)
    os.chmod(base, 0o777)
    before = states(base)
    said = _in_child(function, path, target)
    after = states(base)
    left = [name for name in after if (".part" in name or name.endswith("lock")) and ".fetching/" not in name]  # fetch goes on
    if left:
        return f"WRONG left {left[0]}: {said}"
    if said != "written":
        new = set(after) - set(before)
        whole = all(after.get(name) == state for name, state in before.items())
        if not whole or (new and target != "a full disk"):
            return f"WRONG changed {sorted(new) or 'a file'}: {said}"
        return said
    if target == "a link":
        return "written behind the link" if path.is_symlink() and (base / "disk" / "real").exists() else "WRONG the link is gone"
    return "written" if target == "a new name" else f"WRONG written into {target}"


def _in_child(function, path, target):                  # -> "written" or "refused: ..." or "WRONG ..."
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            said = _run(function, path, target)
        except BaseException as error:                  # the child must end here
            said = f"WRONG {type(error).__name__}: {error}"
        os.write(writing, said.encode()[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode()
    _, _, used = os.wait4(child, 0)
    return said if used.ru_utime + used.ru_stime < SECONDS else f"WRONG more than {SECONDS} seconds of work: {said}"


def _run(function, path, target):
    from v4mini.shapes import Refused

    if target == "a full disk":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL_DISK, SMALL_DISK))
    if target == "a read-only folder" and os.geteuid() == 0:
        _no_privileges()
    signal.alarm(10 * SECONDS)                          # by the clock: the machine may have other work
    try:
        function(path)
    except Refused as refused:
        text = str(refused)
        return f"refused: {text}" if "\n" not in text and text.isprintable() else f"WRONG sentence {text!r}"
    return "written"


def _no_privileges():
    """Root obeys permissions from here on, in this process: Linux's capset(2) with no capability, layout version 3.

    Another user would not do: what the command reads, a font for example, may lie where only root may look.
    """
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def table():                            # -> {(command, target): what happened}
    """All of them. A first run on a new name in this process imports what the children need."""
    from unittest import mock

    from v4mini.text.stdlib import stdlib_texts

    found, texts = {}, list(itertools.islice(stdlib_texts(), 40))       # read now: nobody may not
    with tempfile.TemporaryDirectory() as work, mock.patch("v4mini.text.stdlib.stdlib_texts", lambda held_out=False: texts):
        os.chmod(work, 0o755)
        made = commands(Path(work))
        for name, (kind, function) in made.items():
            base = Path(work, "first " + name.replace("/", " "))
            base.mkdir()
            function(base / "target.png")
            for target in TARGETS:
                base = Path(work, f"{len(found)}")
                base.mkdir()
                found[name, target] = outcome(function, kind, target, base)
    return found


REASONS = {"did not write": "not ours", "got 'model": "not ours", "another checkpoint": "not ours", "got a device": "a device",
           "got a pipe": "a pipe", "got a folder": "a folder", "is a directory": "a folder", "is a file": "no folder",
           "got a file": "no folder", "is there": "it is there", "no more room": "no room", "File too large": "no room",
           "Permission denied": "no right",
           "no right to write": "no right", "which is a pipe": "a pipe", "which is a device": "a device",
           "which is a folder": "a folder"}


def short(words):                       # a refusal by its reason
    if not words.startswith("refused"):
        return words
    return next((f"refused: {reason}" for sign, reason in REASONS.items() if sign in words), words)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    rows = table()
    for name in dict.fromkeys(name for name, _ in rows):
        sys.stdout.write(name + "\n" + "".join(f"    {target:<24} {rows[name, target]}\n" for target in TARGETS))
    sys.exit(any(words.startswith("WRONG") for words in rows.values()))
