"""A checkpoint of a real shape with random weights, cut to as many layers as the disk holds: to stream, to time, to try tools.

Files as in the release (46 of Flash): the embedding, each layer, the head, the MTP block if there is one. A file takes its name
when it is complete and the index comes last, so a run that was killed leaves no checkpoint, and the next one goes on behind the
files that are there. Weights are drawn as codes and scales; nothing is quantised.
Not here: the random numbers (random.py), the layout of a file (file.py).
"""

import itertools
import json
import shutil
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.weights.file import read_header, write_file
from v4mini.weights.ours import LOCK, MARK, Mark, digest_of, expect_ours
from v4mini.weights.random import random_metadata, random_rows
from v4mini.weights.spec import tensors
from v4mini.weights.store import INDEX
from v4mini.writing import alone, make_folder, write_whole

KIND = "synth"
RESERVE = 8 << 30               # bytes of the disk that stay free
HEADERS = 1 << 20               # bytes a file may have beside its tensors: a layer of Flash has 0.2 MB of header


def synth(path, config, seed=0, reserve=RESERVE, progress=None):        # -> Path of the folder
    """Write a random checkpoint of this config, or go on writing one. The same (config, seed) gives the same bytes.

    reserve: bytes that must stay free on its disk. progress(bytes done) counts files that were there already.
    Refused if the disk is too small, before anything is written; if the folder holds anything else.
    """
    path, files = Path(path), file_plan(config)
    weight_map = {stored: name for name, specs in files.items() for spec in specs for stored, _, _ in spec.stored()}
    small = {"config.json": _json(config.to_released()),
             INDEX: _json({"metadata": {**_metadata(seed), "total_size": total_bytes(config)}, "weight_map": weight_map})}
    here, _ = _look(path, files, seed)
    missing = sum(_bytes(specs) for name, specs in files.items() if name not in here)
    if missing:
        _expect_room(path, missing + HEADERS * len(files), reserve)
    make_folder(path)
    with alone(path / LOCK, f"{path}: another process is writing into this folder. Wait for it, or choose another folder."):
        here, mark = _look(path, files, seed)
        new = {name: [digest_of(raw)] for name, raw in small.items()}
        mark.and_also(new).write(path)
        _write_missing(path, files, here, seed, progress)
        for name, raw in small.items():
            write_whole(path / name, raw)
        Mark(KIND, new).write(path)
    return path


def _write_missing(path, files, here, seed, progress):
    done = 0
    for name, specs in files.items():
        if name not in here:
            report = progress and (lambda written, done=done: progress(done + written))
            write_file(path / name, random_rows(specs, seed), _metadata(seed), report)
        done += _bytes(specs)
        if progress:
            progress(done)


def file_plan(config):                                  # -> {file name: [TensorSpec]}
    """Which tensors share a file. Source: the released index; norm.weight and hc_head_* lie with the head."""
    groups = {}
    for spec in tensors(config):
        parts = spec.name.split(".")
        group = ".".join(parts[:2]) if parts[0] in ("layers", "mtp") else "embed" if parts[0] == "embed" else "head"
        groups.setdefault(group, []).append(spec)
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": specs for number, specs in enumerate(groups.values(), 1)}


def total_bytes(config):                                # -> bytes of all tensors
    """What its checkpoint takes, headers aside."""
    return _bytes(tensors(config))


def most_layers(config, room):                          # -> Config cut to the most layers that `room` bytes hold
    """As many layers as fit, from the first on; the MTP block stays if `config` has one. Refused if not one fits."""
    sizes = [_bytes(specs) + HEADERS for specs in file_plan(config).values()]       # embedding, layers, head, MTP
    layers = sizes[1: 1 + config.n_layers]
    taken = sizes[0] + sum(sizes[1 + config.n_layers:])
    fit = sum(total <= room for total in itertools.accumulate(layers, initial=taken)) - 1
    if fit < 1:
        raise Refused(f"synth: expected room for one layer, {taken + layers[0]:,} bytes, got {max(0, room):,}. "
                      "Make room or choose another disk.")
    return config.replace(n_layers=fit)


def free_bytes(path):                                   # -> bytes free on the disk where `path` is or will be
    """Free room, for a path that need not exist yet."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _expect_room(path, wanted, reserve):
    free = free_bytes(path)
    if wanted + reserve > free:
        raise Refused(f"{path}: wanted {wanted:,} bytes and {reserve:,} to stay free, got {free:,} bytes of room. "
                      "Ask for fewer layers, or choose another disk.")


def _look(path, files, seed):           # -> {names of files that are there and complete}, Mark
    """Refuse a folder that holds anything but this checkpoint's own files: each is known by our record, or by its header."""
    mark = expect_ours(path, KIND, ["config.json", INDEX], files)
    here = {child.name for child in path.iterdir() if not child.name.startswith(".")} if path.exists() else set()
    for name in sorted(here - {"config.json", INDEX, MARK}):
        if name not in files or MARK not in here:
            raise Refused(f"{path}: expected an empty folder or this checkpoint begun, got {name!r} in it. Choose another.")
        _expect_own(path / name, files[name], seed)
    return here & set(files), mark


def _expect_own(path, specs, seed):
    entries, metadata = read_header(path)
    wanted = {name: (dtype, shape) for spec in specs for name, dtype, shape in spec.stored()}
    if {name: (entry.dtype, entry.shape) for name, entry in entries.items()} != wanted or metadata != _metadata(seed):
        raise Refused(f"{path}: expected a file of this config and seed {seed}, got another checkpoint's. Choose another folder.")


def _metadata(seed):
    return {"format": "pt", **random_metadata(seed)}


def _bytes(specs):
    return sum(spec.nbytes for spec in specs)


def _json(fields):
    return json.dumps(fields, indent=1).encode() + b"\n"
