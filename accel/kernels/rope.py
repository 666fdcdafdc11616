"""Rotary positions. Not here: angles; their cosines and sines are made once a pass (launch.py)."""

import triton
import triton.language as tl


@triton.jit
def rope(x, cos, sin, HEADS, D: tl.constexpr, R: tl.constexpr, H: tl.constexpr):
    """Rotate, in place, neighbours (2i, 2i + 1) of the last R of D numbers of each row; R is a power of two.

    x [T, HEADS, D], cos and sin [T, R / 2] float32; a negated sin rotates back. Grid (T, ceil(HEADS / H)).
    Pairs are taken apart by split and put together by join: pointers of stride 2 stop Triton-Ascend's compiler.
    Reference: v4mini.ops.rope.rope. Source: arXiv:2104.09864; reference inference/model.py, apply_rotary_emb.
    """
    t = tl.program_id(0)
    h = tl.program_id(1) * H + tl.arange(0, H)
    r = tl.arange(0, R)
    i = tl.arange(0, R // 2)
    at = (t * HEADS + tl.minimum(h, HEADS - 1)[:, None]) * D + (D - R) + r[None, :]
    even, odd = tl.split(tl.reshape(tl.load(x + at), (H, R // 2, 2)))
    even = even.to(tl.float32)                          # behind the split: BiShengIR for 950 fails on a split of widened numbers
    odd = odd.to(tl.float32)
    c = tl.load(cos + t * (R // 2) + i)[None, :]
    s = tl.load(sin + t * (R // 2) + i)[None, :]
    kind = x.dtype.element_ty
    rotated = tl.reshape(tl.join((even * c - odd * s).to(kind), (even * s + odd * c).to(kind)), (H, R))
    tl.store(x + (t * HEADS + h[:, None]) * D + (D - R) + r[None, :], rotated, mask=h[:, None] < HEADS)
