"""A cache as a safetensors file that carries its own checksum.

Not here: what is in a cache (cache.py), the file format (weights/file.py), the checksum (weights/checksum.py).
"""

import json
import re
from dataclasses import dataclass

from v4mini.planning.memory import STORAGES
from v4mini.shapes import Refused
from v4mini.weights.checksum import AT_ONCE, ZEROS, check_signed, sign
from v4mini.weights.file import open_file, write_file

FORMAT = "v4mini cache 2"         # 1 held scores of unfinished blocks with ape added


def write_cache(path, config, storage, layers, numbers, tensors, progress=None):    # tensors: {name: (format, [codes])}
    """The file appears under its name when it is complete, checksum and all. Refused if it cannot be written."""
    metadata = {"format": FORMAT, "config": _text(config), "storage": storage, "layers": json.dumps(layers), "checksum": ZEROS,
                **{name: str(number) for name, number in numbers.items()}}
    listed = [(name, format.file_dtype, (sum(map(len, pieces)), format.columns), lambda pieces=pieces: _strips(pieces))
              for name, (format, pieces) in tensors.items()]
    write_file(path, listed, metadata, progress, sign)


@dataclass(frozen=True)
class Saved:
    """What a cache file says, checked; tensors are views of the file."""

    storage: str
    layers: tuple
    reserve: int
    length: int
    max_rewind: int
    file: object
    path: str

    def tensor(self, name, format, rows):               # -> codes [rows, columns], read-only
        entry = self.file.entries.get(name)
        wanted = format.file_dtype, (rows, format.columns)
        if entry is None or (entry.dtype, entry.shape) != wanted:
            got = "none" if entry is None else f"{entry.dtype} {list(entry.shape)}"
            raise Refused(f"{self.path}: expected {name} as {wanted[0]} {list(wanted[1])}, got {got}; was it written by hand?")
        return self.file.tensor(name)


def read_cache(path, config):                           # -> Saved
    """Read what a cache file says of itself. Refused if it is no cache, another config's, or damaged."""
    file = open_file(path)
    said = file.metadata
    if said.get("format") == "v4mini cache 1":
        raise Refused(f"{path}: this cache was saved by an older version, whose rows hold other numbers; read the text again.")
    if said.get("format") != FORMAT:
        raise Refused(f"{path}: expected a file of the format {FORMAT!r}, got {said.get('format', 'none')[:40]!r}. "
                      "Name one that cache.save wrote.")
    check_signed(path, said.get("checksum", ""), "Read the text again.")
    if said.get("config") != _text(config):
        raise Refused(f"{path}: this cache was made for a model of another config. Load that model, or read the text again.")
    if said.get("storage") not in STORAGES:
        raise Refused(f"{path}: expected a storage among {', '.join(STORAGES)}, got {said.get('storage', 'none')[:40]!r}.")
    reserve = _number(path, said, "reserve", 2**20)
    length = _number(path, said, "length", config.max_seq_len)
    max_rewind = _number(path, said, "rewindable", min(reserve, length))
    return Saved(said["storage"], _layers(path, said, config), reserve, length, max_rewind, file, path)


def _text(config):
    return json.dumps(config.to_dict(), sort_keys=True)


def _strips(pieces):                                    # codes, some at a time
    for piece in pieces:
        step = max(1, AT_ONCE // max(1, piece[:1].nbytes))
        for start in range(0, len(piece), step):
            yield piece[start: start + step]


def _number(path, said, name, most):
    digits = said.get(name, "none")
    if not re.fullmatch("[0-9]{1,13}", digits) or int(digits) > most:
        raise Refused(f"{path}: expected {name} between 0 and {most:,}, got {digits[:40]!r}; was it written by hand?")
    return int(digits)


def _layers(path, said, config):
    known = range(config.n_layers + config.n_mtp_layers)
    digits = re.fullmatch(r"\[(\d{1,4}(, \d{1,4})*)?\]", said.get("layers", ""))
    layers = tuple(int(number) for number in re.findall(r"\d+", digits[0])) if digits else (-1,)
    if any(layer not in known for layer in layers) or len(set(layers)) != len(layers):
        raise Refused(f"{path}: expected layers within 0 to {len(known) - 1}, got {said.get('layers', 'none')[:40]!r}; "
                      "was it written by hand?")
    return layers
