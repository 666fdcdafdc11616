"""What stands where a file is expected is none: a pipe, a device, a socket, a folder, a link in a circle, 300 MB of zeros.

Every file that v4mini reads, at every one of these; each must be refused unread, at once.
"""

import itertools
import os
import socket

from hostile.targets import make_device
from hostile.typed import typed

FULL = 200
LARGE = 300 << 20
KINDS = ("a pipe", "a device", "a socket", "a folder", "a circle", "300 MB", "empty", "not UTF-8", "deep")


def prepare(folder):                    # -> a good checkpoint, [(name, what reads it)]
    from v4mini import Config, random_weights
    from v4mini.lessons.places import data_folder

    good = random_weights(Config.tiny(), folder)
    tokenizer = (data_folder() / "mini" / "tokenizer.json").read_bytes()
    return {path.name: path.read_bytes() for path in good.iterdir()} | {"tokenizer.json": tokenizer}


def readers():                          # {file: function of the folder}
    from v4mini import Config, Tokenizer, load
    from v4mini.bench import million
    from v4mini.inference.cache import Cache
    from v4mini.inference.routing_trace import read_trace
    from v4mini.training.card import read_card
    from v4mini.training.checkpoint import read_checkpoint
    from v4mini.training.loop import read_log
    from v4mini.weights.ours import read_mark
    from v4mini.weights.remote.record import read_record
    from v4mini.weights.store import INDEX

    def generate(folder, *more):
        return typed("generate", "--model", folder, "-n", 1, "--backend", "numpy", *more)
    return {
        "config.json": lambda folder: Config.load(folder),
        "model.safetensors": lambda folder: load(folder, backend="numpy"),
        INDEX: lambda folder: load(folder, backend="numpy"),
        "tokenizer.json": lambda folder: Tokenizer.load(folder),
        "text.cache": lambda folder: Cache.load(folder / "text.cache", Config.tiny()),
        "routing.trace": lambda folder: read_trace(folder / "routing.trace"),
        "card.json": lambda folder: read_card(folder),
        "checkpoint.safetensors": lambda folder: read_checkpoint(folder / "checkpoint.safetensors"),
        "log.jsonl": lambda folder: read_log(folder / "log.jsonl"),
        "v4mini.json": lambda folder: read_mark(folder),
        "fetched.json": lambda folder: read_record(folder),
        "prompt.txt": lambda folder: generate(folder, "--prompt-file", folder / "prompt.txt"),
        "receipt.json": lambda folder: typed("verify", "--against", folder / "receipt.json"),
        "machines.json": lambda folder: typed("plan", "--machines", folder / "machines.json", "--list"),
        "tools.json": lambda folder: typed("chat", "--tools", folder / "tools.json", "--backend", "numpy"),
        "vectors": lambda folder: typed("verify", "--vectors", folder / "vectors"),
        "inspected": lambda folder: typed("inspect", folder / "inspected"),
        "encoding/encoding_dsv4.py": lambda folder: typed("chat", "--model", folder, "--backend", "numpy"),
        "million.log": lambda folder: million.read_log(folder / "million.log"),
        "exported": lambda folder: typed("export", folder / "exported", "--out", folder / "out"),
    }


def case(good, rng, folder):
    made = list(itertools.product(readers().items(), KINDS))
    (name, reader), kind = made[rng.integers(len(made))]
    place = folder / "it"
    place.mkdir()
    for one, raw in good.items():
        (place / one).write_bytes(raw)
    path = place / name
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        path.unlink()
    _put(path, kind, folder)
    said = reader(place)
    if isinstance(said, str) and said.startswith("WRONG"):
        return f"{said} ({name}, {kind})"
    is_nothing = said is None or kind in ("empty", "not UTF-8", "a folder", "deep") or kind == "a circle" and "/" in name
    return f"nothing to read: {name} is {kind}" if is_nothing else f"WRONG {name} was read from {kind}"


def _put(path, kind, folder):
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        make_device(path, 5, "/dev/zero")
    elif kind == "a socket":
        here = os.open(folder, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{here}/it/{path.relative_to(folder / 'it')}")     # names have 108 letters at most
        os.close(here)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a circle":
        path.symlink_to(path.name)
    elif kind == "300 MB":
        with open(path, "wb") as file:
            file.truncate(LARGE)
    else:
        path.write_bytes({"empty": b"", "not UTF-8": b"\xff\xfe{}" * 9, "deep": b"[" * 100_000}[kind])
