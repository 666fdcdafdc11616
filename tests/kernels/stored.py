"""Weights of each stored format, for tests of whoever reads them."""

import ml_dtypes
import numpy as np

from v4mini.numerics import blocks
from v4mini.numerics.matrix import Matrix

FORMATS = ["f32", "bf16", "fp8", "fp4"]


def stored(normal, format, out, width, keep=False):
    w = normal(out, width) / np.float32(width**0.5)
    if format in ("fp8", "fp4"):
        matrix = {"fp8": blocks.quantise_fp8, "fp4": blocks.quantise_fp4}[format](w)
        return Matrix(matrix.codes, matrix.scale, keep, "w")
    return Matrix(w.astype(ml_dtypes.bfloat16) if format == "bf16" else w, None, keep, "w")
