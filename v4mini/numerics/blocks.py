"""Which numbers share a scale, and how the scale is chosen.

    weights, FP8     tiles of 128 x 128           weights, FP4     32 neighbours of a row (MXFP4)
    activations      128 neighbours, FP8          KV rows          64 neighbours, FP8; the rotated dims stay
    index rows       32 neighbours, FP4

Always the same rule: the smallest power of two that brings the largest magnitude of the group within the format's
range, s = 2^ceil(log2(amax / 448)) for FP8 and with 6 for FP4. The round_ functions quantise and decode again, as
the reference does in place: what comes back are the float32 numbers that the codes stand for.

Not here: the codes themselves (e4m3.py, e2m1.py), when the model rounds (layers/).
"""

import numpy as np

from v4mini.numerics import e2m1, e4m3, ue8m0
from v4mini.numerics.matrix import BLOCK, TILE, Matrix, by_blocks
from v4mini.numerics.strips import row_strips
from v4mini.shapes import Refused, expect

KV_GROUP = 64
ACTIVATION_FLOOR = np.float32(1e-4)                     # the reference's: keeps an all-zero group from dividing by zero
INDEX_FLOOR = np.float32(6 * 2.0**-126)                 # the reference's: the scale stays a normal float32
SMALLEST_SCALE = np.float32(2.0**-126)                  # for weights: the same thought


def round_activations(x):                               # float32 [..., D] -> float32 [..., D]
    """FP8 round trip in groups of 128 along the last axis: what an FP8 product sees of its input.

    amax is floored at 1e-4. A group that holds NaN or infinity becomes NaN throughout. Refused if 128 does not divide D.
    Source: reference inference/kernel.py, act_quant; it multiplies by 1/448, which gives the same power of two.
    """
    x = np.asarray(x, np.float32)
    return _round_groups("activations", x, TILE, ACTIVATION_FLOOR, e4m3.MAX, e4m3.round_e4m3)


def round_kv(x, rope_head_dim):                         # float32 [..., hd] -> float32 [..., hd]
    """FP8 round trip of a KV row in groups of 64, except its last `rope_head_dim` dims, which stay as they are.

    Same rule and floor as round_activations. Refused if 64 does not divide the other dims.
    Source: reference inference/model.py, Attention and Compressor: act_quant(kv[..., :-rope_head_dim], 64, ...).
    """
    x = np.asarray(x, np.float32)
    nope = x.shape[-1] - rope_head_dim
    if not 0 <= rope_head_dim <= x.shape[-1]:
        raise Refused(f"KV row: expected rope_head_dim within 0..{x.shape[-1]}, got {rope_head_dim}.")
    rounded = _round_groups("KV row without its rotated dims", x[..., :nope], KV_GROUP,
                            ACTIVATION_FLOOR, e4m3.MAX, e4m3.round_e4m3)
    return np.concatenate([rounded, x[..., nope:]], axis=-1)


def round_index(x):                                     # float32 [..., d] -> float32 [..., d]
    """FP4 round trip in groups of 32: what the indexer sees of its queries and keys, after the Hadamard rotation.

    amax is floored at 6 * 2^-126. A group that holds NaN or infinity becomes NaN throughout. Refused if 32 does not
    divide d.
    Source: reference inference/kernel.py, fp4_act_quant.
    """
    x = np.asarray(x, np.float32)
    return _round_groups("index row", x, BLOCK, INDEX_FLOOR, e2m1.MAX, e2m1.round_e2m1)


def quantise_fp8(w, name="matrix"):                     # float32 [out, in] -> Matrix, fp8
    """Weights as e4m3 codes with one scale per 128 x 128 tile; tiles at the edges may be smaller.

    No scale is below 2^-126; an all-zero tile has exactly that one. Refused for NaN or infinite weights.
    Source: V4 report, FP8 weights; V3 report (arXiv:2412.19437) section 3.3.
    """
    w = _finite(name, w)
    scale = _scale_for(_tile_max(np.abs(w), TILE, TILE), e4m3.MAX)
    codes = e4m3.encode(_divided(w, scale[np.arange(len(w)) // TILE], TILE))
    return Matrix(codes, ue8m0.encode(scale), name=name)


def quantise_fp4(w, name="matrix"):                     # float32 [out, in] -> Matrix, fp4
    """Weights as packed e2m1 codes with one scale per 32 weights of a row (MXFP4).

    No scale is below 2^-126; an all-zero block has exactly that one, so it never is the largest of a tile and costs
    fp4_to_fp8 no range. Refused for NaN or infinite weights, or if 32 does not divide `in`.
    Source: V4 report, FP4 quantisation-aware training of the routed experts.
    """
    w = _finite(name, w)
    if w.shape[1] % BLOCK:
        raise Refused(f"{name}: FP4 scales serve {BLOCK} weights of a row each, got rows of {w.shape[1]}.")
    scale = _scale_for(_tile_max(np.abs(w), 1, BLOCK), e2m1.MAX)
    codes = e2m1.pack(e2m1.encode(_divided(w, scale, BLOCK)))
    return Matrix(codes, ue8m0.encode(scale), name=name)


def quantise(w, format, name="matrix"):                 # float32 [out, in], "fp8" | "fp4" -> Matrix
    """Weights as v4mini writes them: the two above, and FP8 tiles made even."""
    return even_tiles(quantise_fp8(w, name)) if format == "fp8" else quantise_fp4(w, name)


def even_tiles(matrix):                                 # Matrix, fp8 -> Matrix, fp8
    """Along a side that whole tiles do not fill, one scale for all: the largest. Weights far below it may lose a bit.

    transformers (5.23, 5.24) takes a side divided by its number of scales for a tile: 192 with two scales as 96 and 96, not as
    128 and 64. With equal scales both readings give the same weights. Sides of less than one tile, or of whole tiles, stay.
    """
    scale = ue8m0.decode(matrix.scale)                                          # [ceil(out/128), ceil(in/128)]
    even = scale
    for axis, size in enumerate(matrix.shape):
        if size > TILE and size % TILE:
            even = np.broadcast_to(even.max(axis=axis, keepdims=True), scale.shape)
    if (even == scale).all():
        return matrix
    values = e4m3.decode(matrix.codes)
    by_blocks(np.multiply, values, (scale / even)[np.arange(len(values)) // TILE], TILE)
    return Matrix(e4m3.encode(values), ue8m0.encode(np.ascontiguousarray(even)), matrix.keep, matrix.name)


def fp4_to_fp8(matrix):                                 # Matrix, fp4 -> Matrix, fp8
    """The same weights, to the last bit, in FP8.

    A tile's FP8 scale is the largest of its FP4 scales / 2^6: then the largest code is 6 * 2^6 = 384 <= 448. A block
    whose scale is 2^k of the tile's gets codes fp4 * 2^k, and 0.5 * 2^k needs k >= -8, e4m3's smallest number being
    2^-9. So a tile whose scales lie within 2^14 of each other is exact. Beyond, it is Refused if any weight would change.
    Source: reference inference/convert.py, which does not check; V4 report section 5.2.1.
    """
    if matrix.format != "fp4":
        raise Refused(f"{matrix.name}: fp4_to_fp8 expects fp4, got {matrix.format}.")
    matrix.check_scales()
    scale = ue8m0.decode(matrix.scale)                                          # [out, in/32]
    tile_scale = np.maximum(_tile_max(scale, TILE, TILE // BLOCK) / 64, np.float32(2.0**-127))
    per_row = tile_scale[np.arange(len(scale)) // TILE]                         # [out, ceil(in/128)]
    by_blocks(np.divide, scale, per_row, TILE // BLOCK)                         # now each block's 2^k
    values = e2m1.decode_packed(matrix.codes)                                   # [out, in]
    by_blocks(np.multiply, values, scale, BLOCK)
    converted = Matrix(e4m3.encode(values), ue8m0.encode(tile_scale), matrix.keep, matrix.name)
    _expect_equal(matrix, converted)
    return converted


def _expect_equal(matrix, converted):
    changed = np.argwhere(matrix.dense() != converted.dense())
    if len(changed):
        i, j = (changed[0] // TILE).tolist()
        scale = ue8m0.decode(matrix.scale)[i * TILE:(i + 1) * TILE, j * (TILE // BLOCK):(j + 1) * (TILE // BLOCK)]
        spread = int(np.log2(scale.max()) - np.log2(scale.min()))
        raise Refused(f"{matrix.name}: the FP4 scales of tile [{i}, {j}] spread over 2^{spread}, more than 2^14, and FP8 "
                      f"would lose {len(changed)} weights' bits. Keep this matrix in FP4.")


def _round_groups(what, x, group, floor, top, round_code):      # float32 [..., d] -> float32 [..., d]
    d = x.shape[-1]
    if d % group:
        raise Refused(f"{what}: the last axis is scaled in groups of {group}, got {d}, which {group} does not divide.")
    groups = x.reshape(x.size // group, group)                  # [G, group]
    out = np.empty_like(groups)
    with np.errstate(invalid="ignore", over="ignore"):          # inf / inf: the NaN that the docstrings promise
        for strip in row_strips(*groups.shape):
            amax = np.maximum(np.abs(groups[strip]).max(axis=-1, keepdims=True), floor)     # [G, 1]
            scale = ue8m0.power_of_two_at_least(amax / top)
            codes = round_code(np.clip(groups[strip] / scale, -top, top))
            np.multiply(codes, scale, out=out[strip])
    return out.reshape(x.shape)


def _scale_for(amax, top):                              # float32 -> float32, powers of two
    return np.maximum(ue8m0.power_of_two_at_least(amax / top), SMALLEST_SCALE)


def _divided(w, scale, block):                          # float32 [out, in], [out, ceil(in/block)] -> float32 [out, in]
    w = w.copy()
    by_blocks(np.divide, w, scale, block)
    return w


def _tile_max(x, rows, columns):                        # float32 [a, b] -> float32 [ceil(a/rows), ceil(b/columns)]
    down = np.maximum.reduceat(x, np.arange(0, x.shape[0], rows), axis=0)
    return np.maximum.reduceat(down, np.arange(0, x.shape[1], columns), axis=1)


def _finite(name, w):                                   # -> float32 [out, in], in rows
    w = np.ascontiguousarray(w, np.float32)
    expect(name, w, "out in")
    bad = np.argwhere(~np.isfinite(w))
    if len(bad):
        raise Refused(f"{name}: the weight at {bad[0].tolist()} is {w[tuple(bad[0])]}. Only finite weights can be quantised.")
    return w
