"""What to bring: which bytes of which files, into which new files, and how many bytes that makes.

Nothing is asked for twice, and nothing that was not asked for. A file of the release that is wanted as a whole is taken as it
stands; other tensors get a new file per part, with a header of their own. Tensors keep their bytes either way.
Not here: bringing them (fetch.py), which names a word means (parts.py).
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.weights.file import DTYPES, TensorEntry
from v4mini.weights.remote.parts import choose
from v4mini.weights.remote.record import Record, read_folder
from v4mini.weights.store import INDEX, SHARD_BYTES


@dataclass(frozen=True)
class NewFile:
    """A file to be: `header`, then `pieces` of the release's files, one after the other."""

    name: str
    header: bytes
    pieces: tuple                       # ((file, start, stop), ...)
    tensors: tuple = ()                 # TensorEntry as they will lie in it; () for a file that is none of tensors
    whole: str = ""                     # the release's file that it is a copy of

    @property
    def size(self):
        return len(self.header) + sum(stop - start for _, start, stop in self.pieces)

    def compared(self, source):         # -> "sha256", "sha1" or ""
        """Which digest of the release these bytes can be held to. A part has none: nobody hashed those bytes before."""
        listed = source.listed(self.whole) if self.whole else None
        return {64: "sha256", 40: "sha1"}.get(len(listed.digest), "") if listed else ""

    def key(self, revision):            # -> hex: the same for the same bytes, so that unfinished ones are known again
        told = json.dumps([revision, self.name, self.pieces, self.whole]).encode() + self.header
        return hashlib.sha256(told).hexdigest()


@dataclass(frozen=True)
class Plan:
    """New files for a folder, and what is there already."""

    folder: Path
    files: tuple[NewFile, ...]
    record: Record                      # of the folder, before
    there: dict                         # {tensor name: file}, before
    there_bytes: int
    present: int                        # tensors asked for that are there

    @property
    def nbytes(self):
        return sum(file.size for file in self.files)

    @property
    def tensors(self):
        return sum(len(file.tensors) for file in self.files)

    @property
    def ranges(self):
        return sum(len(file.pieces) for file in self.files)


def plan(release, parts, folder):       # -> Plan
    """Find what `parts` (words as parts.py has them) need. Reads headers of the files concerned. Raises Refused."""
    folder = Path(folder)
    record, there, there_bytes = read_folder(folder)
    release.source.listed("config.json")
    _same_source(release, record, folder)
    chosen = [(part, *choose(part, release.names, release.others)) for part in ["config.json", *parts]]
    wanted = dict.fromkeys(name for _, names, _ in chosen for name in names)
    release.read_headers(sorted({release.where(name) for name in wanted if name not in there}))
    files = []
    taken = set(there)
    for _, _, plain in chosen:
        files += [_copy(release, name) for name in plain if not _is_here(folder, record, name)]
    for shard in _whole_shards(release, wanted, there):
        files.append(_copy(release, shard))
        taken |= set(release.header(shard))
    names_of_files = {*there.values(), *(file.name for file in files), *release.shards}
    for part, names, _ in chosen:
        for rest in _shared_out(release, [name for name in names if name not in taken]):
            files.append(_cut_out(release, rest, _file_name(part, names_of_files)))
            names_of_files.add(files[-1].name)
            taken |= set(rest)
    files = {file.name: file for file in files}.values()
    return Plan(folder, tuple(files), record or Record(release.source.origin, release.source.revision), there, there_bytes,
                sum(name in there for name in wanted))


def _same_source(release, record, folder):
    source = release.source
    if record and (record.origin, record.revision) != (source.origin, source.revision):
        raise Refused(f"{folder}: expected parts of {source.origin} at {source.revision[:12] or 'no revision'}, got parts of "
                      f"{record.origin} at {record.revision[:12] or 'no revision'}. Choose another folder.")


def _is_here(folder, record, name):
    return record is not None and name in record.sha256 and (folder / name).is_file()


def _whole_shards(release, wanted, there):          # -> [file names] of which every tensor is wanted and none is there
    inside = {}
    for name in release.names:
        inside.setdefault(release.where(name), []).append(name)
    return [shard for shard, names in sorted(inside.items())
            if all(name in wanted and name not in there for name in names)]


def _shared_out(release, names):        # yields [names] of about a shard's size, those of one of the release's files together
    group = []
    room = SHARD_BYTES
    for name in sorted(names, key=release.where):
        nbytes = release.entry(name).nbytes
        if group and nbytes > room and release.where(name) != release.where(group[-1]):
            yield group
            group = []
            room = SHARD_BYTES
        group.append(name)
        room -= nbytes
    if group:
        yield group


def _copy(release, name):               # -> NewFile
    size = release.source.listed(name).size
    tensors = tuple(release.header(name).values()) if name in release.shards else ()
    return NewFile(name, b"", ((name, 0, size),) if size else (), tensors, whole=name)


def _cut_out(release, names, file_name):            # -> NewFile
    # Widest first, so that each is aligned; else in the release's order, so that neighbours come in one request.
    found = sorted(((release.where(name), release.entry(name)) for name in names),
                   key=lambda pair: (-DTYPES[pair[1].dtype].itemsize, pair[0], pair[1].start))
    source = release.source
    metadata = {"format": "pt"}
    if source.revision:
        metadata["fetched_from"] = f"{source.origin}@{source.revision}"
    listed = {"__metadata__": metadata}
    offset = 0
    pieces = []
    for shard, entry in found:
        listed[entry.name] = {"dtype": entry.dtype, "shape": list(entry.shape), "data_offsets": [offset, offset + entry.nbytes]}
        offset += entry.nbytes
        if pieces and pieces[-1][0] == shard and pieces[-1][2] == entry.start:
            pieces[-1] = (shard, pieces[-1][1], entry.stop)
        elif entry.nbytes:
            pieces.append((shard, entry.start, entry.stop))
    text = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    tensors = tuple(TensorEntry(name, fields["dtype"], tuple(fields["shape"]), *(start + at for at in fields["data_offsets"]))
                    for name, fields in listed.items() if name != "__metadata__")
    return NewFile(file_name, len(text).to_bytes(8, "little") + text, tuple(pieces), tensors)


def _file_name(part, taken):            # layers.*.ffn.gate -> "layers._.ffn.gate.safetensors"
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", part).strip(".")[:100] or "part"
    name = f"{stem}.safetensors"
    number = 1
    while name in taken or name == INDEX:
        number += 1
        name = f"{stem}-{number}.safetensors"
    return name
