"""A training run on disk: one safetensors file, arrays and all numbers, complete or not there at all.

    params.NAME, muon.NAME, adamw.mean.NAME, adamw.square.NAME      arrays
    ahead.N.batch.NAME, ahead.N.routes.LAYER                        batches drawn ahead, with anticipatory routing
    metadata "state"                                                JSON: the rest

A new checkpoint takes the old one's name once all of it is on the disk. Going on from it gives the bits that never having
stopped gives. Not here: the model for others to use (export.py), the format of the file (weights/file.py).
"""

import json

from v4mini.shapes import Refused
from v4mini.untrusted import brief, parse_json
from v4mini.weights.file import open_file, write_file

FORMAT = "v4mini training 1"
NAME = "checkpoint.safetensors"
DTYPES = {"float32": "F32", "int64": "I64"}


def write_checkpoint(path, arrays, state):              # {name: float32 or int64 array}, plain JSON values
    """Write all of it. Raises Refused, in one sentence, if the disk is full: then what was there before still is."""
    listed = [(name, DTYPES[str(array.dtype)], array.shape, lambda array=array: iter([array])) for name, array in arrays.items()]
    write_file(path, listed, {"format": FORMAT, "state": json.dumps(state)})


def read_checkpoint(path):                              # -> {name: array}, state
    """What write_checkpoint wrote. Raises Refused if it is not one."""
    file = open_file(path)
    if file.metadata.get("format") != FORMAT:
        raise Refused(f"{path}: expected a file of the format {FORMAT!r}, got {brief(file.metadata.get('format', 'none'))}. "
                      "Name a folder that v4mini train wrote.")
    state = parse_json(file.metadata.get("state", "").encode(), f"{path}: its state")
    arrays = {name: file.tensor(name).copy() for name in file.entries}
    file.close()
    return arrays, state
