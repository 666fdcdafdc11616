"""Files of caches that a disk damaged, or that somebody edited and signed again: bytes, what the header says, rows.

Damaged bytes are always refused, by the checksum. A file that was signed again is refused unless its names, types, shapes and
numbers could be meant; then going on from it gives finite logits, or one sentence.
"""

import json
import struct

import numpy as np
from hostile.mutate import change, damaged_bytes

FULL = 3000


def prepare(folder):                    # -> model, [bytes of a valid cache], one of each storage
    from v4mini import Config
    from v4mini.inference.cached import CachedModel
    from v4mini.inference.load import choose_backend
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    config = Config.tiny().replace(compress_ratios=(4, 0, 16, 4, 0))
    model = CachedModel(config, build(config, random_tensors(config).get), choose_backend("numpy"))
    folder.mkdir()
    for storage in ("float32", "bfloat16", "released"):
        cache = model.new_cache(storage, reserve=4)
        model.prefill(np.arange(70) % config.vocab_size, cache)
        cache.save(folder / storage)
    return model, [path.read_bytes() for path in sorted(folder.iterdir())]


def case(state, rng, folder):
    model, files = state
    good, path, which = files[rng.integers(len(files))], folder / "text.cache", rng.random()
    if which < 0.35:
        bad = damaged_bytes(good, rng)
        path.write_bytes(bad)
    else:
        bad = edited(good, rng, only_rows=which > 0.8)
        path.write_bytes(bad)
        _sign_again(path)
    cache = model.load_cache(path, mapped=bool(rng.random() < 0.3))
    if which < 0.35:
        return "undamaged after all" if bad == good else "WRONG a damaged file was believed"
    cache.copy()
    cache.rewind(min(2, cache.max_rewind))
    before = cache.length
    logits = model.prefill([5, 7, 11], cache)
    if cache.length != before + 3 or not np.isfinite(logits).all():
        return "WRONG logits that are no numbers"
    cache.save(folder / "again.cache")
    return "signed again with other numbers that could be meant, which no one can tell"


def edited(good, rng, only_rows):       # bytes -> bytes with zeros as checksum
    length = struct.unpack("<Q", good[:8])[0]
    header, rows = json.loads(good[8: 8 + length]), bytearray(good[8 + length:])
    header["__metadata__"]["checksum"] = "0" * 64
    if only_rows:
        for _ in range(int(rng.integers(1, 50))):
            rows[rng.integers(len(rows))] = int(rng.choice([0, 127, 128, 255, rng.integers(256)]))
    elif rng.random() < 0.5:
        said = header["__metadata__"]
        name = str(rng.choice(["reserve", "length", "rewindable", "layers", "storage", "format", "config"]))
        numbers = ["0", "1", "3", "69", "71", "65536", str(2**20), str(2**24), "-1", "1e3", "", "९", "9" * 40, "[0, 1]"]
        said[name] = numbers[rng.integers(len(numbers))]
    else:
        for _ in range(int(rng.integers(1, 3))):
            change(header, rng)
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(rows)


def _sign_again(path):
    from v4mini.weights.checksum import sign

    with open(path, "rb+", buffering=0) as file:
        try:
            sign(file)
        except ValueError:              # the checksum's place is gone
            return
