"""Inputs, launch grids and NumPy answers (v4mini's own operations) for every kernel, at a tiny size and at Flash's.

Not here: torch and triton, which would not both fit into the environments that read this.
"""

from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from accel.tiles import divisor, power_of_two, tile_of
from v4mini.config import Config
from v4mini.numerics.matrix import Matrix
from v4mini.ops import attention, compress, experts, index, mix, norm
from v4mini.ops import rope as rotation

SIZES = ("tiny", "flash")
FEW_EXPERTS = 3                                         # weights of so many are made; rows go to some of them


class Case(NamedTuple):
    """One launch: pointers by argument name, integers and floats, constexprs, the grid, and what must come out."""

    kernel: str                                         # module.function in accel.kernels
    arrays: dict
    scalars: dict
    constants: dict
    grid: tuple
    right: Callable                                     # () -> {argument: the answer}


def _normal(rng, *shape, dtype=np.float32):
    return rng.standard_normal(shape).astype(np.float32).astype(dtype)


def _f32(*arrays):
    return [np.asarray(a, np.float32) for a in arrays]


def _attention(far):
    def make(rng, size, tile, dtype):
        c, T, P, N = {"tiny": (Config.tiny(), 5, 13, 70), "flash": (Config.flash(), 2, 127, 1500)}[size]
        heads, D, W = c.n_heads, c.head_dim, c.window_size
        K = {"tiny": 37, "flash": c.index_topk}[size]
        q, rows, entries = (_normal(rng, *shape, dtype=dtype) for shape in ((T, heads, D), (P + T, D), (N, D)))
        picks = np.sort(np.stack([rng.permutation(N)[:K] for _ in range(T)]), 1).astype(np.int32)
        picks[:, -9:] = -1
        picks[0] = -1
        visible = np.array([N, 0, 1, N // 2, 33][:T], np.int32)
        slots = ((picks >= 0) * np.arange(1, K + 1)).max(1).astype(np.int32)
        read = picks.copy()
        picks[1:, 3], read[1:, 3] = -1, -1 - picks[1:, 2]                               # nothing between picks
        sink = _normal(rng, heads)
        H = min(tile["H"], power_of_two(heads))
        constants = {"W": W, "H": H, "D": D, "DP": power_of_two(D), "BW": min(tile["BK"], power_of_two(W)), "BK": tile["BK"],
                         "PICKS": far == "picks", "HEAVY": far == "heavy", "UPCAST": False}
        first = attention.window_starts(T, P + T, W).astype(np.int32)
        arrays = {"q": q, "rows": rows, "first": first, "entries": entries, "picks": read,
                  "visible": slots if far == "picks" else visible, "sink": sink, "out": np.zeros_like(q)}
        seen = {"picks": {"entries": _f32(entries)[0], "picks": picks.astype(np.int64)},
                "heavy": {"entries": _f32(entries)[0], "visible": visible.astype(np.int64)}, "window": {}}[far]

        def right():
            return {"out": attention.attend(*_f32(q, rows), first, sink, W, D**-0.5, **seen)}
        return (arrays, {"scale": D**-0.5, "P": P, "K": K, "HEADS": heads}, constants,
                    (T, -(-heads // H)), right)
    return make


def _index_scores(rng, size, tile, dtype):
    c, T, N = {"tiny": (Config.tiny(), 3, 100), "flash": (Config.flash(), 3, 1000)}[size]
    heads, D = c.index_n_heads, c.index_head_dim
    q, keys, weights = _normal(rng, T, heads, D, dtype=dtype), _normal(rng, N, D, dtype=dtype), _normal(rng, T, heads)
    visible = np.array([N, 7, 0], np.int32)

    def right():
        scores = index.index_scores(*_f32(q, keys), weights)
        return {"scores": np.where(np.arange(N) < visible[:, None], scores, np.float32(-7))}
    constants = {"HEADS": heads, "HP": power_of_two(heads), "D": D, "DP": power_of_two(D), "BS": tile["BS"], "UPCAST": False}
    return ({"q": q, "keys": keys, "weights": weights, "visible": visible, "scores": np.full((T, N), -7, np.float32)},
                {"N": N}, constants, (T, -(-N // tile["BS"])), right)


def _scores(rng, size):
    T, N, K, chunk = {"tiny": (4, 300, 40, 128), "flash": (2, 20000, Config.flash().index_topk, 8192)}[size]
    scores = _normal(rng, T, N)
    scores[:, ::3] = 0.0                                # relu makes ties of exactly 0 common
    scores[0, ::5] = -0.0
    scores[1, 10:30] = np.nan
    visible = np.array([N, N - 1, K + 3, K - 5][:T], np.int32)
    return scores, visible, K, chunk


def _best(scores, first, stop, k):                      # [n] -> [k] int32: rising, then -1
    best = np.sort(first + index.top_k(scores[None, first:stop], k)[0])
    return np.concatenate([best, np.full(k - len(best), -1)]).astype(np.int32)


def _chunks(scores, visible, k, chunk):                 # -> [T, chunks, k] int32
    starts = range(0, scores.shape[1], chunk)
    return np.stack([[_best(row, min(start, seen), min(start + chunk, seen), k) for start in starts]
                     for row, seen in zip(scores, visible)])


def _select_topk(rng, size, tile, dtype):
    scores, visible, K, chunk = _scores(rng, size)
    T, N = scores.shape
    chunks = -(-N // chunk)
    arrays = {"scores": scores, "candidates": np.zeros(1, np.int32), "visible": visible,
              "picks": np.zeros((T, chunks, K), np.int32)}
    return (arrays, {"N": N, "CHUNK": chunk, "K": K}, {"BS": tile["BS"], "BT": tile["BT"], "CANDIDATES": False}, (T, chunks),
                lambda: {"picks": _chunks(scores, visible, K, chunk)})


def _select_candidates(rng, size, tile, dtype):
    scores, visible, K, chunk = _scores(rng, size)
    T, N = scores.shape
    candidates = _chunks(scores, visible, K, chunk).reshape(T, -1)

    def right():                                        # the best of the best of chunks are the best of all
        return {"picks": np.stack([[_best(row, 0, seen, K)] for row, seen in zip(scores, visible)])}
    arrays = {"scores": scores, "candidates": candidates, "visible": visible, "picks": np.zeros((T, 1, K), np.int32)}
    constants = {"BS": tile["BS"], "BT": tile["BT"], "CANDIDATES": True}
    return arrays, {"N": N, "CHUNK": candidates.shape[1], "K": K}, constants, (T, 1), right


def _stored(rng, E, N, K, fp4):                         # -> codes int8, scales int8, [Matrix] of E: any bytes but NaN codes
    codes = rng.integers(-128, 128, (E, N, K // 2 if fp4 else K)).astype(np.int8)
    if not fp4:
        codes[(codes & 127) == 127] = 0
    low = 117 if fp4 else 111                           # products of a few units, where the cut of SwiGLU is felt
    scales = rng.integers(low, low + 9, (E, N, K // 32) if fp4 else (E, -(-N // 128), -(-K // 128))).astype(np.uint8)
    if not fp4:                                         # the first expert's are subnormal, or next to it
        codes[0] &= -113
        scales[0] += 12
    scales = scales.view(np.int8)
    kind = np.int8 if fp4 else ml_dtypes.float8_e4m3fn
    return codes, scales, [Matrix(c.view(kind), s.view(ml_dtypes.float8_e8m0fnu)) for c, s in zip(codes, scales)]


def _split(x):                                          # [rows, K] -> [rows, 2, K / 2]: even columns, odd columns
    return np.ascontiguousarray(x.reshape(len(x), -1, 2).swapaxes(1, 2))


def _rows_of_experts(rng, size, tile, fp4):
    c = {"tiny": Config.mini(), "flash": Config.flash()}[size]
    owner = np.array({"tiny": [2, 0, 2], "flash": [1]}[size], np.int32)
    return c.dim, c.moe_inter_dim, owner, tile["BM"] * len(owner)


def _by_owner(x, owner, matrices):                      # each block of rows times its own matrix, in float64
    parts = np.split(np.asarray(x, np.float64), len(owner))     # the order of a sum of 4,096 is BLAS's own, by threads too
    return np.concatenate([part @ matrices[e].dense().T for part, e in zip(parts, owner)])


def _grouped_matmul(fp4):
    def make(rng, size, tile, dtype):
        D, inter, owner, rows = _rows_of_experts(rng, size, tile, fp4)
        N, K = {"tiny": (inter + 32, D), "flash": (384, inter)}[size]                   # w2 has 4,096 rows, all alike
        codes, scales, matrices = _stored(rng, FEW_EXPERTS, N, K, fp4)
        x = _normal(rng, rows, K, dtype=dtype)
        BN, BB = min(tile["BN"], power_of_two(N)), divisor(K // 2 if fp4 else K, tile["BB"])
        constants = {"BM": tile["BM"], "BN": BN, "BB": BB, "FP4": fp4, "UPCAST": False}
        arrays = {"x": _split(x) if fp4 else x, "codes": codes, "scales": scales, "owner": owner,
                  "out": np.zeros((rows, N), np.float32)}
        return (arrays, {"N": N, "K": K}, constants, (len(owner), -(-N // constants["BN"])),
                    lambda: {"out": _by_owner(x, owner, matrices)})
    return make


def _grouped_swiglu(fp4):
    def make(rng, size, tile, dtype):
        K, inter, owner, rows = _rows_of_experts(rng, size, tile, fp4)
        N = {"tiny": inter + 64, "flash": 256}[size]                                    # w1 and w3 have 2,048 rows, all alike
        w1, w3 = (_stored(rng, FEW_EXPERTS, N, K, fp4) for _ in range(2))
        x, weight, limit = _normal(rng, rows, K, dtype=dtype), rng.random(rows).astype(np.float32), 2.0
        BN = min(tile["BN"], power_of_two(N // 2))
        constants = {"BM": tile["BM"], "BN": BN, "BB": divisor(K // 2 if fp4 else K, tile["BB"]), "FP4": fp4, "UPCAST": False}
        arrays = {"x": _split(x) if fp4 else x, "codes1": w1[0], "scales1": w1[1], "codes3": w3[0], "scales3": w3[1],
                  "owner": owner, "weight": weight,
                      "out": np.zeros((rows, 2, N // 2) if fp4 else (rows, N), dtype)}
        grid = len(owner), 2 * -(-N // 2 // BN) if fp4 else -(-N // BN)

        def right():
            hidden = experts.swiglu(_by_owner(x, owner, w1[2]), _by_owner(x, owner, w3[2]), limit) * weight[:, None]
            return {"out": _split(hidden) if fp4 else hidden}
        return (arrays, {"limit": limit, "N": N, "K": K}, constants, grid, right)
    return make


def _streams(rng, size, dtype):
    c, T = {"tiny": (Config.tiny(), 3), "flash": (Config.flash(), 2)}[size]
    return c, T, c.hc_mult, c.dim, _normal(rng, T, c.hc_mult, c.dim, dtype=dtype)


def _hc_pre(normed):
    def make(rng, size, tile, dtype):
        c, T, M, D, streams = _streams(rng, size, dtype)
        fn, base = _normal(rng, (2 + M) * M, M * D) * np.float32((M * D) ** -0.5), _normal(rng, (2 + M) * M)
        base *= 3                                       # far from doubly stochastic: every round of Sinkhorn is felt
        scale, weight = np.array([0.9, 1.1, 0.7], np.float32), _normal(rng, D)

        def right():
            u, post, comb = mix.hc_pre(*_f32(streams), fn, base, scale, c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps)
            return {"u": norm.rms_norm(u, weight, c.norm_eps) if normed else u, "post": post, "comb": comb}
        made = {"u": np.zeros((T, D), np.float32), "post": np.zeros((T, M), np.float32), "comb": np.zeros((T, M, M), np.float32)}
        arrays = dict(streams=streams, fn=fn, base=base, scale=scale, weight=weight, **made)
        constants = {"M": M, "D": D, "ITERS": c.hc_sinkhorn_iters, "BD": divisor(D, tile["BD"]), "NORMED": normed}
        return (arrays, {"eps": c.hc_eps, "norm_eps": c.norm_eps}, constants, (T,), right)
    return make


def _hc_post(rng, size, tile, dtype):
    _, T, M, D, streams = _streams(rng, size, dtype)
    y, post, comb = _normal(rng, T, D, dtype=dtype), _normal(rng, T, M), _normal(rng, T, M, M)
    BD = divisor(D, tile["BD"])
    arrays = {"y": y, "streams": streams, "post": post, "comb": comb, "out": np.zeros_like(streams)}
    return (arrays, {}, {"M": M, "D": D, "BD": BD}, (T, D // BD),
                lambda: {"out": mix.hc_post(*_f32(y, streams), post, comb)})


def _compress(overlap, before):
    def make(rng, size, tile, dtype):
        c = {"tiny": Config.tiny(), "flash": Config.flash()}[size]
        D, ratio, n = c.head_dim, 4 if overlap else 128, 3
        rows = n * ratio + before * ratio
        kv, score, ape = (_normal(rng, height, D * (1 + overlap)) for height in (rows, rows, ratio))
        slots, BD = ratio * (1 + overlap), tile["BD"]
        first = before * ratio

        def right():
            previous = (kv[:first], score[:first]) if before else None
            return {"out": compress.compress(kv[first:], score[first:], ape, ratio, previous, overlap)}
        return ({"kv": kv, "score": score, "ape": ape, "out": np.zeros((n, D), np.float32)}, {"BEFORE": first},
                    {"RATIO": ratio, "SLOTS": slots, "D": D, "BD": BD}, (n, -(-D // BD)), right)
    return make


def _rope(rng, size, tile, dtype):
    c, T = {"tiny": (Config.tiny(), 5), "flash": (Config.flash(), 3)}[size]
    x, R = _normal(rng, T, c.n_heads, c.head_dim, dtype=dtype), c.rope_head_dim
    positions, freqs = np.arange(1000, 1000 + T), rotation.frequencies(R, c.rope_theta)
    angles = positions.astype(np.float32)[:, None] * freqs
    before, H = x.copy(), min(tile["H"], power_of_two(c.n_heads, 1))
    return ({"x": x, "cos": np.cos(angles), "sin": np.sin(angles)}, {"HEADS": c.n_heads},
                {"D": c.head_dim, "R": R, "H": H}, (T, -(-c.n_heads // H)),
                lambda: {"x": rotation.rope(*_f32(before), positions, freqs)})


def _rms_norm(rng, size, tile, dtype):
    c, rows = {"tiny": (Config.tiny(), 5), "flash": (Config.flash(), 3)}[size]
    x, weight = _normal(rng, rows, c.dim, dtype=dtype), _normal(rng, c.dim)
    return ({"x": x, "weight": weight, "out": np.zeros_like(x)}, {"eps": c.norm_eps},
                {"D": c.dim, "BD": min(tile["BD"], power_of_two(c.dim)), "WEIGHTED": True}, (rows,),
                lambda: {"out": norm.rms_norm(*_f32(x), weight, c.norm_eps)})


CASES = {                                               # every way in which an engine launches a kernel: kernel, maker
    "attend window": ("attention.sparse_attention", _attention("window")),
    "attend picks": ("attention.sparse_attention", _attention("picks")),
    "attend heavy": ("attention.sparse_attention", _attention("heavy")),
    "index scores": ("index.index_scores", _index_scores),
    "index topk": ("index.select_topk", _select_topk),
    "index topk of chunks": ("index.select_topk", _select_candidates),
    "experts fp4 w1 w3": ("experts.grouped_swiglu", _grouped_swiglu(True)),
    "experts fp4 w2": ("experts.grouped_matmul", _grouped_matmul(True)),
    "experts fp8 w1 w3": ("experts.grouped_swiglu", _grouped_swiglu(False)),
    "linear fp8": ("experts.grouped_matmul", _grouped_matmul(False)),
    "hc_pre": ("mix.hc_pre", _hc_pre(False)),
    "hc_pre and norm": ("mix.hc_pre", _hc_pre(True)),
    "hc_post": ("mix.hc_post", _hc_post),
    "compress csa": ("compress.compress", _compress(True, True)),
    "compress csa first": ("compress.compress", _compress(True, False)),
    "compress hca": ("compress.compress", _compress(False, False)),
    "rope": ("rope.rope", _rope),
    "rms_norm": ("norm.rms_norm", _rms_norm),
}


def case_for(name, size, target, dtype=np.float32, upcast=False, seed=0):       # -> Case
    """The case `name` at `size`, cut by the tile of `target`. upcast: multiply in float32, for the interpreter."""
    kernel, make = CASES[name]
    made = make(np.random.default_rng(seed), size, tile_of(kernel, target), dtype)
    case = Case(kernel, *made)
    return case._replace(constants={**case.constants, "UPCAST": True}) if upcast and "UPCAST" in case.constants else case


def largest_error(got, case):                           # -> largest difference over largest answer, of the worst output
    """0.0: equal. Integers must be equal; NaN or infinity where the answer is finite, or another integer, count as infinite."""
    worst = 0.0
    for name, answer in case.right().items():
        a, b = np.asarray(got[name], np.float64), np.asarray(answer, np.float64)
        error = np.abs(a - b).max(initial=0) / max(1e-30, np.abs(b).max(initial=0))
        is_wrong = not np.isfinite(error) or (answer.dtype.kind in "iu" and error > 0)
        worst = max(worst, float("inf") if is_wrong else float(error))
    return worst
