"""Rows: cache rows as they are stored, and arrays of such rows that decode only what is asked of them.

    Float32         as it was computed
    BFloat16        rounded to 16 bits
    ReleasedRow     window rows and entries: FP8 | rotated dims in BF16 | a scale per 64 numbers of FP8, filled up to 8 bytes
    ReleasedKey     index keys: two FP4 numbers a byte | a scale per 32

A format is what an engine says of its rows: width (numbers in a row), columns and file_dtype (items of a stored row, and their
type in a file), and the methods of Float32. `codes` are stored rows, an array of the engine's own; slices of it can be assigned.
Not here: which rows are kept (inference/cache.py), where they lie (inference/cache_storage.py).
"""

import mmap
from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from v4mini.numerics import bf16, e2m1, e4m3, ue8m0
from v4mini.numerics.blocks import ACTIVATION_FLOOR, INDEX_FLOOR, KV_GROUP
from v4mini.numerics.matrix import BLOCK, by_blocks

SCALE_WORD = 8                  # bytes: FlashMLA's rows end on whole words, 7 scales and 1 byte of nothing
LARGE = 1 << 20                 # bytes


class Formats(NamedTuple):
    """How one engine stores the rows of a cache."""

    row: object                 # the format of window rows and entries
    key: object                 # of index keys
    state: Callable             # width -> that of unfinished blocks, which lose nothing


def formats(config, storage):                           # -> Formats, of NumPy arrays
    """Those of one storage: "float32", "bfloat16" or "released"."""
    if storage == "released":
        return Formats(ReleasedRow(config.head_dim, config.rope_head_dim), ReleasedKey(config.index_head_dim), Float32)
    plain = {"float32": Float32, "bfloat16": BFloat16}[storage]
    return Formats(plain(config.head_dim), plain(config.index_head_dim), Float32)


class Float32:
    """Nothing is lost; decoded rows are the stored ones, not a copy."""

    dtype = np.dtype(np.float32)
    file_dtype = "F32"
    on_host = True              # codes are NumPy arrays, so they may also lie in a mapped file

    def __init__(self, width):
        self.width = self.columns = width

    def empty(self, count):                             # int -> codes [count, columns], whatever lay there
        """Large ones come from the system, not from malloc: freed memory goes back at once, and untouched pages cost none."""
        nbytes = count * self.columns * self.dtype.itemsize
        if nbytes < LARGE or not hasattr(mmap, "MAP_PRIVATE"):
            return np.empty((count, self.columns), self.dtype)
        return np.ndarray((count, self.columns), self.dtype, mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

    def copy(self, codes):                              # -> codes that share nothing with these
        return codes.copy()

    def encode(self, rows):                             # [n, width] -> codes [n, columns]
        return rows

    def decode(self, codes):                            # codes [..., columns] -> float32 [..., width], for operations
        return codes

    def joined(self, pieces):                           # [codes [n, columns], ...] -> float32 [N, width], or Rows of it
        """What operations get that read a long past: pieces that lie one after the other, as one array."""
        return pieces[0] if len(pieces) == 1 and type(self) is Float32 else Rows(self, pieces)

    def to_host(self, codes):                           # -> NumPy array, for a file
        return codes

    def from_host(self, codes):                         # NumPy array, from a file -> codes
        return codes


class BFloat16(Float32):
    """Rounded to the nearest bfloat16. Numbers that were rounded to FP8 before are bfloat16 already and survive."""

    dtype = np.dtype(ml_dtypes.bfloat16)
    file_dtype = "BF16"

    def encode(self, rows):
        return bf16.to_bf16(rows)

    def decode(self, codes):
        return bf16.from_bf16(codes)


class ReleasedRow(Float32):
    """584 bytes instead of 2048 at the released sizes. Source: V4 report 2.3.4; FlashMLA's row layout.

    The rounding is numerics.blocks.round_kv's, so rows that went through it come back as they were, but for the rotated
    dims, which BF16 rounds. For a plain float32 model this storage is lossy (relative error up to 1/16).
    """

    dtype = np.dtype(np.uint8)
    file_dtype = "U8"

    def __init__(self, width, rope):
        self.width = width
        self.nope = width - rope
        self.rotated = 2 * rope
        self.groups = -(-self.nope // KV_GROUP)
        self.columns = self.nope + self.rotated + -(-self.groups // SCALE_WORD) * SCALE_WORD

    def encode(self, rows):
        nope, rotated = self.nope, self.rotated
        codes = np.zeros((len(rows), self.columns), np.uint8)
        scale, values = _scaled(rows[:, :nope], KV_GROUP, ACTIVATION_FLOOR, e4m3.MAX)
        codes[:, :nope] = e4m3.encode(values).view(np.uint8)
        codes[:, nope: nope + rotated] = bf16.to_bf16(rows[:, nope:]).view(np.uint8)
        codes[:, nope + rotated:][:, : self.groups] = scale
        return codes

    def decode(self, codes):
        flat = codes.reshape(-1, self.columns)
        nope, rotated = self.nope, self.rotated
        rows = np.empty((len(flat), self.width), np.float32)
        rows[:, :nope] = e4m3.decode(flat[:, :nope])
        by_blocks(np.multiply, rows[:, :nope], ue8m0.decode(flat[:, nope + rotated:][:, : self.groups]), KV_GROUP)
        rows[:, nope:] = bf16.from_bf16(np.ascontiguousarray(flat[:, nope: nope + rotated]).view(ml_dtypes.bfloat16))
        return rows.reshape(*codes.shape[:-1], self.width)


class ReleasedKey(Float32):
    """68 bytes instead of 512 at the released sizes, rounded as numerics.blocks.round_index does. Source: V4 report 2.3.4.

    The released indexer rotates its keys by a Hadamard transform first; without that (a plain float32 run) FP4 loses more.
    """

    dtype = np.dtype(np.uint8)
    file_dtype = "U8"

    def __init__(self, width):
        self.width = width
        self.packed = -(-width // 2)
        self.columns = self.packed + -(-width // BLOCK)

    def encode(self, rows):
        codes = np.zeros((len(rows), self.columns), np.uint8)
        scale, values = _scaled(rows, BLOCK, INDEX_FLOOR, e2m1.MAX)
        pairs = np.zeros((len(rows), 2 * self.packed), np.uint8)
        pairs[:, : self.width] = e2m1.encode(np.nan_to_num(values))     # FP4 has no NaN: such a group's scale says it
        codes[:, : self.packed] = e2m1.pack(pairs).view(np.uint8)
        codes[:, self.packed:] = scale
        return codes

    def decode(self, codes):
        flat = codes.reshape(-1, self.columns)
        rows = e2m1.decode_packed(flat[:, : self.packed])[:, : self.width]
        by_blocks(np.multiply, rows, ue8m0.decode(flat[:, self.packed:]), BLOCK)
        return rows.reshape(*codes.shape[:-1], self.width)


def _scaled(x, group, floor, top):                      # float32 [n, d] -> ue8m0 bytes [n, ceil(d/group)], float32 [n, d]
    """The scale of each group, and the numbers divided by it. A group that holds NaN or infinity has the scale NaN."""
    starts = np.arange(0, x.shape[1], group)
    amax = np.maximum.reduceat(np.abs(x), starts, axis=1) if x.size else np.zeros((len(x), len(starts)), np.float32)
    scale = ue8m0.power_of_two_at_least(np.maximum(amax, floor) / top)
    usable = np.isfinite(scale)
    values = np.array(x, np.float32)
    with np.errstate(invalid="ignore"):                 # infinity / NaN
        by_blocks(np.divide, values, np.where(usable, scale, np.float32(np.nan)), group)
    scale = np.where(usable, ue8m0.encode(np.where(usable, scale, np.float32(1))).view(np.uint8), ue8m0.NAN)
    return scale, np.clip(values, -top, top)


class Rows:
    """An array of rows [N, width] that lies in one or more pieces, in some format; indexing gives float32 arrays.

    rows[a:b] and rows[index array] decode what they name and nothing else; np.asarray(rows) and rows.T decode everything.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, format, pieces):                 # pieces: codes [n, columns], one after the other
        self.format, self.pieces = format, pieces
        self.shape = sum(len(piece) for piece in pieces), format.width

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"<{len(self):,} rows of {self.shape[1]} numbers, stored as {type(self.format).__name__}>"

    def __array__(self, dtype=None, copy=None):
        rows = self[:]
        return np.array(rows, dtype) if copy else rows.astype(dtype or np.float32, copy=False)

    @property
    def T(self):
        return self[:].T

    def __getitem__(self, which):                       # slice or int array -> float32 [..., width]
        if not isinstance(which, slice):
            return self._gathered(np.asarray(which))
        start, stop, step = which.indices(len(self))
        if step != 1:
            return self._gathered(np.arange(start, stop, step))
        parts = []
        first = 0
        for piece in self.pieces:
            part = piece[max(start - first, 0): max(stop - first, 0)]
            first += len(piece)
            if len(part):
                parts.append(self.format.decode(part))
        if not parts:
            return np.empty((0, self.shape[1]), np.float32)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _gathered(self, index):                         # ints [...] -> float32 [..., width]
        if index.size == 0:
            return np.empty((*index.shape, self.shape[1]), np.float32)
        if index.dtype.kind not in "iu":
            raise TypeError(f"rows: expected a slice or an array of integers, got {index.dtype}")
        if index.min() < -len(self) or index.max() >= len(self):
            raise IndexError(f"rows: expected {-len(self)} to {len(self) - 1}, got {index.min()} to {index.max()}")
        # neighbouring tokens choose much the same entries: each is decoded once
        distinct, back = np.unique(np.where(index < 0, index + len(self), index), return_inverse=True)
        rows = np.empty((len(distinct), self.shape[1]), np.float32)
        first = 0
        for piece in self.pieces:
            low, high = np.searchsorted(distinct, (first, first + len(piece)))
            rows[low:high] = self.format.decode(piece[distinct[low:high] - first])
            first += len(piece)
        return rows[back.reshape(index.shape)]
