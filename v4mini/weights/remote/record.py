"""What a folder of fetched parts says of itself: where from, at which commit, with which checksums.

    folder/fetched.json         {"origin": "hf://owner/name", "revision": "60d8d7...", "tensors": ..., "sha256": {file: hex},
                                 "compared": {file: "sha256", "sha1" or ""}}

sha256 is that of what came. `compared` says which digest of the release it was held to: a whole file has one, a part has none, so
that wrong bytes under right headers cannot be noticed there.
Written before anything is fetched, so that all parts are of one commit, whatever the branch does in the meantime.
Not here: bringing parts (fetch.py), what a whole model needs (spec.py).
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.untrusted import brief, parse_json, read_file
from v4mini.weights.ours import weights_in
from v4mini.weights.remote.responses import stays_inside
from v4mini.weights.store import INDEX, open_store
from v4mini.writing import write_whole

RECORD = "fetched.json"
STAGING = ".fetching"                   # unfinished files wait there
BLOCK = 1 << 22                         # bytes hashed at a time
MOST_BYTES = 16 << 20                   # of the record


@dataclass(frozen=True)
class Record:
    """origin: hf://owner/name, or a folder. revision: its commit. tensors, total_size: of the whole release; 0: unknown."""

    origin: str
    revision: str
    tensors: int = 0
    total_size: int = 0
    sha256: dict = field(default_factory=dict)          # file name -> hex
    compared: dict = field(default_factory=dict)        # file name -> "sha256", "sha1" (git's, of small files), "" (nothing)

    def write(self, folder):
        text = json.dumps(asdict(self), indent=1).encode()
        write_whole(Path(folder, RECORD), text)


def read_record(folder):                # -> Record, or None if the folder was not fetched
    """Raises Refused if there is a record that says nothing."""
    path = Path(folder, RECORD)
    if not path.is_file():
        return None
    fields = parse_json(read_file(path, MOST_BYTES, f"{path}: the record", "Remove it to begin again."), f"{path}: the record")
    kinds = {"origin": str, "revision": str, "tensors": int, "total_size": int, "sha256": dict}
    compared = fields.pop("compared", {})               # older records have none
    right = fields.keys() == kinds.keys() and all(type(fields[name]) is kind for name, kind in kinds.items())
    if not right or not _by_name(fields["sha256"]) or not isinstance(compared, dict) or not _by_name(compared):
        raise Refused(f"{path}: expected a record of what was fetched, got {brief(fields)}. Remove it to begin again.")
    return Record(**fields, compared=compared)


def _by_name(told):                     # {file name in the folder: text}
    return all(stays_inside(name) and isinstance(value, str) for name, value in told.items())


def pinned(where, folder):              # -> where, at the commit of the folder's first part if it has one
    """What a later fetch into the same folder should open, so that a branch that moved does not mix two commits."""
    record = read_record(folder)
    if record and record.revision and str(where).rstrip("/").endswith(record.origin.removeprefix("hf:/")):
        return f"{record.origin}@{record.revision}"
    return where


def read_folder(folder):                # -> Record or None, {tensor name: file name}, bytes of tensors
    """What lies in a folder that parts are put into: nothing yet, or parts. Raises Refused for any other checkpoint."""
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise Refused(f"{folder}: expected a folder to put parts into, got a file. Choose another name.")
    record = read_record(folder)
    if record is None and folder.exists() and weights_in(folder):
        raise Refused(f"{folder}: expected a new folder or one of fetched parts, got another checkpoint. Choose another folder.")
    if not (folder / INDEX).exists():
        return record, {}, 0
    with open_store(folder) as store:
        there = {name: store.where(name).name for name in store}
        nbytes = store.nbytes
    strange = sorted(set(there.values()) - set(record.sha256))
    if strange:
        raise Refused(f"{folder}: expected only fetched parts in {INDEX}, got {brief(strange[0])}. Choose another folder.")
    return record, there, nbytes


def unfinished(folder):                 # -> {file name: bytes so far}
    """What was begun and not finished; the same command goes on with it."""
    return {path.name.removesuffix(".part"): path.stat().st_size for path in sorted(Path(folder, STAGING).rglob("*.part"))}


def check_sums(folder, progress=None):  # -> [file whose bytes are not those that came]
    """Hash every file of the record again. progress(bytes so far) is called now and then."""
    record = read_record(folder)
    done = 0
    wrong = []
    if record is None:
        raise Refused(f"{folder}: expected a folder of fetched parts with checksums, got none. Only v4mini fetch records them.")
    for name, wanted in record.sha256.items():
        hasher = hashlib.sha256()
        for block in blocks(Path(folder, name)):
            hasher.update(block)
            done += len(block)
            if progress:
                progress(done)
        if hasher.hexdigest() != wanted:
            wrong.append(name)
    return wrong


def blocks(path, stop=None):            # yields bytes of a local file, up to `stop`
    with open(path, "rb") as file:
        left = file.seek(0, 2) if stop is None else stop
        file.seek(0)
        while left > 0 and (block := file.read(min(BLOCK, left))):
            left -= len(block)
            yield block
