"""Attention over a window, some compressed entries, and a sink: one softmax over all three, as an online softmax.

Not here: projections and rotation; how entries were chosen (index.py).
"""

import triton
import triton.language as tl


@triton.jit
def _softmax_step(q, kv, there, top, total, acc, scale, UPCAST: tl.constexpr):
    """Take rows kv [B, DP] into the running softmax of q [H, DP]: top [H] maximum, total [H] sum, acc [H, DP]."""
    if UPCAST:
        q = q.to(tl.float32)
        kv = kv.to(tl.float32)
    logits = tl.where(there[None, :], tl.dot(q, tl.trans(kv), input_precision="ieee") * scale, -1e30)
    new_top = tl.maximum(top, tl.max(logits, 1))
    p = tl.exp(logits - new_top[:, None])
    kept = tl.exp(top - new_top)
    return new_top, total * kept + tl.sum(p, 1), tl.dot(p.to(kv.dtype), kv, acc * kept[:, None], input_precision="ieee")


@triton.jit
def _load_rows(base, index, d, D: tl.constexpr, DP: tl.constexpr):
    """Rows base[index] as [B, DP]; columns from D on are zero."""
    if DP == D:
        return tl.load(base + index[:, None] * D + d[None, :])
    else:
        return tl.load(base + index[:, None] * D + d[None, :], mask=d[None, :] < D, other=0.0)


@triton.jit
def sparse_attention(q, rows, first, entries, picks, visible, sink, out, scale, P, K, HEADS,
                     W: tl.constexpr, H: tl.constexpr, D: tl.constexpr, DP: tl.constexpr, BW: tl.constexpr, BK: tl.constexpr,
                     PICKS: tl.constexpr, HEAVY: tl.constexpr, UPCAST: tl.constexpr):
    """q [T, HEADS, D] looks at its window of rows [P + T, D], at entries [N, D] and at the sink [HEADS] float32 -> out, as q.

    Token t reads rows first[t] to P + t (int32), at most W. PICKS: entries picks [T, K] int32 of its first visible [T] slots
    (CSA). HEAVY: the first visible [T] int32 of all entries (HCA). Neither: the window alone. A negative pick is nothing, but row
    -1 - pick is read: one that the token may read, since 0 times another's NaN is NaN. Rows, entries, q and out share a dtype;
    sums are float32. Grid (T, ceil(HEADS / H)).
    The sink is where the running maximum and sum begin: it takes weight and gives nothing.
    Reference: v4mini.ops.attention.attend. Source: V4 report 2.3; reference inference/kernel.py, sparse_attn.
    """
    t = tl.program_id(0)
    h = tl.program_id(1) * H + tl.arange(0, H)
    d = tl.arange(0, DP)
    head = tl.minimum(h, HEADS - 1)
    query = _load_rows(q, t * HEADS + head, d, D, DP)
    top = tl.load(sink + head)
    total = tl.full((H,), 1.0, tl.float32)
    acc = tl.zeros((H, DP), tl.float32)
    begin = tl.load(first + t)
    for start in range(0, W, BW):                       # a constant count takes fewer registers than the true one
        i = begin + start + tl.arange(0, BW)
        kv = _load_rows(rows, tl.minimum(i, P + t), d, D, DP)
        top, total, acc = _softmax_step(query, kv, i <= P + t, top, total, acc, scale, UPCAST)
    if PICKS:
        count = tl.load(visible + t)
        for start in range(0, count, BK):
            slot = start + tl.arange(0, BK)
            i = tl.load(picks + t * K + tl.minimum(slot, count - 1))
            kv = _load_rows(entries, tl.maximum(i, -1 - i), d, D, DP)
            top, total, acc = _softmax_step(query, kv, (i >= 0) & (slot < count), top, total, acc, scale, UPCAST)
    if HEAVY:
        n = tl.load(visible + t)
        for start in range(0, n, BK):
            i = start + tl.arange(0, BK)
            kv = _load_rows(entries, tl.minimum(i, n - 1), d, D, DP)
            top, total, acc = _softmax_step(query, kv, i < n, top, total, acc, scale, UPCAST)
    inside = (h[:, None] < HEADS) & (d[None, :] < D)
    tl.store(out + (t * HEADS + h[:, None]) * D + d[None, :], (acc / total[:, None]).to(out.dtype.element_ty), mask=inside)
