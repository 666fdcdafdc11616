"""Launches: tensors of any device in, a kernel with the tile of its chip, tensors out. Shapes are as in v4mini.backend.

Inputs may be float32 or bfloat16; what comes back is float32, as sums are. Every shape follows from the arguments' shapes
alone: no launch asks the device for a number.
Not here: kernels (kernels/), their tiles (tiles.toml), which engine launches what (device.py).
"""

import math

import torch

from accel.kernels import attention, compress, experts, index, mix, norm, rope
from accel.tiles import divisor, power_of_two, tile_of

LAUNCH = ("num_warps", "num_stages")
SCRATCH = 1 << 26               # bytes of index scores that are held at once
CHUNK = 8192                    # entries of which one program names the best


class Launcher:
    """Kernels on one target. dtype: what products multiply, float32 or bfloat16; upcast: the interpreter's float32 products."""

    def __init__(self, target, dtype=torch.bfloat16):
        self.target, self.dtype, self.upcast = target, dtype, target == "interpreter"

    def _tile(self, kernel):                            # -> block sizes, launch options
        tile = tile_of(kernel, self.target)
        return tile, {} if self.upcast else {name: tile[name] for name in LAUNCH if name in tile}

    def _in(self, x):                                   # [...] -> the same in the dtype of products, rows one after the other
        return x.to(self.dtype).contiguous()

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):      # -> [T, H, hd]
        """v4mini.ops.attention.attend; window follows from first."""
        T, heads, D = q.shape
        tile, options = self._tile("attention.sparse_attention")
        far = rows if entries is None else entries
        has_picks = entries is not None and picks is not None and picks.shape[1] > 0
        has_heavy = entries is not None and picks is None and len(entries) > 0
        first = first.int()
        if has_picks:
            picks, visible = slots(picks)
        H = min(tile["H"], power_of_two(heads))
        out = torch.empty_like(q, dtype=torch.float32)
        attention.sparse_attention[T, -(-heads // H)](
            self._in(q), self._in(rows), first, self._in(far), picks.int().contiguous() if has_picks else first,
            visible.int() if has_picks or has_heavy else first, sink.float(), out, float(scale), len(rows) - T,
            picks.shape[1] if has_picks else 1, heads, W=window, H=H, D=D, DP=power_of_two(D),
            BW=min(tile["BK"], power_of_two(window)), BK=tile["BK"], PICKS=has_picks, HEAVY=has_heavy,
            UPCAST=self.upcast, **options)
        return out

    def index_topk(self, q, keys, weights, visible, k):         # -> [T, min(k, N)] int32: rising, then -1
        """v4mini.ops.index.index_topk, a strip of tokens at a time."""
        N, k = len(keys), min(k, len(keys))
        q, keys, weights, visible = self._in(q), self._in(keys), weights.float().contiguous(), visible.int()
        strip = max(1, SCRATCH // max(1, 4 * N))
        parts = [self._strip(q[at: at + strip], keys, weights[at: at + strip], visible[at: at + strip], k)
                 for at in range(0, len(q), strip)]
        return torch.cat(parts) if parts else q.new_empty((0, k), dtype=torch.int32)

    def _strip(self, q, keys, weights, visible, k):
        (T, heads, D), N = q.shape, len(keys)
        tile, options = self._tile("index.index_scores")
        scores = torch.empty((T, N), dtype=torch.float32, device=q.device)
        index.index_scores[T, -(-N // tile["BS"])](q, keys, weights, visible, scores, N, HEADS=heads, HP=power_of_two(heads), D=D,
                                                   DP=power_of_two(D), BS=tile["BS"], UPCAST=self.upcast, **options)
        return self.best(scores, visible, k)

    def best(self, scores, visible, k):                 # [T, N] float32, [T] int32, int -> [T, k] int32
        """The k best of the first visible[t] of each row, in rising order, then -1; of equal ones the earlier."""
        T, N = scores.shape
        chunks = max(1, -(-N // CHUNK))
        picks = self._select(scores, scores, visible, chunks, min(N, CHUNK), k, False)
        if chunks > 1:
            picks = self._select(scores, picks.view(T, -1), visible, 1, chunks * k, k, True)
        return picks.view(T, k)

    def _select(self, scores, candidates, visible, chunks, chunk, k, is_second):
        T, N = scores.shape
        tile, options = self._tile("index.select_topk")
        picks = torch.empty((T, chunks, k), dtype=torch.int32, device=scores.device)
        index.select_topk[T, chunks](scores, candidates if is_second else visible, visible, picks, N, chunk, k, BS=tile["BS"],
                                     BT=tile["BT"], CANDIDATES=is_second, **options)
        return picks

    def matmul(self, x, codes, scales, fp4=False):      # [T, K], int8 [N, ...] as stored -> [T, N]
        """x times the transpose of one stored matrix."""
        return self._grouped(x, codes[None], scales[None], fp4, None)

    def batched(self, x, codes, scales, fp4=False):     # [G, T, K], int8 [G, N, ...] -> [G, T, N]
        """Each x[g] times the transpose of its own stored matrix."""
        (G, T, K), BM = x.shape, self._tile("experts.grouped_matmul")[0]["BM"]
        rows = torch.nn.functional.pad(x, (0, 0, 0, -T % BM)).reshape(-1, K)
        owner = torch.arange(G, dtype=torch.int32, device=x.device).repeat_interleave(len(rows) // G // BM)
        return self._grouped(rows, codes, scales, fp4, owner).view(G, -1, codes.shape[1])[:, :T]

    def _grouped(self, x, codes, scales, fp4, owner):   # rows in blocks of one expert; owner None: all rows meet matrix 0
        tile, options = self._tile("experts.grouped_matmul")
        rows, N = len(x), codes.shape[1]
        if owner is None:
            x = torch.nn.functional.pad(x, (0, 0, 0, -rows % tile["BM"]))
            owner = torch.zeros(len(x) // tile["BM"], dtype=torch.int32, device=x.device)
        K = x.shape[1]
        out = torch.empty((len(x), N), dtype=torch.float32, device=x.device)
        BN = min(tile["BN"], power_of_two(N))
        experts.grouped_matmul[len(owner), -(-N // BN)](
            self._in(split(x) if fp4 else x), codes, scales, owner, out, N, K, BM=tile["BM"], BN=BN,
            BB=divisor(codes.shape[2], tile["BB"]), FP4=fp4, UPCAST=self.upcast, **options)
        return out[:rows]

    def experts(self, x, chosen, weights, pool, limit):         # [T, D], [T, K], [T, K] -> [T, D]
        """v4mini.ops.experts.experts over a Pool of stored matrices, stacked; the sum runs by rising expert number."""
        tile, options = self._tile("experts.grouped_swiglu")
        BM, fp4, N = tile["BM"], pool.fp4, pool.w1.shape[1]
        order = chosen.argsort(1)
        chosen, weights = chosen.gather(1, order), weights.gather(1, order)
        place, owner = blocks_of_experts(chosen, len(pool.w1), BM)
        rows = x.new_zeros((len(owner) * BM, x.shape[1]))
        scale = torch.zeros(len(rows), dtype=torch.float32, device=x.device)
        rows[place] = x[:, None, :].expand(-1, chosen.shape[1], -1)
        scale[place] = weights.float()
        hidden = torch.empty((len(rows), N), dtype=self.dtype, device=x.device)
        BN = min(tile["BN"], power_of_two(N // 2))
        grid = len(owner), 2 * -(-N // 2 // BN) if fp4 else -(-N // BN)
        experts.grouped_swiglu[grid](
            self._in(split(rows) if fp4 else rows), pool.w1, pool.s1, pool.w3, pool.s3, owner, scale, hidden, float(limit), N,
            x.shape[1], BM=BM, BN=BN, BB=divisor(pool.w1.shape[2], tile["BB"]), FP4=fp4, UPCAST=self.upcast, **options)
        out = self._second(hidden, pool, owner)[place]          # [T, K, D]
        total = out[:, 0]
        for slot in range(1, out.shape[1]):
            total = total + out[:, slot]
        return total

    def _second(self, hidden, pool, owner):             # hidden is split already
        tile, options = self._tile("experts.grouped_matmul")
        N, BN = pool.w2.shape[1], min(tile["BN"], power_of_two(pool.w2.shape[1]))
        out = torch.empty((len(hidden), N), dtype=torch.float32, device=hidden.device)
        experts.grouped_matmul[len(owner), -(-N // BN)](
            hidden, pool.w2, pool.s2, owner, out, N, hidden.shape[1], BM=tile["BM"], BN=BN,
            BB=divisor(pool.w2.shape[2], tile["BB"]), FP4=pool.fp4, UPCAST=self.upcast, **options)
        return out

    def hc_pre(self, streams, fn, base, scale, iters, eps, norm_eps):       # [T, M, D] -> [T, D], [T, M], [T, M, M]
        """v4mini.ops.mix.hc_pre."""
        T, M, D = streams.shape
        tile, options = self._tile("mix.hc_pre")
        u, post, comb = (streams.new_empty(shape, dtype=torch.float32) for shape in ((T, D), (T, M), (T, M, M)))
        mix.hc_pre[T,](streams.contiguous(), fn, base, scale, base, u, post, comb, eps, norm_eps, M=M, D=D, ITERS=iters,
                       BD=divisor(D, tile["BD"]), NORMED=False, **options)
        return u, post, comb

    def hc_post(self, y, streams, post, comb):          # [T, D], [T, M, D], [T, M], [T, M, M] -> [T, M, D]
        """v4mini.ops.mix.hc_post."""
        T, M, D = streams.shape
        tile, options = self._tile("mix.hc_post")
        BD, out = divisor(D, tile["BD"]), streams.new_empty((T, M, D))
        arguments = (array.contiguous() for array in (y, streams, post, comb))
        mix.hc_post[T, D // BD](*arguments, out, M=M, D=D, BD=BD, **options)
        return out

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):        # [n * ratio, C] twice -> [n, hd]
        """v4mini.ops.compress.compress."""
        tile, options = self._tile("compress.compress")
        n, D = len(kv) // ratio, kv.shape[1] // (1 + overlap)
        before = ratio if overlap and previous is not None else 0
        if before:
            kv, score = torch.cat([previous[0], kv]), torch.cat([previous[1], score])
        out = kv.new_empty((n, D))
        compress.compress[n, -(-D // tile["BD"])](kv.contiguous(), score.contiguous(), ape, out, before, RATIO=ratio,
                                                  SLOTS=ratio * (1 + overlap), D=D, BD=tile["BD"], **options)
        return out

    def rope(self, x, cos, sin):                        # [T, H, hd] or [T, hd], [T, rd / 2] twice -> as x
        """v4mini.ops.rope.rope; a negated sin rotates back."""
        tile, options = self._tile("rope.rope")
        out = x.clone(memory_format=torch.contiguous_format)
        heads, D, R = math.prod(x.shape[1:-1]), x.shape[-1], 2 * cos.shape[1]
        H = min(tile["H"], power_of_two(heads, 1))
        rope.rope[len(x), -(-heads // H)](out, cos.contiguous(), sin.contiguous(), heads, D=D, R=R, H=H, **options)
        return out

    def rms_norm(self, x, weight, eps):                 # [..., D], [D] or None -> [..., D]
        """v4mini.ops.norm.rms_norm; without a weight rms_unit."""
        tile, options = self._tile("norm.rms_norm")
        D, out = x.shape[-1], torch.empty_like(x, memory_format=torch.contiguous_format)
        norm.rms_norm[x.numel() // D,](x.contiguous(), x if weight is None else weight, out, eps, D=D,
                                       BD=min(tile["BD"], power_of_two(D)), WEIGHTED=weight is not None, **options)
        return out


def slots(picks):                                       # [T, K] -> [T, K], [T]: what the kernel reads, and how many slots
    """Trailing slots of -1 are left out; one between picks names the token's last pick as -1 - pick, to be read but not seen."""
    at = torch.arange(1, picks.shape[1] + 1, device=picks.device)
    return torch.where(picks >= 0, picks, -1 - picks.amax(1, keepdim=True)), ((picks >= 0) * at).amax(1)


def split(x):                                           # [rows, K] -> [rows, K]: even columns, then odd ones
    """What FP4 kernels take: both nibbles of a byte meet contiguous numbers."""
    return x.reshape(len(x), x.shape[1] // 2, 2).transpose(1, 2).reshape(x.shape)


def blocks_of_experts(chosen, number, BM):              # [T, K] int -> place [T, K] int, owner [blocks] int32
    """Where each (token, expert) row goes so that every block of BM rows has one expert, in order of tokens.

    As many blocks as any choice could need; those that are left over belong to the last expert and meet rows of zeros.
    """
    flat = chosen.reshape(-1)
    blocks = len(flat) // BM + min(number, len(flat))
    order = torch.argsort(flat, stable=True)
    count = torch.zeros(number, dtype=torch.long, device=chosen.device).scatter_add_(0, flat, torch.ones_like(flat))
    full = (count + BM - 1) // BM                       # blocks of each expert
    begin = torch.cumsum(count, 0) - count              # its first row in the order
    start = (torch.cumsum(full, 0) - full) * BM         # its first row in the blocks
    sorted_expert = flat[order]
    place = torch.empty_like(flat)
    place[order] = start[sorted_expert] + torch.arange(len(flat), device=chosen.device) - begin[sorted_expert]
    owner = torch.searchsorted(torch.cumsum(full, 0), torch.arange(blocks, device=chosen.device), right=True)
    return place.view(chosen.shape), owner.clamp(max=number - 1).int()
