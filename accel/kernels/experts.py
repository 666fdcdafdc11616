"""Products of rows with stored matrices, one matrix (expert) per block of rows; weights are decoded on the way, never kept.

    FP4   codes [E, N, K / 2] int8, the low nibble is the even column;  scales [E, N, K / 32]
    FP8   codes [E, N, K] int8;                                         scales [E, ceil(N / 128), ceil(K / 128)]

Both exactly as released; scales are ue8m0 bytes. For FP4 a row of x is split, its even columns and then its odd ones,
[rows, 2, K / 2], so that both nibbles of a byte meet contiguous numbers. The weight is the left factor: its BN rows fill a tensor
core's tile even where an expert has few tokens.
Not here: which rows go to which expert, and the sum over a token's experts (launch.py).
"""

import triton
import triton.language as tl


@triton.jit
def _ue8m0(byte):
    """int8 codes -> float32 powers of two. Code 0 is 2^-127, a subnormal; 255 (NaN) is refused when weights are placed."""
    b = byte.to(tl.int32) & 255
    return tl.where(b == 0, 4194304, b << 23).to(tl.float32, bitcast=True)


@triton.jit
def _e2m1(nibble):
    """int32 of 0..15 -> float32: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and the same with a minus."""
    m = nibble & 7
    halves = (m + tl.maximum(m - 4, 0) + 2 * tl.maximum(m - 6, 0)).to(tl.float32)
    return tl.where(nibble >= 8, -0.5, 0.5) * halves


@triton.jit
def _e4m3(byte):
    """int8 codes -> float32, by bits: 4 of exponent (bias 7), 3 of mantissa. NaN codes are refused when weights are placed."""
    b = byte.to(tl.int32) & 255
    value = (((b & 127) << 20) + 1006632960).to(tl.float32, bitcast=True)              # bias 127 - 7 = 120 put in: 120 << 23
    value = tl.where((b & 120) == 0, (value - 0.0078125) * 2.0, value)                 # subnormal: no hidden one, exponent -6
    return tl.where(b >= 128, -value, value)


@triton.jit
def _multiply(w, x, acc, UPCAST: tl.constexpr):
    """acc [BN, BM] += w [BN, BB] float32 times the transpose of x [BM, BB]."""
    if UPCAST:
        return tl.dot(w, tl.trans(x.to(tl.float32)), acc, input_precision="ieee")
    else:
        return tl.dot(w.to(x.dtype), tl.trans(x), acc, input_precision="ieee")


@triton.jit
def _step(acc, x, codes, scales, e, r, n, start, N, K,
          BN: tl.constexpr, BB: tl.constexpr, FP4: tl.constexpr, UPCAST: tl.constexpr):
    """acc [BN, BM] takes in BB bytes of rows n of expert e: 2 BB columns in FP4, BB in FP8."""
    k = start + tl.arange(0, BB)
    if FP4:
        byte = tl.load(codes + (e * N + n[:, None]) * (K // 2) + k[None, :]).to(tl.int32) & 255
        g = start // 16 + tl.arange(0, BB // 16)
        s = _ue8m0(tl.load(scales + (e * N + n[:, None]) * (K // 32) + g[None, :]))
        s = tl.reshape(tl.broadcast_to(s[:, :, None], (BN, BB // 16, 16)), (BN, BB))
        even = tl.load(x + r[:, None] * K + k[None, :])
        acc = _multiply(_e2m1(byte & 15) * s, even, acc, UPCAST)
        odd = tl.load(x + r[:, None] * K + K // 2 + k[None, :])
        acc = _multiply(_e2m1(byte >> 4) * s, odd, acc, UPCAST)
    else:
        byte = tl.load(codes + (e * N + n[:, None]) * K + k[None, :])
        across = (K + 127) // 128
        s = _ue8m0(tl.load(scales + (e * ((N + 127) // 128) + n // 128) * across + start // 128))
        acc = _multiply(_e4m3(byte) * s[:, None], tl.load(x + r[:, None] * K + k[None, :]), acc, UPCAST)
    return acc


@triton.jit
def grouped_matmul(x, codes, scales, owner, out, N, K,
                   BM: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr, FP4: tl.constexpr, UPCAST: tl.constexpr):
    """out[r] = x[r] times the transpose of matrix owner[r // BM].

    x [blocks * BM, K] (split for FP4), codes and scales as above, owner [blocks] int32 -> out [blocks * BM, N] float32.
    BB bytes of a weight row at once; it divides the row, and in FP8 it divides 128. Grid (blocks, ceil(N / BN)).
    Reference: x @ Matrix.dense().T, v4mini.numerics.matrix. Source: reference inference/kernel.py, fp4_gemm and fp8_gemm.
    """
    block = tl.program_id(0)
    e = tl.load(owner + block)
    r = block * BM + tl.arange(0, BM)
    j = tl.program_id(1) * BN + tl.arange(0, BN)
    n = tl.minimum(j, N - 1)
    acc = tl.zeros((BN, BM), tl.float32)
    for start in range(0, K // 2 if FP4 else K, BB):
        acc = _step(acc, x, codes, scales, e, r, n, start, N, K, BN, BB, FP4, UPCAST)
    tl.store(out + r[:, None] * N + j[None, :], tl.trans(acc), mask=j[None, :] < N)


@triton.jit
def grouped_swiglu(x, codes1, scales1, codes3, scales3, owner, weight, out, limit, N, K,
                   BM: tl.constexpr, BN: tl.constexpr, BB: tl.constexpr, FP4: tl.constexpr, UPCAST: tl.constexpr):
    """out[r] = weight[r] * silu(min(x w1, limit)) * clip(x w3, -limit, limit): the first two products of an expert.

    weight [blocks * BM] float32, limit 0: no cut; the rest as grouped_matmul. For FP4 out [blocks * BM, 2, N / 2] is split,
    as the product with w2 wants it: a program takes weight rows of one parity. Grid (blocks, 2 ceil(N / 2 / BN)) for FP4,
    (blocks, ceil(N / BN)) for FP8. Reference: v4mini.ops.experts.expert. Source: reference inference/model.py, Expert.forward.
    """
    block = tl.program_id(0)
    e = tl.load(owner + block)
    r = block * BM + tl.arange(0, BM)
    tile = tl.program_id(1)
    if FP4:
        tiles = tl.num_programs(1) // 2
        parity = tile // tiles
        i = (tile - parity * tiles) * BN + tl.arange(0, BN)
        n = tl.minimum(i, N // 2 - 1) * 2 + parity
        inside = i < N // 2
        j = parity * (N // 2) + i
    else:
        j = tile * BN + tl.arange(0, BN)
        n = tl.minimum(j, N - 1)
        inside = j < N
    gate = tl.zeros((BN, BM), tl.float32)
    up = tl.zeros((BN, BM), tl.float32)
    for start in range(0, K // 2 if FP4 else K, BB):
        gate = _step(gate, x, codes1, scales1, e, r, n, start, N, K, BN, BB, FP4, UPCAST)
        up = _step(up, x, codes3, scales3, e, r, n, start, N, K, BN, BB, FP4, UPCAST)
    if limit > 0:
        gate = tl.minimum(gate, limit)
        up = tl.minimum(tl.maximum(up, -limit), limit)
    hidden = gate / (1.0 + tl.exp(-gate)) * up * tl.load(weight + r)[None, :]
    tl.store(out + r[:, None] * N + j[None, :], tl.trans(hidden).to(out.dtype.element_ty), mask=inside[None, :])
