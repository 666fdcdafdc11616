"""A training run on disk: one safetensors file, arrays and all numbers, complete or not there at all.

    params.NAME, muon.NAME, adamw.mean.NAME, adamw.square.NAME      arrays
    ahead.N.batch.NAME, ahead.N.routes.LAYER                        batches drawn ahead, with anticipatory routing
    metadata "state"                                                JSON: the rest
    metadata "checksum"                                             of the whole file (weights/checksum.py)

A new checkpoint takes the old one's name once all of it is on the disk. Going on from it gives the bits that never having
stopped gives. Not here: whether it fits the run that goes on with it (restore.py),
the model for others to use (export.py), the format of the file (weights/file.py).
"""

import json

from v4mini.shapes import Refused
from v4mini.untrusted import brief, parse_json
from v4mini.weights.checksum import ZEROS, check_signed, sign
from v4mini.weights.file import open_file, write_file

FORMAT = "v4mini training 3"
NAME = "checkpoint.safetensors"
DTYPES = {"float32": "F32", "int64": "I64"}


def write_checkpoint(path, arrays, state):              # {name: float32 or int64 array}, plain JSON values
    """Write all of it. Raises Refused, in one sentence, if the disk is full: then what was there before still is."""
    listed = [(name, DTYPES[str(array.dtype)], array.shape, lambda array=array: iter([array])) for name, array in arrays.items()]
    write_file(path, listed, {"format": FORMAT, "state": json.dumps(state), "checksum": ZEROS}, finish=sign)


def read_checkpoint(path):                              # -> {name: array}, state
    """What write_checkpoint wrote. Raises Refused if it is not one, or if one bit of it changed since."""
    file = open_file(path)
    if file.metadata.get("format") != FORMAT:
        raise Refused(f"{path}: expected a file of the format {FORMAT!r}, got {brief(file.metadata.get('format', 'none'))}. "
                      "Name a folder that v4mini train wrote.")
    check_signed(path, file.metadata.get("checksum", ""), "Begin anew in another folder, or take a copy that is whole.")
    state = parse_json(file.metadata.get("state", "").encode(), f"{path}: its state")
    arrays = {name: file.tensor(name).copy() for name in file.entries}
    file.close()
    return arrays, state
