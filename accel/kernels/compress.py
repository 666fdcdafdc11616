"""Many tokens into one entry: a softmax over tokens that each channel takes for itself.

Not here: the norm and rotation of entries (norm.py, rope.py).
"""

import triton
import triton.language as tl


@triton.jit
def compress(kv, score, ape, out, BEFORE, RATIO: tl.constexpr, SLOTS: tl.constexpr, D: tl.constexpr, BD: tl.constexpr):
    """out[e] = sum over slots of softmax(score + ape) * kv, separately for each of D channels; float32.

    kv, score [BEFORE + n * RATIO, C], ape [RATIO, C] float32 -> out [n, D]. SLOTS = RATIO (HCA): C = D, an entry pools its own
    block. SLOTS = 2 RATIO (CSA): C = 2 D, it pools the first D columns of the block before and the last D of its own; BEFORE is
    RATIO, or 0 where there is no block before the first. Grid (n, ceil(D / BD)).
    Reference: v4mini.ops.compress.compress. Source: V4 report 2.3.1-2.3.2; reference inference/model.py, class Compressor.
    """
    e = tl.program_id(0)
    d = tl.program_id(1) * BD + tl.arange(0, BD)
    s = tl.arange(0, SLOTS)
    blocks = SLOTS // RATIO
    row = BEFORE + (e - (blocks - 1)) * RATIO + s
    column = tl.minimum(d, D - 1)[None, :] + (s // RATIO * D)[:, None]
    at = tl.maximum(row, 0)[:, None] * (blocks * D) + column
    there = row[:, None] >= 0
    worth = tl.load(ape + (s % RATIO)[:, None] * (blocks * D) + column)                 # of a place in a block
    logits = tl.where(there, tl.load(score + at) + worth, -1e30)
    p = tl.exp(logits - tl.max(logits, 0)[None, :])
    p = tl.where(there, p, 0.0)
    tl.store(out + e * D + d, tl.sum(p * tl.load(kv + at), 0) / tl.sum(p, 0), mask=d < D)
