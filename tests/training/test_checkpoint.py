"""A checkpoint file: what goes in comes out, and the safetensors package reads it too."""

import json

import numpy as np
import pytest
from safetensors import safe_open

from v4mini import Refused
from v4mini.training.checkpoint import FORMAT, read_checkpoint, write_checkpoint
from v4mini.weights.checksum import ZEROS, sign
from v4mini.weights.file import write_file


def test_arrays_and_numbers_come_back(rng, tmp_path):
    path = tmp_path / "c.safetensors"
    arrays = {"params.a": rng.standard_normal((3, 4)).astype(np.float32), "params.t": np.arange(6).reshape(2, 3)}
    state = {"rng": np.random.default_rng(7).bit_generator.state, "seconds": 1 / 3, "accuracy": None, "name": "Überschrift"}
    write_checkpoint(path, arrays, state)
    got, told = read_checkpoint(path)
    assert told == state and told["rng"]["state"]["state"] > 2**64      # integers beyond 64 bits are whole
    assert all(np.array_equal(got[name], arrays[name]) and got[name].dtype == arrays[name].dtype for name in arrays)
    got["params.a"] += 1                                # an array of its own, not a view of the file
    with safe_open(path, "numpy") as theirs:
        np.testing.assert_array_equal(theirs.get_tensor("params.t"), arrays["params.t"])
        assert json.loads(theirs.metadata()["state"]) == state


@pytest.mark.parametrize("metadata, words", [({}, "expected a file of the format"), ({"format": FORMAT}, "its state"),
                                             ({"format": FORMAT, "state": "[1]"}, "a JSON object"),
                                             ({"format": FORMAT, "state": '{"a": 1'}, "its state")])
def test_what_was_written_by_others_is_refused(tmp_path, metadata, words):
    path = tmp_path / "c.safetensors"
    write_file(path, [], {**metadata, "checksum": ZEROS}, finish=sign)
    with pytest.raises(Refused, match=words):
        read_checkpoint(path)


def test_a_file_that_changed_since_is_refused_and_so_is_one_without_a_checksum(rng, tmp_path):
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, {"params.a": rng.standard_normal((3, 4)).astype(np.float32)}, {"step": 1})
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1:])
        with pytest.raises(Refused):
            read_checkpoint(path)
    write_file(path, [], {"format": FORMAT, "state": "{}"})
    with pytest.raises(Refused, match="expected one sha256 as checksum"):
        read_checkpoint(path)
