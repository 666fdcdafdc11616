"""TorchBackend: every operation of the contract in plain PyTorch, float32: what engines of devices are compared with.

It is whole: an engine of a device inherits it, replaces operations by kernels, and runs the model from the first day. Nothing
here asks the device for a number but `experts`, once a layer: how many tokens each expert got.
Not here: weights as tensors (weights.py), rows of a cache (rows.py), kernels and what launches them (kernels/, launch.py).
"""

import numpy as np
import torch
import torch.nn.functional as F

from accel import rows as torch_rows
from accel import weights as torch_weights
from accel.minifloat import decode_fp4, decode_fp8, encode_fp4, encode_fp8, hadamard, rounded
from v4mini.backend import Backend
from v4mini.numerics import e2m1, e4m3
from v4mini.numerics.blocks import ACTIVATION_FLOOR, INDEX_FLOOR, KV_GROUP
from v4mini.numerics.matrix import BLOCK, TILE

TOKENS_AT_ONCE = 128            # of attention: bounds scratch memory, changes no number
SCORES_AT_ONCE = 1 << 24        # floats of index scores: the same
ROWS_AT_ONCE = 8192             # of a weight that is not kept in float32


class TorchBackend(Backend):
    """On any device of torch. Integers that come in as NumPy arrays are sent there; tensors are taken as they are."""

    name = "torch"
    on_host = False
    has_fixed_shapes = False    # experts asks how many tokens each expert got; an engine that never asks can be recorded

    def __init__(self, simulate=None, device="cpu"):
        super().__init__(simulate)
        self.device, self._constants = torch.device(device), {}

    # ---- weights, rows, the way out ----

    def place(self, weights):
        return torch_weights.place(weights, self.device)

    def formats(self, config, storage):
        return torch_rows.formats(config, storage, self.device)

    def host(self, x):
        if not isinstance(x, torch.Tensor):
            return np.asarray(x)
        x = x.detach().cpu()
        return (x.float() if x.dtype == torch.bfloat16 else x).numpy()

    def _ints(self, array):                             # NumPy array or tensor of integers -> int64 tensor
        return array.long() if isinstance(array, torch.Tensor) else torch.from_numpy(np.array(array, np.int64)).to(self.device)

    # ---- arrays: moved or marked, not computed with ----

    def constant(self, array):
        if id(array) not in self._constants:
            self._constants[id(array)] = array, torch_weights.send(array, self.device)
        return self._constants[id(array)][1]

    def take(self, x, rows):
        return x[self._ints(rows)]

    def concat(self, parts):
        return torch.cat(list(parts))

    def detach(self, x):
        return x.detach()

    # ---- products with weights ----

    def embed(self, ids, table):
        return table.take(self._ints(ids))

    def linear(self, x, weight):
        torch_weights.check_width(x, weight)
        x = self._rounded(x, weight)
        if weight.keep or weight.shape[0] <= ROWS_AT_ONCE:
            return F.linear(x, weight.dense())
        starts = range(0, weight.shape[0], ROWS_AT_ONCE)
        return torch.cat([F.linear(x, weight.rows(i, min(i + ROWS_AT_ONCE, weight.shape[0]))) for i in starts], -1)

    def _rounded(self, x, weight):                      # [..., in] -> [..., in]: what a product of the released script sees
        if not self.simulate or not weight.is_quantised:
            return x
        return rounded(x, TILE, ACTIVATION_FLOOR, e4m3.MAX, encode_fp8, decode_fp8)

    def grouped_linear(self, x, weight, groups):
        parts = weight.dense().unflatten(0, (groups, -1))                               # [G, out, in]
        return torch.einsum("tgi,goi->tgo", x.reshape(len(x), groups, weight.shape[1]), parts).flatten(1)

    # ---- norms and positions ----

    def rms_norm(self, x, weight, eps):
        return self.rms_unit(x, eps) * weight

    def rms_unit(self, x, eps):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps)

    def rope(self, x, positions, freqs, inverse=False):
        angles = self._ints(positions).float()[:, None] * freqs
        angles = angles.reshape(len(x), *[1] * (x.ndim - 2), freqs.shape[0])            # [T, ..., rd / 2]
        cos, sin = angles.cos(), -angles.sin() if inverse else angles.sin()
        still, pairs = x.split([x.shape[-1] - 2 * freqs.shape[0], 2 * freqs.shape[0]], -1)
        even, odd = pairs[..., 0::2], pairs[..., 1::2]
        return torch.cat([still, torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)], -1)

    # ---- residual streams ----

    def hc_expand(self, h, M):
        return h[:, None, :].expand(-1, M, -1)

    def _mixing(self, streams, hc, norm_eps):           # -> [T, n]
        flat = streams.flatten(1)
        return F.linear(flat, hc.fn) * torch.rsqrt((flat * flat).mean(1, keepdim=True) + norm_eps)

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        M, mix, base, scale = streams.shape[1], self._mixing(streams, hc, norm_eps), hc.base, hc.scale
        pre = torch.sigmoid(mix[:, :M] * scale[0] + base[:M]) + eps
        post = 2 * torch.sigmoid(mix[:, M: 2 * M] * scale[1] + base[M: 2 * M])
        comb = (mix[:, 2 * M:] * scale[2] + base[2 * M:]).unflatten(1, (M, M)).softmax(2) + eps
        comb = comb / (comb.sum(1, keepdim=True) + eps)
        for _ in range(iters - 1):
            comb = comb / (comb.sum(2, keepdim=True) + eps)
            comb = comb / (comb.sum(1, keepdim=True) + eps)
        return (pre[:, None, :] @ streams)[:, 0], post, comb

    def hc_post(self, y, streams, post, comb):
        return post[:, :, None] * y[:, None, :] + comb.transpose(1, 2) @ streams

    def hc_head(self, streams, hc, eps, norm_eps):
        weights = torch.sigmoid(self._mixing(streams, hc, norm_eps) * hc.scale[0] + hc.base) + eps
        return (weights[:, None, :] @ streams)[:, 0]

    # ---- attention ----

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
        kv, score = kv.unflatten(0, (-1, ratio)), score.unflatten(0, (-1, ratio)) + ape         # [n, ratio, C]
        if overlap:
            D, first = kv.shape[2] // 2, (torch.zeros_like(kv[0]), torch.full_like(score[0], -torch.inf))
            first = first if previous is None else (previous[0], previous[1] + ape)
            kv, score = (torch.cat([torch.cat([before[None], own[:-1]])[:, :, :D], own[:, :, D:]], 1)
                         for before, own in zip(first, (kv, score)))
        return (score.softmax(1) * kv).sum(1)

    def index_topk(self, q, keys, weights, visible, k):
        N, picks = len(keys), []
        at_once = max(1, SCORES_AT_ONCE // max(1, q.shape[1] * N))
        for strip in strips(len(q), at_once):
            near = keys[: most(visible[strip], N)]
            seen = torch.arange(len(near), device=q.device) < self._ints(visible[strip])[:, None]
            scores = torch.einsum("thn,th->tn", torch.einsum("thd,nd->thn", q[strip], near).relu_(), weights[strip])
            best = top_k(scores.masked_fill(~seen, -torch.inf), min(k, len(near)))
            best = torch.where(seen.gather(1, best), best, N).sort(1).values
            picks.append(F.pad(torch.where(best < N, best, -1), (0, min(k, N) - best.shape[1]), value=-1))
        return torch.cat(picks) if picks else torch.empty((0, min(k, N)), dtype=torch.int64, device=q.device)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        P, outs = len(rows) - len(q), [q[:0]]
        for strip in strips(len(q), TOKENS_AT_ONCE):
            lowest = max(0, P + strip.start - window + 1)
            near, begins = rows[lowest: P + strip.stop], self._ints(first[strip]) - lowest
            chosen, seen = (None if a is None else a[strip] for a in (picks, visible))
            far = None if entries is None else entries[: most(seen, len(entries))] if chosen is None else entries
            weights, far = self._weights(q[strip], near, begins, sink, window, scale, far, chosen, seen)
            out = torch.einsum("ths,sd->thd", weights[:, :, : len(near)], finite(near))
            if far is not None:
                out += torch.einsum(f"thn,{'tnd' if far.ndim == 3 else 'nd'}->thd", weights[:, :, len(near): -1], finite(far))
            outs.append(out)
        return torch.cat(outs)

    def attention_weights(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        T, S = len(q), len(rows)
        weights, _ = self._weights(q, rows, self._ints(first), sink, window, scale, entries, picks, visible)
        at = torch.arange(S - T - window + 1, S - T + 1, device=q.device) + torch.arange(T, device=q.device)[:, None]
        near = weights.gather(2, at.clamp(min=0)[:, None].expand(-1, q.shape[1], -1)) * (at >= 0)[:, None]
        return near, weights[:, :, S:-1], weights[:, :, -1]

    def _weights(self, q, rows, first, sink, window, scale, entries, picks, visible):   # -> [T, H, S + far + 1], rows of far
        T, S = len(q), len(rows)
        at = torch.arange(S, device=q.device)
        own = at[S - T:, None]
        logits = [torch.einsum("thd,sd->ths", q, rows).mul_(scale).add_(doubt(rows))]
        seen = [(at <= own) & (at > own - window) & (at >= first[:, None])]
        if picks is not None:
            far = entries[self._ints(picks).clamp(min=0)]                               # [T, K, hd]
            logits.append(torch.einsum("thd,tkd->thk", q, far).mul_(scale).add_(doubt(far)[:, None]))
            seen.append(self._ints(picks) >= 0)
        elif entries is not None:
            far = entries[:]                                                            # [N, hd]
            logits.append(torch.einsum("thd,nd->thn", q, far).mul_(scale).add_(doubt(far)))
            seen.append(torch.arange(len(far), device=q.device) < self._ints(visible)[:, None])
        logits = torch.cat(logits, 2).masked_fill_(~torch.cat(seen, 1)[:, None], -torch.inf)
        weights = torch.cat([logits, sink[None, :, None].expand(T, -1, 1)], 2).softmax(2)
        return weights, None if entries is None else far

    def round_kv(self, rows, rope_head_dim):
        if not self.simulate:
            return rows
        nope = rows.shape[-1] - rope_head_dim
        still = rounded(rows[..., :nope], KV_GROUP, ACTIVATION_FLOOR, e4m3.MAX, encode_fp8, decode_fp8)
        return torch.cat([still, rows[..., nope:]], -1)

    def round_index(self, rows):
        return rounded(hadamard(rows), BLOCK, INDEX_FLOOR, e2m1.MAX, encode_fp4, decode_fp4) if self.simulate else rows

    # ---- experts ----

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        affinities = F.softplus(scores, threshold=20).sqrt()
        unsure = 0
        if chosen is None:
            chosen, unsure = top_k(affinities + bias, k), doubt(affinities + bias)[:, None]
        chosen = self._ints(chosen)
        picked = affinities.gather(1, chosen)
        return chosen, picked / picked.sum(1, keepdim=True) * route_scale + unsure

    def expert(self, x, w, limit, weight=None):
        gate, up = self.linear(x, w.w1), self.linear(x, w.w3)
        if limit > 0:
            gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
        hidden = F.silu(gate) * up
        return self.linear(hidden if weight is None else hidden * weight[:, None], w.w2)

    def experts(self, x, chosen, weights, pool, limit):
        order = chosen.flatten().sort(stable=True).indices                              # (token, slot) by expert, then token
        tokens, scale = order // chosen.shape[1], weights.flatten()[order]
        y, stop = torch.zeros_like(x), 0
        for number, count in enumerate(self._tokens_each(chosen, len(pool))):
            start, stop = stop, stop + count
            if count:
                mine = tokens[start:stop]
                y.index_add_(0, mine, self.expert(x[mine], pool[number], limit, scale[start:stop]))
        return y

    def _tokens_each(self, chosen, experts):            # [T, K] int, int -> [experts] ints, on the host
        return torch.bincount(chosen.flatten(), minlength=experts).tolist()


def strips(count, at_once):                             # ints -> slices
    """So many tokens at a time."""
    return [slice(start, min(start + at_once, count)) for start in range(0, count, at_once)]


def most(visible, N):                                   # -> int: how many of N rows anybody sees, if the host knows
    """A count that lies on the device is not asked for: then all N, and the mask decides."""
    return N if visible is None or isinstance(visible, torch.Tensor) else int(visible.max(initial=0))


def doubt(rows):                                        # [..., D] -> [...], 0; NaN for a row that holds NaN or an infinity
    """Added to what is asked of a row: who may read it learns of it, and who may not is not reached by 0 times NaN."""
    return (rows * 0).sum(-1)


def finite(rows):                                       # [...] -> [...]
    """The rest of `doubt`: rows as they may be multiplied with weights of 0."""
    return torch.nan_to_num(rows, 0, 0, 0)


def top_k(scores, k):                                   # [T, N] -> [T, k] int64, best first
    """Of equal ones the earlier, NaN last. torch.topk promises no order among equals, so it gets numbers without equals: a
    score's bits in the order of scores, then the place, counted from the end."""
    bits = torch.where(scores == 0, 0.0, scores).view(torch.int32).long()               # -0.0 is 0.0
    rising = torch.where(bits < 0, -1 - (bits & 0x7FFFFFFF), bits).masked_fill(scores.isnan(), -(1 << 31))
    key = (rising << 31) - torch.arange(scores.shape[1], device=scores.device)
    return key.topk(k, dim=1).indices
