"""One safetensors file: its header, its tensors where they lie on disk, and a writer that streams.

    8 bytes    N, little-endian
    N bytes    JSON: {"name": {"dtype": "F8_E4M3", "shape": [2, 3], "data_offsets": [0, 6]}, ...}
    the rest   the tensors, one after the other, no gaps

The `safetensors` package cannot hand NumPy an FP8 or BF16 tensor; the format is so plain that reading it needs no package.
A header comes from a stranger: every number in it is checked before it is used.

Not here: folders of several files (store.py), which names a model needs (spec.py), who spells names how (names.py).
"""

import json
import math
import mmap
import os
import stat
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from v4mini.shapes import Refused
from v4mini.untrusted import brief, damaged, is_text, kind_of, parse_json
from v4mini.writing import NewFile

# In the order the safetensors package sorts them, so that our files equal its files byte for byte.
# F4 counts two elements per byte; its view is the packed bytes, with half as many columns.
DTYPES = {name: np.dtype(kind) for name, kind in {
    "BOOL": "?", "F4": "u1", "U8": "u1", "I8": "i1", "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz, "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "I16": "<i2", "U16": "<u2", "F16": "<f2", "BF16": ml_dtypes.bfloat16, "I32": "<i4", "U32": "<u4", "F32": "<f4",
    "C64": "<c8", "F64": "<f8", "I64": "<i8", "U64": "<u8"}.items()}
_RANK = {name: rank for rank, name in enumerate(DTYPES)}

# The format allows 100 MB, but parsed JSON can take 20 times its text. All of V4-Pro in one file would need about 16 MB.
MAX_HEADER_BYTES = 32 << 20
MAX_TENSORS = 400_000                                           # of a checkpoint; V4-Pro has 140,000. Each takes some 500 bytes
MAX_AXES = 32                                                   # NumPy 1's limit, the smaller one


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """What a header says of one tensor; `start` and `stop` count bytes from the beginning of the file."""

    name: str
    dtype: str                                                  # as safetensors spells it
    shape: tuple
    start: int
    stop: int

    @property
    def nbytes(self):
        return self.stop - self.start


class TensorFile:
    """An open file. Tensors are read-only views of a memory map: nothing is copied, pages come when touched.

    The map is made at the first tensor. Views stay valid after `close`; the map goes when the last view goes.
    """

    def __init__(self, path, entries, metadata, identity):
        self.path, self.entries, self.metadata = path, entries, metadata
        self._identity, self._map = identity, None

    def tensor(self, name):     # -> array, read-only
        """The tensor of that name. KeyError if there is none, Refused if the file changed since its header was read."""
        entry = self.entries[name]
        if self._map is None:
            with _open(self.path) as file:
                if _identity(file) != self._identity:
                    raise Refused(f"{self.path}: the file changed after its header was read; open it again.")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        shape = entry.shape
        if entry.dtype == "F4":
            shape = (*shape[:-1], shape[-1] // 2)
        return np.ndarray(shape, DTYPES[entry.dtype], buffer=self._map, offset=entry.start)

    @property
    def header_bytes(self):     # -> bytes before the first tensor: tensors lie without gaps to the end of the file
        return self._identity[2] - sum(entry.nbytes for entry in self.entries.values())

    def close(self):
        self._map = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def read_header(path):      # -> {name: TensorEntry}, {str: str}
    """The tensors a file says it holds, and its metadata; no tensor is read. Refused if anything does not add up."""
    with _open(path) as file:
        return _read_header(file, path)


def open_file(path):        # -> TensorFile
    """Check the header and keep it; tensors are mapped when asked for. Refused as in `read_header`."""
    with _open(path) as file:
        return TensorFile(path, *_read_header(file, path), _identity(file))


def _open(path):
    try:
        mode = os.stat(path).st_mode                            # asked first: opening a named pipe would wait for ever
        if stat.S_ISREG(mode):
            return open(path, "rb")
    except FileNotFoundError:
        raise Refused(f"{path}: there is no such file; check the path.") from None
    except (OSError, ValueError) as error:                      # ValueError: a zero byte inside the path
        reason = getattr(error, "strerror", error)
        raise Refused(f"{str(path)!r}: cannot be read ({reason}); check the path and its permissions.") from None
    raise Refused(f"{path}: expected one .safetensors file, got {kind_of(mode)}; name the file itself.")


def _identity(file):
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_header(file, path):
    length = int.from_bytes(file.read(8), "little")
    file.seek(0)
    raw = file.read(8 + length if length <= MAX_HEADER_BYTES else 64)
    return parse_header(raw, os.fstat(file.fileno()).st_size, path)


def parse_header(raw, size, what):      # -> {name: TensorEntry}, {str: str}
    """The tensors and metadata of a file of `size` bytes, from its first bytes alone: `raw` ends where the header does.

    Refused, beginning with `what`, if anything does not add up.
    """
    length = int.from_bytes(raw[:8], "little")
    if len(raw) != 8 + length or not 8 + length <= size or length > MAX_HEADER_BYTES or raw[8:9] != b"{":
        raise Refused(f"{what}: {_not_a_header(raw[:64], size, length)}")
    listed = parse_json(raw[8:], f"{what}: the header")
    metadata = listed.pop("__metadata__", {})
    if not _is_text_to_text(metadata):
        raise damaged(what, "__metadata__ to map text to text", brief(metadata))
    entries = {name: _entry(what, name, fields, 8 + length, size) for name, fields in listed.items()}
    _check_no_gaps(what, entries.values(), 8 + length, size)
    return entries, metadata


def _not_a_header(head, size, length):      # -> the rest of a sentence
    """Say what a file is when it is not a safetensors file."""
    if head.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the weights; fetch the real file (git lfs pull, or download it again)."
    if head.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return "this is a pickle or zip (a torch .pt or .bin); only safetensors are read, never pickle, so convert it first."
    if head.startswith(b"GGUF"):
        return "this is a GGUF file; only safetensors are read, so fetch the released weights."
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "this is a web page saved under that name; download the file itself."
    if size < 8:
        return f"expected at least 8 bytes of safetensors header, got {size}; download it again."
    if length > MAX_HEADER_BYTES:
        return f"expected a header of at most {MAX_HEADER_BYTES:,} bytes, got {length:,}; is this a safetensors file?"
    if 8 + length > size:
        return f"expected a header of {length:,} bytes, got a file of {size:,}; is it complete, and a safetensors file?"
    return f"expected a JSON object after the first 8 bytes, got {brief(head[8:16])}; is this a safetensors file?"


def _entry(path, name, fields, data_start, size):       # -> TensorEntry
    where = f"{path}: tensor {brief(name)}"
    if not is_text(name):
        raise damaged(path, "every name to be valid text", brief(name))
    if not isinstance(fields, dict) or set(fields) != {"dtype", "shape", "data_offsets"}:
        raise damaged(where, "the fields dtype, shape and data_offsets", brief(fields))
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    nbytes = tensor_bytes(where, dtype, shape)
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise damaged(where, "data_offsets [start, stop] with start <= stop", brief(offsets))
    start, stop = offsets
    if stop > size - data_start:
        raise Refused(f"{where}: expected it to end within {size - data_start:,} data bytes, got {stop:,}; fetch the whole file.")
    if stop - start != nbytes:
        raise damaged(where, f"{nbytes:,} bytes for {dtype} {shape}", f"{stop - start:,}")
    return TensorEntry(name, dtype, tuple(shape), data_start + start, data_start + stop)


def tensor_bytes(where, dtype, shape):      # -> bytes
    """Bytes of a tensor of this dtype and shape. Refused if either is not one the format and NumPy can hold."""
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise Refused(f"{where}: expected a dtype among {', '.join(DTYPES)}, got {brief(dtype)}; use one of these.")
    if not _are_counts(shape) or len(shape) > MAX_AXES:
        raise damaged(where, f"a shape of at most {MAX_AXES} whole numbers >= 0", brief(shape))
    # Zeros are left out, as NumPy does: [0, 2**62] of F32 has no elements and yet no array can have it.
    if math.prod(side for side in shape if side) * DTYPES[dtype].itemsize >= 2**63:
        raise damaged(where, "a shape of fewer than 2**63 bytes", brief(shape))
    if dtype == "F4":
        if not shape or shape[-1] % 2:
            raise Refused(f"{where}: expected an even last axis, as F4 packs two numbers in a byte, got {brief(shape)}; pad it.")
        return math.prod(shape) // 2
    return math.prod(shape) * DTYPES[dtype].itemsize


def _are_counts(numbers):
    # `type is int`, since True is an int to Python; bounded, since so is a number of a thousand digits
    return isinstance(numbers, list | tuple) and all(type(n) is int and 0 <= n < 2**63 for n in numbers)


def _is_text_to_text(metadata):
    return isinstance(metadata, dict) and all(is_text(key) and is_text(value) for key, value in metadata.items())


def _check_no_gaps(path, entries, data_start, size):
    reached, before = data_start, None
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != reached:
            fault = "overlaps" if entry.start < reached else "leaves a hole after"
            where = f"{path}: tensor {brief(entry.name)} {fault} {'the header' if before is None else brief(before)}"
            raise damaged(where, f"a start at byte {reached:,}", f"{entry.start:,}")
        reached, before = entry.stop, entry.name
    if reached != size:
        raise damaged(path, f"the last tensor to end where the file ends, at byte {size:,}", f"{reached:,}")


def write_file(path, tensors, metadata=None, progress=None, finish=None):       # -> bytes written, header included
    """Write (name, dtype, shape, chunks) tuples; the file appears under its name only when it is complete.

    `chunks()` yields arrays or bytes that follow each other: only one is in memory at a time. Arrays have the tensor's dtype, or
    are uint8 codes. Tensors lie widest type first, then by name, as the safetensors package has them, so that each is aligned.
    `progress(bytes_so_far)` is called after every chunk, `finish(file)` at the end: it may read and change what was written.
    Whatever goes wrong, an old file of that name stays as it was.
    Refused on a tensor that does not fit its shape, a name twice, no room, a place that cannot be written.
    """
    new = begin_file(path, tensors, metadata, progress, finish)
    try:
        new.take_place()
    except BaseException:
        new.drop()
        raise
    return new.wanted


def begin_file(path, tensors, metadata=None, progress=None, finish=None, is_hashed=False):      # -> NewFile, sealed
    """As write_file, but the file waits under a temporary name, to take its place together with others."""
    planned, header = _plan(path, tensors, metadata or {})
    new = NewFile(path, len(header) + sum(nbytes for *_, nbytes in planned), is_hashed)
    try:
        new.write(header)
        written = 0
        for name, dtype, chunks, nbytes in planned:
            for raw in _checked_chunks(f"{path}: tensor {brief(name)}", dtype, chunks, nbytes):
                new.write(raw)
                written += len(raw)
                if progress:
                    progress(written)
        if finish:
            finish(new.file)
        new.seal()
    except BaseException:                                       # Ctrl-C too
        new.drop()
        raise
    return new


def _plan(path, tensors, metadata):     # -> [(name, dtype, chunks, bytes)], header bytes
    if not _is_text_to_text(metadata):
        raise Refused(f"{path}: expected metadata that maps text to text, got {brief(metadata)}; turn its values into str.")
    listed = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    planned = []
    offset = 0
    tensors = [(name, tensor_bytes(f"{path}: tensor {brief(name)}", dtype, shape), dtype, shape, chunks)
               for name, dtype, shape, chunks in tensors]
    for name, nbytes, dtype, shape, chunks in sorted(tensors, key=lambda t: (-_RANK[t[2]], str(t[0]))):
        if not is_text(name) or name == "__metadata__" or name in listed:
            raise Refused(f"{path}: expected every tensor under its own name, got {brief(name)} twice or no name at all.")
        listed[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, offset + nbytes]}
        planned.append((name, dtype, chunks, nbytes))
        offset += nbytes
    text = json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)                             # so that the data begin on a multiple of 8
    if len(text) > MAX_HEADER_BYTES:
        raise Refused(f"{path}: expected a header of at most {MAX_HEADER_BYTES:,} bytes, got {len(text):,}; use more shards.")
    return planned, len(text).to_bytes(8, "little") + text


def _checked_chunks(where, dtype, chunks, nbytes):      # yields flat byte views
    given = 0
    for chunk in chunks():
        if isinstance(chunk, np.ndarray):
            if chunk.dtype.newbyteorder("=") not in (DTYPES[dtype], np.uint8):
                raise Refused(f"{where}: expected chunks of {DTYPES[dtype]} (or uint8 codes), got {chunk.dtype}; convert them.")
            chunk = np.ascontiguousarray(chunk, chunk.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)
        if not memoryview(chunk).nbytes:
            continue
        raw = memoryview(chunk).cast("B")
        given += len(raw)
        if given > nbytes:
            break
        yield raw
    if given != nbytes:
        more = "at least " if given > nbytes else ""
        raise Refused(f"{where}: expected chunks of {nbytes:,} bytes together, got {more}{given:,}; do they fit its shape?")
