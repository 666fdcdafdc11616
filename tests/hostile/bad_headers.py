"""Safetensors files whose header somebody edited or a disk lost: one file, or a shard with an index."""

import json
import struct

import numpy as np
from hostile.mutate import change, damaged_bytes

FULL = 4000


def prepare(folder):                                    # -> header fields and data of a valid file, its config
    import ml_dtypes

    data = {"a.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "b.weight": np.ones((2, 3), ml_dtypes.bfloat16),
            "layers.0.ffn.experts.gate_up_proj": np.zeros((2, 4, 3), np.float32), "c": np.zeros((0, 5), np.int8)}
    names = {"float32": "F32", "bfloat16": "BF16", "int8": "I8"}
    header, raw = {"__metadata__": {"format": "pt"}}, b""
    for name, array in data.items():
        header[name] = {"dtype": names[str(array.dtype)], "shape": list(array.shape),
                        "data_offsets": [len(raw), len(raw) + array.nbytes]}
        raw += array.tobytes()
    return header, raw


def packed(header, raw):                                # -> bytes of a file
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + raw


def case(state, rng, folder):
    from v4mini.weights.names import resolve
    from v4mini.weights.store import INDEX, open_store

    header, raw = json.loads(json.dumps(state[0])), state[1]
    which = rng.random()
    if which < 0.3:
        (folder / "model.safetensors").write_bytes(damaged_bytes(packed(header, raw), rng))
    elif which < 0.75:
        for _ in range(rng.integers(1, 4)):
            change(header, rng)
        (folder / "model.safetensors").write_bytes(packed(header, raw if rng.random() < 0.7 else damaged_bytes(raw, rng)))
    elif which < 0.8:
        (folder / "model.safetensors").write_bytes(absurd(rng))
    else:
        (folder / "model-00001-of-00001.safetensors").write_bytes(packed(header, raw))
        names = [name for name in header if name != "__metadata__"]
        index = {"metadata": {"total_size": len(raw)}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
        if rng.random() < 0.5:
            for _ in range(rng.integers(1, 3)):
                change(index, rng)
            (folder / INDEX).write_bytes(json.dumps(index).encode())
        else:
            (folder / INDEX).write_bytes(damaged_bytes(json.dumps(index).encode(), rng))
    with open_store(folder) as store:
        resolve(store.entries())
        numbers = sum(store[name].nbytes for name in store)
    return "the file holds what its header says" if numbers <= len(raw) else "WRONG more bytes than there are"


def absurd(rng):                                        # a small file that asks for a lot
    kind = rng.integers(4)
    if kind == 0:                                       # fused experts without numbers, so many that their names fill memory
        entry = {"dtype": "F32", "shape": [int(rng.integers(10_000, 99_999)), 0, 3], "data_offsets": [0, 0]}
        return packed({f"layers.{n}.ffn.experts.gate_up_proj": entry for n in range(int(rng.integers(1, 200)))}, b"")
    if kind == 1:
        return packed(b"{" + b'"a":{},' * int(rng.integers(1, 3_000_000)) + b'"b":{}}', b"")
    if kind == 2:
        return packed(b'{"a":' + b"[" * int(rng.integers(1, 200_000)), b"")
    entry = {"dtype": "F32", "shape": [2**62, 0], "data_offsets": [0, 0]}
    return packed({f"t{n}": entry for n in range(int(rng.integers(1, 5000)))}, b"")
