"""Operations by torch_npu's own fused ops, on an Ascend NPU; off by default, since none has run: AscendBackend(fused=NAMES).

Which for what chip: tiles.py. How they are called was checked against the schemas and Meta functions of a real torch_npu
(checks/schemas.py); a number of theirs nobody here has seen. `python -m accel selftest` on an NPU measures them too.

Of torch_npu 2.13 these do not fit, by its own documentation:
    npu_mhc_pre, npu_mhc_post           streams in bfloat16 or float16, and the 950 alone; V4's are summed in float32 here
    npu_mhc_sinkhorn                    the 950 alone; whether its first step is V4's softmax is not said
    npu_moe_gating_top_k                norms are softmax and sigmoid; V4 takes the square root of softplus
    npu_lightning_indexer               its mask counts keys as tokens; V4's keys are blocks of 4 tokens
    npu_grouped_matmul                  weights of 16 bits, INT8 or INT4; V4's are FP4 and FP8
Not here: the kernels that run by default (kernels/, launch.py).
"""

import torch

from accel.tiles import FUSED
from v4mini.shapes import Refused


def rms_norm(x, weight, eps):                           # [..., D], [D], both of one dtype -> [..., D]
    """v4mini.ops.norm.rms_norm."""
    return torch.ops.npu.npu_rms_norm(x, weight, epsilon=eps)[0]


def rope(x, angles, inverse):                           # [T, D] or [T, H, D], [T, R / 2], bool -> as x
    """v4mini.ops.rope.rope: the last R of D numbers, neighbours as pairs. Layout BSND with one sequence, angles as 1S1D."""
    width = 2 * angles.shape[1]
    still, turned = x.split([x.shape[-1] - width, width], -1)
    cos, sin = (part.repeat_interleave(2, 1)[None, :, None].to(x.dtype) for part in (angles.cos(), angles.sin()))
    pairs = turned.reshape(1, len(x), -1, width)
    turned = torch.ops.npu.npu_rotary_mul(pairs, cos, -sin if inverse else sin, rotary_mode="interleave")
    return torch.cat([still, turned.view(*x.shape[:-1], width)], -1)


def swiglu(gate, up, limit):                            # [T, inter] twice, float -> [T, inter]
    """v4mini.ops.experts.swiglu; limit 0: no cut."""
    both = torch.cat([gate, up], -1)
    if limit <= 0:
        return torch.ops.npu.npu_swiglu(both, dim=-1)
    return torch.ops.npu.npu_clipped_swiglu(both, dim=-1, alpha=1.0, limit=float(limit), bias=0.0, interleaved=False)


def attend(q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):        # -> float32 [T, H, D]
    """v4mini.ops.attention.attend: window and entries are one list of rows, of which each token names those it reads."""
    T, S = len(q), len(rows)
    own = torch.arange(S - T, S, device=q.device)[:, None]
    near = own - torch.arange(window, device=q.device)
    read = [torch.where(near >= first.clamp(min=0)[:, None], near, -1)]
    if entries is not None:
        rows = torch.cat([rows, entries])
        if picks is None:
            number = torch.arange(len(entries), device=q.device)
            picks = torch.where(number < visible[:, None], number, -1)
        read.append(torch.where(picks >= 0, picks + S, -1))
    indices = torch.cat(read, 1).int().sort(1, descending=True).values                          # what is none comes last
    keys = rows.bfloat16()[None, :, None].contiguous()                                          # [1, S, 1, D]
    out = torch.ops.npu.npu_sparse_flash_attention(
        q.bfloat16()[None].contiguous(), keys, keys, indices[None, :, None].contiguous(), scale, sparse_block_size=1,
        layout_query="BSND", layout_kv="BSND", sparse_mode=0, sinks=sink.float())[0]
    return out[0].float()


def expect_there(names, target):
    """Refuse an operation that has no fused op, or none for this chip, or none in this torch_npu."""
    for name in names:
        if name not in FUSED:
            raise Refused(f"fused: expected some of {', '.join(FUSED)}, got {name!r}. The others have kernels only.")
        op, targets = FUSED[name].op, FUSED[name].targets
        if target not in targets:
            raise Refused(f"fused: {name}: expected one of {', '.join(targets)}, for which torch_npu documents {op}, got "
                          f"{target}. Try without it: the kernel runs instead.")
        if not hasattr(torch.ops.npu, op):
            raise Refused(f"fused: {name}: expected a torch_npu with {op}, got one without. Try torch-npu 2.13, or without it.")


class Fused:
    """Mixed into a DeviceBackend: operations named in `fused` go to torch_npu, the others to the kernels."""

    fused = ()

    def describe(self):
        """Who runs what; the fused ops by their names."""
        return {**super().describe(), **{name: f"torch_npu: {FUSED[name].op}" for name in self.fused}}

    def rms_norm(self, x, weight, eps):
        """As Backend.rms_norm."""
        return rms_norm(x, weight, eps) if "rms_norm" in self.fused else super().rms_norm(x, weight, eps)

    def rope(self, x, positions, freqs, inverse=False):
        """As Backend.rope."""
        if "rope" not in self.fused:
            return super().rope(x, positions, freqs, inverse)
        return rope(x, self._ints(positions).float()[:, None] * freqs, inverse)

    def expert(self, x, w, limit, weight=None):
        """As Backend.expert."""
        if "expert" not in self.fused:
            return super().expert(x, w, limit, weight)
        hidden = swiglu(self.linear(x, w.w1), self.linear(x, w.w3), limit)
        return self.linear(hidden if weight is None else hidden * weight[:, None], w.w2)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        """As Backend.attend."""
        if "attend" not in self.fused:
            return super().attend(q, rows, first, sink, window, scale, entries, picks, visible)
        entries, picks, visible = (None if a is None else change(a) for a, change in
                                   ((entries, lambda rows: rows[:]), (picks, self._ints), (visible, self._ints)))
        return attend(q, rows, self._ints(first), sink, window, scale, entries, picks, visible)
