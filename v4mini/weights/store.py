"""A checkpoint: a folder of safetensors shards with an index, or one file. Tensors are opened by name when asked for.

    model.safetensors.index.json        {"weight_map": {"embed.weight": "model-00001-of-00046.safetensors", ...}}
    model-00001-of-00046.safetensors    ...

160 GB open in two seconds: all headers are read and checked at once (46 shards of Flash are a few MB of JSON), so a damaged or
half-downloaded folder is refused before any work begins; tensors are mapped at first use.

Not here: the format of one file (file.py), which tensors a model needs (spec.py), who spells names how (names.py).
"""

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.untrusted import brief, is_text, parse_json, read_file
from v4mini.weights.file import MAX_TENSORS, begin_file, open_file, tensor_bytes
from v4mini.weights.ours import INDEX, LOCK, Mark, digest_of, expect_ours
from v4mini.writing import alone, make_folder, remove, write_whole

SINGLE = "model.safetensors"
SHARD_BYTES = 4 << 30
MAX_INDEX_BYTES = 32 << 20                              # the index of V4-Pro, 140,000 tensors, has about 12 MB
MAX_HEADERS_BYTES = 64 << 20                            # of all shards; V4-Pro's have about 20 MB
_ONE_OF_MANY = re.compile(r".*-\d+-of-0*([2-9]|[1-9]\d+)\.safetensors", re.ASCII)
_ONE_SLICE = re.compile(r"model(\d{1,4})-mp([2-9]|[1-9]\d{1,3})\.safetensors", re.ASCII)
MAX_SLICES = 1024                                       # of a checkpoint; V4-Pro is cut into 8 or 16
_OTHER_FORMATS = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".gguf", ".npz"}


class Store(Mapping):
    """Name -> read-only array, a view of the file on disk. Iterating gives names and reads nothing.

    `metadata` is the index's, or the one file's. Compares by identity, as comparing arrays would read everything.
    """

    def __init__(self, path, files, shard_of, metadata):
        self.path, self.metadata = path, metadata
        self._files, self._shard_of = files, shard_of   # {shard path: TensorFile}, {name: shard path}

    __eq__, __hash__ = object.__eq__, object.__hash__

    def __getitem__(self, name):
        return self._files[self._shard_of[name]].tensor(name)

    def __contains__(self, name):
        return name in self._shard_of

    def __iter__(self):
        return iter(self._shard_of)

    def __len__(self):
        return len(self._shard_of)

    def __repr__(self):
        return f"{self.path}: {len(self):,} tensors, {self.nbytes / 1e9:.3g} GB, {len(self._files)} file(s)"

    @property
    def names(self):    # -> [str], in the order of the index or header
        return list(self._shard_of)

    @property
    def shards(self):   # -> {Path: {stored name: TensorEntry}}, what the model's files hold, listed or not
        return {path: file.entries for path, file in self._files.items()}

    @property
    def nbytes(self):
        return sum(entry.nbytes for entry in self.entries().values())

    def entries(self):  # -> {name: TensorEntry}
        """Every tensor's dtype, shape and place, from the headers alone."""
        return {name: self.entry(name) for name in self}

    def entry(self, name):      # -> TensorEntry
        return self._files[self._shard_of[name]].entries[name]

    def where(self, name):      # -> Path of the shard
        return self._shard_of[name]

    def pieces(self, name):     # -> [(Path, TensorEntry)], axis
        """Where a tensor lies: in one piece, or in several that are joined along an axis (slices.py)."""
        return [(self.where(name), self.entry(name))], 0

    def close(self):
        """Let the files go; arrays already handed out keep theirs open."""
        for file in self._files.values():
            file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def open_store(path):   # -> Store
    """Open a folder with an index, a folder with one safetensors file, or the file itself.

    Refused if it is none of these, a shard is missing or damaged, or index and shards disagree.
    """
    path = Path(path)
    try:
        return _open_folder(path) if path.is_dir() else _open_single(path, path)
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}); check its permissions.") from None


def _open_folder(folder):
    listed = sorted(child.name for child in folder.iterdir() if not child.name.startswith("."))
    found = [name for name in listed if name.endswith(".safetensors")]
    if INDEX in listed:
        return _open_sharded(folder, found)
    if SINGLE in found:
        return _open_single(folder, folder / SINGLE)
    if not found:
        others = [name for name in listed if Path(name).suffix in _OTHER_FORMATS]
        only = f" (only {_some(others)}; pickle and other formats are never read)" if others else ""
        raise Refused(f"{folder}: expected .safetensors files, got none{only}. Is this the right folder?")
    if any(_ONE_SLICE.fullmatch(name) for name in found):
        return _open_slices(folder, found)
    if len(found) > 1 or _ONE_OF_MANY.fullmatch(found[0]):
        raise Refused(f"{folder}: expected {INDEX} beside shards, got {_some(found)} without it; fetch it, or name one file.")
    return _open_single(folder, folder / found[0])


def _open_slices(folder, found):
    from v4mini.weights.slices import Slices  # a kind of Store

    counts = {int(match[2]) for name in found if (match := _ONE_SLICE.fullmatch(name))}
    wanted = [f"model{number}-mp{max(counts)}.safetensors" for number in range(min(max(counts), MAX_SLICES))]
    if set(found) != set(wanted):
        lost = [name for name in wanted if name not in found]
        raise Refused(f"{folder}: expected all slices of one checkpoint, as convert.py cuts it for several processes, got "
                      f"{_some(found)}{' without ' + _some(lost) if lost else ''}. Put them into one folder, alone.")
    return Slices(folder, {folder / shard: file for shard, file in _open_shards(folder, wanted).items()})


def _some(names, most=5):       # -> "a, b and 3 more"
    rest = len(names) - most
    return ", ".join(brief(name)[1:-1] for name in names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _open_single(path, file_path):
    file = open_file(file_path)
    return Store(path, {file_path: file}, dict.fromkeys(file.entries, file_path), file.metadata)


def _open_sharded(folder, found):
    weight_map, metadata = read_index(folder / INDEX)
    shards = sorted(set(weight_map.values()))
    if SINGLE in found and SINGLE not in shards:
        raise Refused(f"{folder}: expected one checkpoint, got two, {SINGLE} and {INDEX}; name the one file, or remove one.")
    missing = [shard for shard in shards if not (folder / shard).is_file()]
    if missing:
        raise Refused(f"{folder}: expected {len(shards)} shards, got {len(shards) - len(missing)}, without {_some(missing)}; "
                      "fetch the missing ones.")
    files = _open_shards(folder, shards)
    _check_agreement(folder, files, weight_map)
    places = {shard: folder / shard for shard in shards}         # one Path for each shard, not for each of 70,000 tensors
    return Store(folder, {places[shard]: file for shard, file in files.items()},
                 {name: places[shard] for name, shard in weight_map.items()}, metadata)


def _open_shards(folder, shards):       # -> {shard: TensorFile}; what all headers take together is bounded, as what each takes is
    files = {}
    tensors = 0
    nbytes = 0
    for shard in shards:
        files[shard] = file = open_file(folder / shard)
        tensors, nbytes = tensors + len(file.entries), nbytes + file.header_bytes
        if tensors > MAX_TENSORS or nbytes > MAX_HEADERS_BYTES:
            raise Refused(f"{folder}: expected headers of {MAX_TENSORS:,} tensors and {MAX_HEADERS_BYTES:,} bytes at most, got "
                          f"{tensors:,} and {nbytes:,} in {len(files):,} of {len(shards):,} shards. V4-Pro has 140,000 tensors.")
    return files


def read_index(path):       # -> {tensor: shard}, metadata
    """What an index file says of a checkpoint in several files. Refused if a shard would lie outside its folder."""
    index = parse_json(read_file(path, MAX_INDEX_BYTES, "index", "Fetch it again."), f"{path}: the index", MAX_TENSORS)
    weight_map = index.get("weight_map")
    metadata = index.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise Refused(f"{path}: expected metadata to be an object, got {brief(metadata)}; fetch it again.")
    if not isinstance(weight_map, dict) or not weight_map:
        raise Refused(f"{path}: expected weight_map to map tensor names to shards, got {brief(weight_map)}; fetch it again.")
    seen = set()
    for name, shard in weight_map.items():
        is_known = isinstance(shard, str) and shard in seen
        if not is_text(name) or not (is_known or _stays_inside(shard)):
            raise Refused(f"{path}: expected {brief(name)} in a .safetensors file inside this folder, got {brief(shard)}; "
                          "do not open this checkpoint if you do not know who made it.")
        seen.add(shard)
    return weight_map, metadata


def _stays_inside(shard):
    """Whether the path as written leads to a safetensors file in the folder: no root, drive, backslash, `.` or `..`.

    A symbolic link may still lead out, and should: the Hugging Face cache keeps its files elsewhere and links to them. Making a
    link takes access to this disk; writing a path into an index does not.
    """
    if not is_text(shard) or not shard.endswith(".safetensors") or any(sign in shard for sign in "\\:\0"):
        return False
    return all(part not in ("", ".", "..") for part in shard.split("/"))


def _check_agreement(folder, files, shard_of):          # {shard: TensorFile}, {tensor: shard}
    for name, shard in shard_of.items():
        if name not in files[shard].entries:
            raise Refused(f"{folder}: expected {brief(name)} in {shard}, as the index says, got a shard without it; "
                          "fetch both again.")
    for shard, file in files.items():
        for name in file.entries:
            # A tensor that the index does not list is left alone: an index may choose.
            if shard_of.get(name, shard) != shard:
                raise Refused(f"{folder}: expected {brief(name)} once, got it in {shard_of[name]} and {shard}; "
                              "are two checkpoints mixed?")


def write_store(folder, tensors, shard_bytes=SHARD_BYTES, metadata=None, progress=None, kind="checkpoint", others=None):
    """Write a list of (name, dtype, shape, chunks), as `write_file` takes them, into one file or shards and their index.

    others: {name: bytes}, small files that belong to it, such as config.json. kind: what is written, for the folder's record.
    Nothing of an earlier checkpoint is touched before all that is new lies complete on the same disk (both need room); then the
    old index goes first and the new one comes last. Killed between, the folder is refused; it is never a mixture. Only files
    that we wrote are replaced or removed (ours.py). `progress(bytes_so_far)` counts all shards.
    Refused as in `write_file`, and if the folder holds a checkpoint that is not ours. -> [Path], as written
    """
    folder, tensors, others = Path(folder), list(tensors), others or {}
    shards = _share_out(folder, tensors, shard_bytes)
    expect_ours(folder, kind, [*shards, *others, INDEX])
    make_folder(folder)
    busy = f"{folder}: another process is writing into this folder. Wait for it, or choose another folder."
    with alone(folder / LOCK, busy), contextlib.ExitStack() as afterwards:
        begun = {}
        done = 0
        for name, group in shards.items():
            report = progress and (lambda written, done=done: progress(done + written))
            begun[name] = begin_file(folder / name, group, metadata, report, is_hashed=True)
            afterwards.callback(begun[name].drop)           # nothing, once it has its name
            done += sum(_size(folder, tensor) for tensor in group)
        small = others | _index(shards, {**(metadata or {}), "total_size": done})
        _take_the_place(folder, expect_ours(folder, kind, [*shards, *small, INDEX]), begun, small)
    return [folder / name for name in (*shards, *small) if name not in others]


def _size(folder, tensor):
    name, dtype, shape, _ = tensor
    return tensor_bytes(f"{folder}: tensor {brief(name)}", dtype, shape)


def _share_out(folder, tensors, shard_bytes):   # -> {file name: [tensors]}
    """Fill shards in the order given; a tensor larger than a shard gets one of its own."""
    names = set()
    groups = [[]]
    room = shard_bytes
    for tensor in tensors:
        if tensor[0] in names:
            raise Refused(f"{folder}: expected every tensor once, got {brief(tensor[0])} twice; give each its own name.")
        names.add(tensor[0])
        nbytes = _size(folder, tensor)
        if nbytes > room and groups[-1]:
            groups.append([])
            room = shard_bytes
        groups[-1].append(tensor)
        room -= nbytes
    if len(groups) == 1:
        return {SINGLE: groups[0]}
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": group for number, group in enumerate(groups, 1)}


def _index(shards, metadata):           # -> {name: bytes}, of nothing where one file holds all
    if list(shards) == [SINGLE]:
        return {}
    weight_map = {tensor[0]: name for name, group in shards.items() for tensor in group}
    return {INDEX: json.dumps({"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}, indent=2).encode()}


def _take_the_place(folder, mark, begun, small):
    """Swap an old checkpoint for files that lie complete. The record knows old and new ones until the old are gone."""
    new = {name: [file.sha256] for name, file in begun.items()}
    new |= {name: [digest_of(raw)] for name, raw in small.items()}
    mark.and_also(new).write(folder)
    remove(folder / INDEX)
    for name in mark.files:
        if name.endswith(".safetensors") and (name not in new or small):
            remove(folder / name)
    for name, raw in small.items():
        if name != INDEX:
            write_whole(folder / name, raw)
    for file in begun.values():
        file.take_place()
    if INDEX in small:
        write_whole(folder / INDEX, small[INDEX])
    Mark(mark.kind, new | {name: sums for name, sums in mark.files.items() if name not in new and (folder / name).exists()}
         ).write(folder)
