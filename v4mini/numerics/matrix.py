"""Matrix: a weight as the file stores it, decoded when asked.

    format   codes                        scale (ue8m0)                        a weight is
    f32      float32        [out, in]     -                                    the code
    bf16     bfloat16       [out, in]     -                                    the code
    fp8      float8_e4m3fn  [out, in]     [ceil(out/128), ceil(in/128)]        code * scale of its 128x128 tile
    fp4      int8           [out, in/2]   [out, in/32]                         code * scale of its 1x32 block

Not here: how codes and scales are made (blocks.py), products (ops/), names and files (weights/).
"""

from dataclasses import dataclass, field

import ml_dtypes
import numpy as np

from v4mini.numerics import bf16, e2m1, e4m3, ue8m0
from v4mini.numerics.strips import row_strips
from v4mini.shapes import Refused

TILE = 128       # FP8: a scale per TILE x TILE weights
BLOCK = 32       # FP4: a scale per BLOCK weights of one row

FORMATS = {
    np.dtype(np.float32): "f32",
    np.dtype(ml_dtypes.bfloat16): "bf16",
    np.dtype(ml_dtypes.float8_e4m3fn): "fp8",
    np.dtype(np.int8): "fp4",
}


def scale_shape(format, out, width):                    # -> the shape of the scales, or None
    """Shape of the scales that belong to a weight [out, width] in `format`."""
    if format == "fp8":
        return -(-out // TILE), -(-width // TILE)
    return (out, width // BLOCK) if format == "fp4" else None


CODE_DTYPES = {"fp8": np.dtype(ml_dtypes.float8_e4m3fn), "fp4": np.dtype(np.int8)}
_BYTE_SCALES = {np.dtype(ml_dtypes.float8_e8m0fnu), np.dtype(np.uint8), np.dtype(np.int8)}


def as_codes(codes, format):                            # -> the same array under the dtype that Matrix knows; no copy
    """Codes as people store them: FP8 and FP4 also come as uint8 or int8 bytes. Floats are returned as they are."""
    kind = CODE_DTYPES.get(format)
    return codes if kind is None or codes.dtype == kind else codes.view(kind)


def as_scale(scale, name="matrix"):                     # -> ue8m0 of the same shape
    """Scales as people store them: ue8m0 under its own dtype or as bytes (viewed), or floats that are powers of two (encoded).

    Refused for a float that ue8m0 cannot hold: V4's scales are powers of two, and rounding one would change weights.
    """
    if scale is None or scale.dtype == ml_dtypes.float8_e8m0fnu:
        return scale
    if scale.dtype in _BYTE_SCALES:
        return scale.view(ml_dtypes.float8_e8m0fnu)
    values = np.asarray(scale, np.float32)
    with np.errstate(invalid="ignore"):
        fits = (np.frexp(values)[0] == 0.5) & (values >= 2.0**-127)
    if not fits.all():
        place = np.argwhere(~fits)[0].tolist()
        raise Refused(f"{name} scale: expected powers of two, got {values[tuple(place)]} at {place}, {int((~fits).sum()):,} such "
                      "in all. V4's are (ue8m0); were these weights quantised by another program, or is the file damaged?")
    return ue8m0.encode(values)


def by_blocks(step, values, scale, block):              # float32 [n, in], [n, ceil(in/block)] -> nothing
    """values = step(values, scale) in place; each scale serves `block` neighbours, the last one perhaps fewer."""
    n, width = values.shape
    whole = width // block
    body = values[:, :whole * block].reshape(n, whole, block)
    step(body, scale[:, :whole, None], out=body)
    if width % block:
        tail = values[:, whole * block:]
        step(tail, scale[:, whole:], out=tail)


class StoredMatrix:
    """What operations ask of a weight [out, in], wherever its codes are.

    Subclasses have `name`, `shape` (in weights), `format` (of the table above), `is_quantised`, `nbytes` as stored, and `codes`
    and `scale` (None where the format has none), which may be fetched anew each time they are asked for.
    """

    keep = False                    # whether dense() is remembered
    _scales_are_checked = False

    def __repr__(self):
        return f"<{self.name}: {self.format} {list(self.shape)}, {self.nbytes:,} bytes>"

    @property
    def dense_nbytes(self):
        """Bytes of dense(): 4 per weight."""
        return 4 * self.shape[0] * self.shape[1]

    def rows(self, start, stop):                        # -> float32 [stop - start, in]
        """Rows start..stop decoded, and no others; any start will do. f32 codes are returned as a view."""
        if not 0 <= start <= stop <= self.shape[0]:
            raise Refused(f"{self.name}: expected rows within 0..{self.shape[0]}, got {start}..{stop}.")
        return self._decode(slice(start, stop))

    def take(self, ids):                                # ints [n] -> float32 [n, in]
        """The rows named by `ids`, decoded: an embedding. Refused for an id that is not a row."""
        ids = np.asarray(ids, np.intp)
        if ids.ndim != 1:
            raise Refused(f"{self.name}: expected ids [n], got {list(ids.shape)}.")
        wrong = ids[(ids < 0) | (ids >= self.shape[0])]
        if wrong.size:                                  # NumPy would count a negative id from the end
            raise Refused(f"{self.name}: expected ids within 0..{self.shape[0] - 1}, got {wrong[0]}.")
        return self._decode(ids)

    def dense(self):                                    # -> float32 [out, in]
        """The whole weight. f32 codes are returned as they are: do not write into it."""
        return self.codes if self.format == "f32" else self._decode(slice(0, self.shape[0]))

    def check_scales(self):
        """Refuse a scale that is NaN, which would spread over its whole block. Reads the scales once, at first decoding."""
        if not self.is_quantised or self._scales_are_checked:
            return
        codes = self.scale.view(np.uint8)
        if codes.max(initial=0) == ue8m0.NAN:           # the largest code; far faster to look for than places
            bad = np.argwhere(codes == ue8m0.NAN)
            raise Refused(f"{self.name} scale: NaN code at {bad[0].tolist()}, {len(bad)} in all. Is the file damaged?")
        object.__setattr__(self, "_scales_are_checked", True)

    def _decode(self, which):                           # slice or ints [n] -> float32 [n, in]
        codes = self.codes[which]
        if self.format == "f32":
            return codes
        if self.format == "bf16":
            return bf16.from_bf16(codes)
        self.check_scales()
        if self.format == "fp8":
            tile_row = np.arange(self.shape[0])[which] // TILE
            return _dequantise(codes, e4m3.TABLE, self.scale[tile_row], TILE, self.shape[1])
        return _dequantise(codes, e2m1.PAIRS, self.scale[which], BLOCK, self.shape[1])


@dataclass(frozen=True, eq=False, repr=False)
class Matrix(StoredMatrix):
    """A weight whose codes and scales are here, perhaps as read-only memory maps: nothing is read before the first decoding.

    keep: remember dense() after its first use, for 4 bytes per weight. name: what error messages call it.
    Refused: a dtype not in the table, scales missing, unwanted, or of another shape.
    """

    codes: np.ndarray
    scale: np.ndarray | None = None
    keep: bool = False
    name: str = "matrix"
    _dense: np.ndarray | None = field(default=None, init=False)

    def __post_init__(self):
        if self.codes.dtype not in FORMATS:
            wanted = ", ".join(str(dtype) for dtype in FORMATS)
            raise Refused(f"{self.name}: expected codes of dtype {wanted}, got {self.codes.dtype}.")
        if self.codes.ndim != 2:
            raise Refused(f"{self.name}: expected codes [out, in], got {list(self.codes.shape)}.")
        if self.format == "fp4" and self.shape[1] % BLOCK:
            raise Refused(f"{self.name}: FP4 scales serve {BLOCK} weights of a row each, got rows of {self.shape[1]}.")
        self._check_scale_shape()

    def _check_scale_shape(self):
        wanted = scale_shape(self.format, *self.shape)
        got = None if self.scale is None else self.scale.shape
        if wanted != got:
            raise Refused(f"{self.name}: expected {_said(wanted)} for {self.format} weights {list(self.shape)}, "
                          f"got {_said(got)}. Are codes and scale of the same tensor?")
        if got and self.scale.dtype != ml_dtypes.float8_e8m0fnu:
            raise Refused(f"{self.name} scale: expected dtype float8_e8m0fnu, got {self.scale.dtype}. "
                          f"Powers of two go through ue8m0.encode.")

    @property
    def format(self):                                   # -> "f32" | "bf16" | "fp8" | "fp4"
        return FORMATS[self.codes.dtype]

    @property
    def shape(self):                                    # -> (out, in), in weights, not in bytes
        out, width = self.codes.shape
        return out, width * 2 if self.format == "fp4" else width

    @property
    def is_quantised(self):
        return self.scale is not None

    @property
    def nbytes(self):
        """Bytes as stored: codes and scales."""
        return self.codes.nbytes + (self.scale.nbytes if self.is_quantised else 0)

    def dense(self):                                    # -> float32 [out, in]
        """The whole weight; a kept result is shared."""
        if self._dense is not None:
            return self._dense
        dense = super().dense()
        if self.keep:
            object.__setattr__(self, "_dense", dense)
        return dense


def _dequantise(codes, table, scale, block, width):     # codes of n rows, ue8m0 [n, ceil(in/block)] -> float32 [n, in]
    out = np.empty((len(codes), width), np.float32)
    scale = ue8m0.decode(scale)
    for strip in row_strips(len(codes), width):
        values = out[strip]
        # mode="clip" clips nothing, a byte has 256 values; it spares np.take a second buffer, and half the time
        np.take(table, codes[strip].view(np.uint8), out=values.view(table.dtype), mode="clip")
        by_blocks(np.multiply, values, scale[strip], block)
    return out


def _said(shape):
    return "no scale" if shape is None else f"scale {list(shape)}"
