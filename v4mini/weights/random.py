"""Random checkpoints: the first values of every tensor, in the format that the config asks for.

Every value is lively (norms near but not 1, sinks, biases and positions not 0), so that a test in which two tensors
were swapped or forgotten fails. Not here: first values that train well (training/).
"""

import zlib
from functools import cache
from statistics import NormalDist

import ml_dtypes
import numpy as np

from v4mini.numerics import e2m1, e4m3
from v4mini.numerics.matrix import TILE, Matrix
from v4mini.weights.ours import RANDOM
from v4mini.weights.spec import TensorSpec, tensors
from v4mini.weights.write import write_checkpoint

ROWS_AT_ONCE = 1 << 21                  # numbers drawn at once: a tensor larger than memory can be written
CODE_SPREAD = {"fp8": 100.0, "fp4": 2.0}    # standard deviation in units of the scale: most of the format's range is used


def random_weights(config, path, seed=0, progress=None):            # -> path
    """Write a checkpoint of random weights, any config, any size: tensors are drawn as they are written.

    The same (config, seed) gives the same bytes. Raises Refused if the disk is too small, or if the folder holds a checkpoint
    that random_weights did not write.
    """
    return write_checkpoint(path, config, random_rows(tensors(config), seed), random_metadata(seed), progress, kind=RANDOM)


def random_rows(specs, seed=0):                                     # [TensorSpec] -> [(name, dtype, shape, chunks)]
    """The tensors as `write_store` takes them, none of them drawn yet: each chunks() draws its rows, some at a time."""
    return [(name, dtype, shape, _chunks(spec, name, shape, seed)) for spec in specs for name, dtype, shape in spec.stored()]


def random_metadata(seed):                                          # -> what the files say of themselves
    return {"weights": f"random, seed {seed}"}


def random_tensors(config, seed=0):                                 # -> {stored name: array}
    """The same tensors in memory, for small configs."""
    return {name: np.concatenate(list(_chunks(spec, name, shape, seed)()))
            for spec in tensors(config) for name, _, shape in spec.stored()}


def random_matrix(shape, format, seed=0):                           # -> Matrix
    """One weight alone, as random_tensors would draw it."""
    spec = TensorSpec("random.weight", shape, format, "matrix", "")
    return Matrix(*(np.concatenate(list(_chunks(spec, name, rows, seed)())) for name, _, rows in spec.stored()))


def _chunks(spec, name, shape, seed):               # -> a function that yields the tensor's rows, some at a time
    draw = _DRAW.get(spec.first) or _DRAW["matrix"]

    def chunks():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        width = int(np.prod(shape[1:]))
        step = max(1, ROWS_AT_ONCE // max(1, width))
        for start in range(0, shape[0], step):
            rows = (min(step, shape[0] - start), *shape[1:])
            if name == spec.scale_name:
                yield _scales(rng, spec, rows)
            elif spec.format in CODE_SPREAD:
                yield _codes(rng, spec.format, rows)
            elif spec.format == "i64":
                yield _distinct(rng, rows, int(spec.first.split()[1]))
            else:
                values = draw(rng, spec.shape, rows).astype(np.float32)
                yield values.astype(ml_dtypes.bfloat16) if spec.format == "bf16" else values
    return chunks


@cache
def _codes_of_quantiles(format):                    # -> uint8 [65536]: stored bytes, one for each draw of 16 bits
    """FP8: the code of each of 65,536 quantiles of a normal distribution. FP4: two codes, each of one of 256 quantiles."""
    quantiles = 65536 if format == "fp8" else 256
    normal = NormalDist(0, CODE_SPREAD[format])
    values = np.array([normal.inv_cdf((i + 0.5) / quantiles) for i in range(quantiles)], np.float32)
    if format == "fp8":
        return e4m3.encode(np.clip(values, -e4m3.MAX, e4m3.MAX)).view(np.uint8)
    low, high = np.meshgrid(e2m1.encode(values), e2m1.encode(values))
    return e2m1.pack(np.stack([low.ravel(), high.ravel()], axis=-1)).reshape(-1).view(np.uint8)


def _codes(rng, format, rows):                      # bytes of normally distributed weights, drawn without any rounding
    kind = ml_dtypes.float8_e4m3fn if format == "fp8" else np.int8
    return _codes_of_quantiles(format)[rng.integers(0, 65536, rows, np.uint16)].view(kind)


def _scales(rng, spec, rows):                       # powers of two, so that weights spread about 1 / sqrt(in)
    typical = -np.log2(CODE_SPREAD[spec.format] * spec.shape[1] ** 0.5)
    exponents = np.floor(typical + rng.uniform(0, 2, rows) - 0.5).astype(np.int64)
    if spec.format == "fp8":                        # equal along a side that tiles do not fill: see numerics.blocks.even_tiles
        if spec.shape[0] > TILE and spec.shape[0] % TILE:
            exponents[:] = exponents[:1]            # all rows of scales come at once: 2^21 scales have 2^35 weights
        if spec.shape[1] > TILE and spec.shape[1] % TILE:
            exponents[:] = exponents[:, :1]
    return (exponents + 127).astype(np.uint8).view(ml_dtypes.float8_e8m0fnu)


def _distinct(rng, rows, n_experts):                # [n, K]: K different experts per token id, all equally likely
    return np.argsort(rng.random((rows[0], n_experts)), axis=1)[:, : rows[1]].astype(np.int64)


def _hc_base(rng, shape, rows):                     # near "read the mean, write once, keep streams apart"
    M = round((rows[0] + 1) ** 0.5) - 1
    base = np.concatenate([np.full(M, np.log(1 / (M - 0.999))), np.zeros(M), 2 * np.eye(M).ravel()])
    return base + 0.2 * rng.standard_normal(rows)


_DRAW = {
    "matrix": lambda rng, shape, rows: rng.standard_normal(rows, np.float32) * np.float32(shape[1] ** -0.5),
    "norm": lambda rng, shape, rows: 1 + 0.1 * rng.standard_normal(rows),
    "sink": lambda rng, shape, rows: rng.standard_normal(rows),
    "bias": lambda rng, shape, rows: 0.1 * rng.standard_normal(rows),
    "ape": lambda rng, shape, rows: 0.5 * rng.standard_normal(rows),
    "hc_mix_base": _hc_base,
    "hc_head_base": lambda rng, shape, rows: 0.5 * rng.standard_normal(rows) - 1,
    "hc_scale": lambda rng, shape, rows: rng.uniform(0.3, 0.7, rows),
}
