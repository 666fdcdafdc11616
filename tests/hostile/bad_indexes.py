"""Indexes of shards that somebody edited or a disk lost; also config and index together, as inspect and load meet them."""

import json

from hostile import bad_headers
from hostile.mutate import change, damaged_bytes
from hostile.typed import typed

FULL = 2500


def prepare(folder):                    # -> files of a small checkpoint in two shards
    from v4mini import Config
    from v4mini.weights.random import random_tensors
    from v4mini.weights.spec import tensors
    from v4mini.weights.store import write_store

    config = Config.tiny().replace(n_layers=2, compress_ratios=(4, 0, 0))
    values = random_tensors(config)
    write_store(folder, [(name, dtype, shape, lambda name=name: [values[name]]) for spec in tensors(config)
                         for name, dtype, shape in spec.stored()], shard_bytes=200_000)
    (folder / "config.json").write_text(json.dumps(config.to_released()))
    return bad_headers.prepare(folder / "single"), {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def case(state, rng, folder):
    from v4mini import load
    from v4mini.weights.store import INDEX

    files = dict(state[1])
    index = json.loads(files[INDEX])
    which = rng.random()
    if which < 0.25:
        files[INDEX] = damaged_bytes(files[INDEX], rng)
    elif which < 0.3:
        shards = [f"../{rng.integers(9)}.safetensors", "\x1b[2J.safetensors", "/dev/zero", "config.json", "", "x" * 5000]
        index["weight_map"] |= {name: shards[rng.integers(len(shards))] for name in list(index["weight_map"])[:3]}
        files[INDEX] = json.dumps(index).encode()
    elif which < 0.35:
        index["weight_map"] |= {f"t{n}\x1b[31m": "x.safetensors" for n in range(int(rng.integers(1, 500_000)))}
        files[INDEX] = json.dumps(index).encode()
    else:
        for _ in range(rng.integers(1, 4)):
            change(index, rng)
        files[INDEX] = json.dumps(index).encode()
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    words = typed("inspect", folder, *(("--tensors",) if rng.random() < 0.3 else ()))
    if words.startswith("WRONG"):
        return words
    logits = load(folder, backend="numpy").logits([0, 3, 5])
    return "a whole checkpoint all the same" if logits.shape == (3, 97) else "WRONG another model"
