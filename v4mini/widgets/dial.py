"""The number dial: a value in FP8, FP4, a power of two or bfloat16, bit by bit; and a block of neighbours that share a scale.

Not here: the formats (numerics/), what all explorers share (explorer.py), what the page does with a hand (dial.js).
"""

from dataclasses import dataclass

import numpy as np
from traitlets import Float, Unicode, validate

from v4mini.numerics import bf16, e2m1, e4m3, ue8m0
from v4mini.numerics.blocks import quantise_fp4, quantise_fp8
from v4mini.shapes import Refused
from v4mini.widgets.explorer import Explorer
from v4mini.widgets.packed import pack

BLOCK = 32                      # neighbours that share a scale in FP4; in FP8 a tile of 128 x 128, of which these may be part
LARGEST = float(bf16.from_bf16(np.array([0x7F7F], np.uint16))[0])      # of bfloat16


@dataclass(frozen=True)
class Format:
    """A number format: one sign bit or none, then exponent, then mantissa."""

    name: str
    about: str
    sign: int                   # bits
    exponent: int
    mantissa: int
    table: np.ndarray | None    # [codes] float32; None: bfloat16, whose codes are the upper halves of float32

    @property
    def bits(self):
        return self.sign + self.exponent + self.mantissa

    def encode(self, x):                                # float -> int, the nearest code
        """As the release stores it: e4m3 and e2m1 clipped to their largest, a scale rounded up to a power of two."""
        x = np.float32(x)
        if self.name == "bf16":
            return int(bf16.to_bf16(np.array([x])).view(np.uint16)[0])
        if self.name == "ue8m0":
            power = np.clip(ue8m0.power_of_two_at_least(np.abs(x)), np.float32(2.0**-127), np.float32(2.0**127))
            return int(ue8m0.encode(np.array([power])).view(np.uint8)[0])
        top, module = (e4m3.MAX, e4m3) if self.name == "e4m3" else (e2m1.MAX, e2m1)
        return int(np.asarray(module.encode(np.array([np.clip(x, -top, top)]))).view(np.uint8)[0])

    def decode(self, code):                             # int -> float
        """The value of a code; NaN where it means that."""
        if self.table is not None:
            return float(self.table[code])
        return float(bf16.from_bf16(np.array([code], np.uint16))[0])


FORMATS = {own.name: own for own in (
    Format("e4m3", "FP8", 1, 4, 3, e4m3.TABLE), Format("e2m1", "FP4", 1, 2, 1, e2m1.TABLE),
    Format("ue8m0", "a scale", 0, 8, 0, ue8m0.TABLE), Format("bf16", "bfloat16", 1, 8, 7, None))}


class NumberDial(Explorer):
    """Show it as the last line of a cell; or set value and format from code, and ask for tables.

    block: numbers that share a scale, by default 32 made-up weights with one outlier.
    """

    script, places, hint = "dial", ("value", "format"), "for bits to flip"
    value = Float(2.6)
    format = Unicode("e2m1")

    def __init__(self, value=2.6, format="e2m1", block=None):
        rng = np.random.default_rng(11)
        made_up = np.where(np.arange(BLOCK) == 5, 0.3, rng.normal(0, 0.02, BLOCK)).round(4)
        self.block = _block(made_up if block is None else block)
        super().__init__(value=value, format=format)

    @property
    def own(self):                                      # -> Format
        return FORMATS[self.format]

    def quantised(self, format):                        # "e4m3" or "e2m1" -> scale, float32 [BLOCK]
        """The block with one scale, and what its codes then stand for: numerics.blocks, as weights are written."""
        padded = np.zeros((1, BLOCK), np.float32)       # zeros change no scale
        padded[0, : len(self.block)] = self.block
        matrix = quantise_fp4(padded) if format == "e2m1" else quantise_fp8(padded)
        return float(ue8m0.decode(matrix.scale).max()), matrix.dense()[0, : len(self.block)]

    def error(self, format):                            # -> float: root mean square of the error, as a share of that of the block
        """How far the block is off in a format."""
        off = self.quantised(format)[1].astype(float) - self.block
        return float(np.sqrt(np.mean(off**2)) / max(np.sqrt(np.mean(self.block.astype(float) ** 2)), 1e-38))

    def tables(self):                                   # -> [(caption, header, rows)]
        """The value in all formats, and the block in two."""
        rows = []
        for own in FORMATS.values():
            code = own.encode(self.value)
            rows.append([own.name, own.about, f"0x{code:0{-(-own.bits // 4)}X}", _bits(own, code), f"{own.decode(code):.6g}"])
        blocks = []
        for name in ("e2m1", "e4m3"):
            scale, _ = self.quantised(name)
            blocks.append([name, f"2^{int(np.log2(scale))}", f"{self.error(name):.1%}"])
        return [(f"{self.value:g} in each format", ["format", "is", "code", "bits", "value"], rows),
                (f"A block of {len(self.block)} with one scale", ["format", "scale", "error"], blocks)]

    def __repr__(self):
        code = self.own.encode(self.value)
        return (f"NumberDial: {self.value:g} in {self.format} is code {code} ({_bits(self.own, code)}), which means "
                f"{self.own.decode(code):g}.")

    @validate("value", "format")
    def _known(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if name == "format" and value not in FORMATS:
            raise Refused(f"format: expected {', '.join(FORMATS)}, got {value!r}.")
        if name == "value" and not abs(value) <= LARGEST:
            raise Refused(f"value: expected a number from {-LARGEST:g} to {LARGEST:g}, got {value!r}.")
        return value

    def _data(self):
        formats = [{"name": own.name, "about": own.about, "sign": own.sign, "exponent": own.exponent, "mantissa": own.mantissa}
                   | ({} if own.table is None else {"table": pack(own.table, "float32")}) for own in FORMATS.values()]
        return {"data": {"formats": formats, "block": pack(self.block, "float32"), "most": BLOCK}}

    def _hear(self, asked):
        if "block" in asked:
            self.block = _block(asked["block"])


def _block(numbers):                                    # -> float32 [1 to BLOCK]
    numbers = np.array(numbers, np.float32).reshape(-1)
    if not 1 <= len(numbers) <= BLOCK or not np.isfinite(numbers).all():
        raise Refused(f"block: expected 1 to {BLOCK} finite numbers, got {len(numbers)}: {numbers[:4].tolist()} ...")
    return numbers


def _bits(own, code):                                   # -> "0 10 1"
    text = f"{code:0{own.bits}b}"
    parts = text[: own.sign], text[own.sign: own.sign + own.exponent], text[own.sign + own.exponent:]
    return " ".join(part for part in parts if part)
