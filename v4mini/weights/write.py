"""Write a checkpoint in the released format: shards, config.json, quantised on the way.

Not here: how a file is laid out (file.py, store.py).
"""

import json
from pathlib import Path

import ml_dtypes
import numpy as np

from v4mini.numerics.blocks import quantise
from v4mini.shapes import Refused
from v4mini.weights.spec import tensors
from v4mini.weights.store import write_store


def write_checkpoint(path, config, listed, metadata=None, progress=None, kind="checkpoint", others=None):  # -> Path of the folder
    """Write stored tensors (name, dtype, shape, chunks) and config.json into the folder `path`; metadata is text to text.

    others: {name: bytes} of small files that belong to it; kind: what it is, for the folder's record. Refused if the folder holds
    a checkpoint that we did not write, or a config.json of somebody else.
    """
    path = Path(path)
    text = json.dumps(config.to_released(), indent=1).encode() + b"\n"
    write_store(path, listed, metadata={"format": "pt", **(metadata or {})}, progress=progress, kind=kind,
                others={"config.json": text, **(others or {})})
    return path


def save(path, config, values, metadata=None, progress=None, kind="checkpoint", others=None):              # -> Path of the folder
    """Write float values as the config's formats ask: FP8 tiles, packed FP4, BF16. `values(name)` gives float32 or integers.

    A quantised tensor is asked for twice, once for its scales: only one is in memory at a time. The rest as in write_checkpoint.
    """
    listed = []
    for spec in tensors(config):
        for name, dtype, shape in spec.stored():
            listed.append((name, dtype, shape, lambda spec=spec, name=name: iter([_stored(spec, name, values(spec.name))])))
    return write_checkpoint(path, config, listed, metadata, progress, kind, others)


def _stored(spec, name, values):                                    # -> the array that goes into the file
    values = np.asarray(values)
    if values.shape != spec.shape:
        raise Refused(f"{spec.name}: expected {list(spec.shape)}, got {list(values.shape)}. Is it from another config?")
    if spec.format in ("fp8", "fp4"):
        matrix = quantise(values, spec.format, spec.name)
        return matrix.scale if name == spec.scale_name else matrix.codes
    return values.astype({"f32": np.float32, "bf16": ml_dtypes.bfloat16, "i64": np.int64}[spec.format])
