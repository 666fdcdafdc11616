"""Weights whose bytes come when an engine looks at them: the same tree of the same nouns, over a Pool.

Vectors and small tables are read at once and kept. A matrix is a Matrix like any other to whoever computes with it; that its
codes may be gone a moment later only the Pool knows. Not here: the Pool (pool.py), reading (read.py).
"""

import math

import numpy as np

from v4mini.inference.streaming.read import Tensor, lay_out
from v4mini.numerics.matrix import Matrix, StoredMatrix, as_codes, as_scale
from v4mini.shapes import Refused
from v4mini.weights.file import DTYPES
from v4mini.weights.spec import tensors
from v4mini.weights.tree import mapped

EMBED = "embed"                 # a token reads one row of it


class StreamedMatrix(StoredMatrix):
    """A matrix of which only name, shape and format are here; `codes` and `scale` are fetched, and may be fetched again."""

    def __init__(self, matrix, key, get):
        self.name = matrix.name
        self.shape = matrix.shape
        self.format = matrix.format
        self.is_quantised = matrix.is_quantised
        self.nbytes = matrix.nbytes
        self.key = key
        self._get = get

    @property
    def codes(self):
        return as_codes(self._get(self.key, f"{self.name}.weight"), self.format)

    @property
    def scale(self):
        return as_scale(self._get(self.key, f"{self.name}.scale"), self.name) if self.is_quantised else None


class StreamedTable(StreamedMatrix):
    """A matrix of which rows are wanted, and never held: an embedding."""

    @property
    def codes(self):
        return self._get(f"{self.name}.weight", np.arange(self.shape[0]))

    def _decode(self, which):
        distinct, places = np.unique(np.arange(self.shape[0])[which], return_inverse=True)
        codes = self._get(f"{self.name}.weight", distinct)
        return Matrix(codes, name=self.name).dense()[places]


def units_of(checkpoint):                               # Checkpoint -> {key: Unit}, Unit of the embedding
    """What is read at once: an expert, key (layer, number); or another matrix with its scales, key its name.

    Refused for float16 matrices: each use would have to turn them into float32.
    """
    config = checkpoint.config
    groups = {}
    joined = {}
    for spec in filter(_is_matrix, tensors(config)):
        key = _key(config, spec.name)
        for name in (spec.name, spec.scale_name) if spec.name in checkpoint.formats else (spec.name,):
            pieces, axis = _pieces(checkpoint.store, name, checkpoint.sources[name])
            groups.setdefault(key, []).extend(pieces)
            if len(pieces) > 1:
                joined.setdefault(key, {})[name] = [piece.name for piece in pieces], axis
    units = {key: lay_out(key, group, joined.get(key)) for key, group in groups.items()}
    return units, units.pop(EMBED)


def streamed(tree, config, pool):                       # Weights, Pool -> Weights
    """The same tree over the pool; vectors and tables are copied, so that nothing holds on to the files' maps."""
    def change(leaf):
        if not isinstance(leaf, Matrix):
            return np.array(leaf)
        key = _key(config, f"{leaf.name}.weight")
        if leaf.name == EMBED:
            return StreamedTable(leaf, key, pool.rows)
        return StreamedMatrix(leaf, key, pool.get)
    return mapped(tree, change)


def _is_matrix(spec):
    return spec.name.endswith(".weight") and len(spec.shape) == 2


def _key(config, name):                                 # "layers.3.ffn.experts.7.w1.weight" -> (3, 7); others: without the ending
    parts = name.split(".")
    if "experts" not in parts:
        return name.removesuffix(".weight")
    layer = int(parts[1]) + (config.n_layers if parts[0] == "mtp" else 0)
    return layer, int(parts[parts.index("experts") + 1])


def _pieces(store, name, source):                       # -> [Tensor], axis; one of its own name where it lies in one piece
    pieces, axis = store.pieces(source.name)
    names = [name] if len(pieces) == 1 else [f"{name}, piece {number}" for number in range(len(pieces))]
    return [_tensor(piece, str(path), entry, source.index) for piece, (path, entry) in zip(names, pieces)], axis


def _tensor(name, path, entry, index):                  # -> Tensor
    dtype = DTYPES[entry.dtype]
    shape = tuple(entry.shape)
    start = 0
    if entry.dtype == "F4":                             # a header counts its numbers, two of them in a byte
        shape = (*shape[:-1], shape[-1] // 2)
    if dtype == np.float16:
        raise Refused(f"{name}: expected a format that can be streamed, got float16. Open it without a memory limit.")
    if index is not ...:                                # one expert's rows of a tensor that holds all experts
        expert, rows = index
        row = dtype.itemsize * shape[2]
        start = (expert * shape[1] + rows.start) * row
        shape = (rows.stop - rows.start, shape[2])
    start += entry.start
    return Tensor(name, path, start, start + dtype.itemsize * math.prod(shape), dtype, shape)
