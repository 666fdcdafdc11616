"""Cache rows as tensors, stored as v4mini.numerics.rows stores them: a saved cache goes from one engine to the other.

Not here: which rows are kept (v4mini/inference/cache.py).
"""

import ml_dtypes
import numpy as np
import torch

from accel.minifloat import decode_fp4, decode_fp8, encode_fp4, encode_fp8, scaled, scales, spread, unpack
from accel.weights import send
from v4mini.numerics import e2m1, e4m3, rows
from v4mini.numerics.blocks import ACTIVATION_FLOOR, INDEX_FLOOR, KV_GROUP
from v4mini.numerics.matrix import BLOCK


def formats(config, storage, device):                   # -> v4mini.numerics.rows.Formats
    """How the rows of a cache lie on a device."""
    def state(width):
        return TorchRows(rows.Float32(width), device)
    if storage == "released":
        layout = rows.ReleasedRow(config.head_dim, config.rope_head_dim), rows.ReleasedKey(config.index_head_dim)
        return rows.Formats(ReleasedRow(layout[0], device), ReleasedKey(layout[1], device), state)
    plain = {"float32": rows.Float32, "bfloat16": rows.BFloat16}[storage]
    return rows.Formats(TorchRows(plain(config.head_dim), device), TorchRows(plain(config.index_head_dim), device), state)


class TorchRows:
    """Rows as they are, in float32 or bfloat16. layout: the same format on the host, whose bytes these are."""

    on_host = False

    def __init__(self, layout, device):
        self.layout, self.device = layout, device
        self.width, self.columns, self.dtype, self.file_dtype = layout.width, layout.columns, layout.dtype, layout.file_dtype
        self.kind = {"F32": torch.float32, "BF16": torch.bfloat16, "U8": torch.uint8}[layout.file_dtype]

    def empty(self, count):                             # int -> codes [count, columns]
        return torch.empty(count, self.columns, dtype=self.kind, device=self.device)

    def copy(self, codes):
        return codes.clone()

    def encode(self, rows):                             # float32 [n, width] -> codes [n, columns]
        return rows.to(self.kind)

    def decode(self, codes):                            # codes [..., columns] -> float32 [..., width]
        return codes.float()

    def joined(self, pieces):                           # [codes [n, columns], ...] -> float32 [N, width], or StoredRows of it
        codes = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return codes if self.kind == torch.float32 else StoredRows(self, codes)

    def to_host(self, codes):                           # -> NumPy array, for a file
        codes = codes.cpu()
        return codes.view(torch.int16).numpy().view(ml_dtypes.bfloat16) if self.kind == torch.bfloat16 else codes.numpy()

    def from_host(self, codes):                         # NumPy array, from a file -> codes
        return send(np.array(codes), self.device)


class ReleasedRow(TorchRows):
    """FP8 | rotated dims in BF16 | scales; see v4mini.numerics.rows.ReleasedRow."""

    def encode(self, rows):
        nope, codes = self.layout.nope, torch.zeros(len(rows), self.columns, dtype=torch.uint8, device=rows.device)
        scale, values = scaled(rows[:, :nope], KV_GROUP, ACTIVATION_FLOOR, e4m3.MAX)
        behind = nope + self.layout.rotated
        codes[:, :nope] = encode_fp8(values)
        codes[:, nope:behind] = rows[:, nope:].to(torch.bfloat16).contiguous().view(torch.uint8)
        codes[:, behind: behind + self.layout.groups] = scale
        return codes

    def decode(self, codes):
        nope, behind = self.layout.nope, self.layout.nope + self.layout.rotated
        scale = scales(codes[..., behind: behind + self.layout.groups])
        still = decode_fp8(codes[..., :nope].contiguous()) * spread(scale, KV_GROUP, nope)
        return torch.cat([still, codes[..., nope:behind].contiguous().view(torch.bfloat16).float()], -1)


class ReleasedKey(TorchRows):
    """Two FP4 numbers a byte | scales; see v4mini.numerics.rows.ReleasedKey."""

    def encode(self, rows):
        scale, values = scaled(rows, BLOCK, INDEX_FLOOR, e2m1.MAX)
        pairs = torch.zeros(len(rows), 2 * self.layout.packed, dtype=torch.uint8, device=rows.device)
        pairs[:, : self.width] = encode_fp4(values)
        return torch.cat([pairs[:, 0::2] | pairs[:, 1::2] << 4, scale], 1)

    def decode(self, codes):
        values = decode_fp4(unpack(codes[..., : self.layout.packed]))[..., : self.width]
        return values * spread(scales(codes[..., self.layout.packed:]), BLOCK, self.width)


class StoredRows:
    """Rows [N, width] that are decoded when asked for: rows[a:b], rows[tensor of ints]."""

    def __init__(self, format, codes):
        self.format, self.codes, self.shape = format, codes, (len(codes), format.width)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, which):
        return self.format.decode(self.codes[which])
