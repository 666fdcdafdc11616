"""Root-mean-square norms. Not here: the one inside hc_pre (mix.py)."""

import triton
import triton.language as tl


@triton.jit
def rms_norm(x, weight, out, eps, D: tl.constexpr, BD: tl.constexpr, WEIGHTED: tl.constexpr):
    """Rows x [rows, D] divided by their root mean square, then scaled by `weight` [D] float32 if WEIGHTED -> out [rows, D].

    The mean is float32. Grid (rows,). Reference: v4mini.ops.norm.rms_norm and rms_unit. Source: arXiv:1910.07467.
    """
    row = tl.program_id(0)
    d = tl.arange(0, BD)
    square = tl.zeros((BD,), tl.float32)
    for start in range(0, D, BD):
        v = tl.load(x + row * D + start + d, mask=start + d < D, other=0.0).to(tl.float32)
        square += v * v
    inverse = 1.0 / tl.sqrt(tl.sum(square, 0) / D + eps)
    for start in range(0, D, BD):
        v = tl.load(x + row * D + start + d, mask=start + d < D, other=0.0).to(tl.float32) * inverse
        if WEIGHTED:
            v = v * tl.load(weight + start + d, mask=start + d < D, other=0.0)
        tl.store(out + row * D + start + d, v.to(out.dtype.element_ty), mask=start + d < D)
