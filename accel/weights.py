"""Weights as tensors: the same tree of nouns, its matrices stored as in the file and decoded where they lie.

Not here: what an engine does with them (reference.py), kernels that read them packed (launch.py).
"""

import warnings
from dataclasses import replace

import ml_dtypes
import numpy as np
import torch

from accel.minifloat import decode_fp4, decode_fp8, scales, spread, unpack
from v4mini.numerics.matrix import BLOCK, TILE, StoredMatrix
from v4mini.shapes import Refused
from v4mini.weights.tree import mapped

AS_BITS = {np.dtype(ml_dtypes.bfloat16): np.int16, np.dtype(ml_dtypes.float8_e4m3fn): np.uint8,
           np.dtype(ml_dtypes.float8_e8m0fnu): np.uint8}        # NumPy's names for them mean nothing to torch


def send(array, device):                                # NumPy array -> tensor; FP8, FP4 and scales as bytes
    """To the CPU nothing is copied: the tensor is the array, a memory map too. Nobody writes to what came from here."""
    bits = np.ascontiguousarray(array).view(AS_BITS.get(array.dtype, array.dtype)).reshape(array.shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        tensor = torch.from_numpy(bits)
    return (tensor.view(torch.bfloat16) if array.dtype == ml_dtypes.bfloat16 else tensor).to(device)


class TorchMatrix:
    """v4mini.numerics.matrix.Matrix on a device: codes as stored, float32 when an operation asks.

    Scales are checked when they are first read: at once if they go to a device, at the first decoding if they stay here.
    room: tensors for codes and scales, which are copied there; otherwise they get memory of their own.
    """

    def __init__(self, matrix, device, room=None):
        self.name, self.shape, self.format, self.keep = matrix.name, matrix.shape, matrix.format, matrix.keep
        self.is_quantised, self.device, self._dense = matrix.is_quantised, torch.device(device), None
        self._check = matrix.check_scales
        if self.device.type not in ("cpu", "meta"):
            self._check()
        codes = matrix.codes
        parts = [codes.view(np.uint8) if self.format == "fp4" else codes, matrix.scale if self.is_quantised else None]
        if room is None:
            self.codes, self.scale = (None if part is None else send(part, device) for part in parts)
        else:
            self.codes, self.scale = room
            for tensor, part in zip(room, parts):
                if part is not None:
                    tensor.copy_(send(part, "cpu"))

    def __repr__(self):
        return f"<{self.name}: {self.format} {list(self.shape)} on {self.device}>"

    @property
    def nbytes(self):
        """Bytes as stored: codes and scales."""
        return self.codes.nbytes + (self.scale.nbytes if self.is_quantised else 0)

    def dense(self):                                    # -> float32 [out, in]
        """The whole weight."""
        if self._dense is not None:
            return self._dense
        dense = self.rows(0, self.shape[0])
        if self.keep:
            self._dense = dense
        return dense

    def rows(self, start, stop):                        # -> float32 [stop - start, in]
        """Some rows of it."""
        return self._decode(slice(start, stop))

    def take(self, ids):                                # ints [n], tensor or NumPy array -> float32 [n, in]
        """Rows by number: an embedding."""
        return self._decode(torch.as_tensor(ids, device=self.device))

    def _decode(self, which):
        codes, width = self.codes[which], self.shape[1]
        if not self.is_quantised:
            return codes.float()
        if self.device.type == "cpu":
            self._check()
        if self.format == "fp4":
            return decode_fp4(unpack(codes)) * spread(scales(self.scale[which]), BLOCK, width)
        tile = torch.arange(self.shape[0], device=self.device)[which] // TILE
        return decode_fp8(codes) * spread(scales(self.scale[tile]), TILE, width)


def place(weights, device, experts=None):               # Weights -> Weights
    """Every matrix as a TorchMatrix, every vector and table as a tensor. What is placed already stays as it is.

    experts: as in v4mini.weights.tree.mapped.
    """
    def change(item):
        if isinstance(item, StoredMatrix):
            return TorchMatrix(item, device)
        tensor = send(item, device)
        return tensor if tensor.is_floating_point() else tensor.long()
    return mapped(weights, change, experts)


class ExpertPool:
    """The experts of a layer in stacks, for kernels that take them all at once; one of them is still pool[number].

    w1, w3 int8 [E, inter, ...], w2 int8 [E, D, ...]: codes as stored, as signed bytes. s1, s2, s3: their scales, likewise.
    """

    def __init__(self, experts, device):
        self.fp4 = experts[0].w1.format == "fp4"
        parts = {n: Stack([getattr(expert, f"w{n}") for expert in experts], device) for n in (1, 2, 3)}
        self.w1, self.w2, self.w3 = (parts[n].codes.view(torch.int8) for n in parts)
        self.s1, self.s2, self.s3 = (parts[n].scale.view(torch.int8) for n in parts)
        self.experts = tuple(replace(expert, **{f"w{n}": part.matrices[i] for n, part in parts.items()})
                             for i, expert in enumerate(experts))

    def __len__(self):
        return len(self.experts)

    def __getitem__(self, number):
        return self.experts[number]


class Stack:
    """Matrices of one shape and format, one after the other on the device; each is a view of its part."""

    def __init__(self, matrices, device):               # [Matrix, ...]
        first = TorchMatrix(matrices[0], "cpu")
        self.codes, self.scale = (torch.empty(len(matrices), *part.shape, dtype=part.dtype, device=device)
                                  for part in (first.codes, first.scale))
        self.matrices = [TorchMatrix(matrix, device, room=(self.codes[i], self.scale[i])) for i, matrix in enumerate(matrices)]


def can_stack(experts):                                 # tuple of Expert -> bool
    """Are their matrices on the host still, and all of one quantised format?"""
    matrices = [getattr(expert, name) for expert in experts for name in ("w1", "w2", "w3")]
    return all(isinstance(matrix, StoredMatrix) for matrix in matrices) and {m.format for m in matrices} in ({"fp4"}, {"fp8"})


def check_width(x, weight):
    """Refuse a weight that does not fit its input, by its name."""
    if weight.shape[1] != x.shape[-1]:
        raise Refused(f"{weight.name}: expected rows of {x.shape[-1]} numbers, got {weight.shape[1]}. Is it from another config?")
