"""Each kernel beside its NumPy formula and beside what this machine allows: `v4mini bench kernels`.

The ceiling of an operation is the longer of two times: its FLOPs at the measured rate of matrix products, its bytes at the
measured rate of reading; for one token and weights as they are stored, always reading. The rate is measured anew before each run
of the operation: a machine's pace changes within minutes.
Not here: how ceilings are measured (ceiling.py), the kernels themselves.
"""

import functools
import statistics
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from v4mini.backend import Backend
from v4mini.bench.ceiling import gemm_work, read_work
from v4mini.bench.million import pretend_past
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.kernels.backend import NumbaBackend
from v4mini.numerics.matrix import Matrix
from v4mini.ops.attention import window_starts
from v4mini.planning.flops import token_flops
from v4mini.weights.random import random_matrix, random_tensors
from v4mini.weights.spec import tensors
from v4mini.weights.tree import Expert, HyperConnection, build

PAST = 1 << 15                      # tokens before the measured ones
CALM = 1.0                          # seconds: after a product OpenBLAS's threads wait for the next one in a loop, half a second
                                    # long, and meanwhile take a core from whoever comes
PAUSE = 0.02                        # seconds before each run, until the threads of the one before it sleep
NUMPY_ROUNDS = 3                    # at most
POOL = 64                           # experts of the measured Flash layer: 0.8 GB, far more than any cache holds


@dataclass(frozen=True)
class Timing:
    """One operation, medians over rounds. `times_numpy` is None where NumPy would decode and multiply for minutes."""

    name: str
    shape: str
    seconds: float
    times_numpy: float | None       # how many times as fast as NumPy
    bound: str                      # "compute" or "read": which ceiling that is
    share: float                    # of the ceiling
    rounds: tuple = ()              # the share in each


@dataclass(frozen=True)
class Case:
    """What is timed: call(ops) -> result; flops and bytes are what the formula needs, whoever computes it."""

    name: str
    shape: str
    call: object
    flops: float
    bytes: float
    numpy: bool = True
    bound: str | None = None        # None: whichever ceiling is the lower one here


def kernel_times(ceiling, rounds=9, tokens=512):           # yields Timing
    """Every operation at the 12M model's sizes, then weights at Flash's, then one Flash layer."""
    c = Config.bench()
    rng = np.random.default_rng(0)

    def draw(*shape):
        return rng.standard_normal(shape, np.float32)
    for case in (*_row_cases(c, tokens, draw), *_attention_cases(c, tokens, draw, rng), *_expert_cases(c, tokens, draw, rng),
                 *_weight_cases(Config.flash(), draw), _flash_layer()):
        yield _time(case, ceiling, rounds)


def _time(case, ceiling, rounds):                       # -> Timing
    at_best = {"compute": case.flops / ceiling["gemm_flops"], "read": case.bytes / ceiling["read_bytes"]}
    bound = case.bound or max(at_best, key=at_best.get)
    amount = case.flops if bound == "compute" else case.bytes
    roof, roof_amount = _roof(bound)
    ours, theirs = partial(case.call, NumbaBackend()), partial(case.call, Backend())
    time.sleep(CALM)
    ours()
    seconds, shares, times = [], [], []
    for n in range(rounds):
        ideal = _seconds(roof) * amount / roof_amount
        seconds.append(_seconds(ours))
        shares.append(ideal / seconds[-1])
        if case.numpy and n < NUMPY_ROUNDS:             # NumPy takes ten times as long
            times.append(_seconds(theirs) / seconds[-1])
    return Timing(case.name, case.shape, statistics.median(seconds), statistics.median(times) if times else None, bound,
                  statistics.median(shares), tuple(shares))


@functools.cache
def _roof(bound):                                       # -> what to time, how much it does
    work, amount = {"compute": gemm_work, "read": read_work}[bound]()
    work()
    return work, amount


def _seconds(work):
    time.sleep(PAUSE)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _row_cases(c, T, draw):                             # yields Case: what each token does for itself
    H, hd, M = c.n_heads, c.head_dim, c.hc_mult
    x = draw(T, c.dim)
    streams = draw(T, M, c.dim)
    q = draw(T, H, hd)
    y = draw(T, c.dim)
    hc = HyperConnection(draw((2 + M) * M, M * c.dim) / 32, draw((2 + M) * M), np.ones(3, np.float32))
    freqs = draw(c.rope_head_dim // 2)
    positions = PAST + np.arange(T)
    post = draw(T, M)
    comb = draw(T, M, M)
    yield Case("rms_norm", f"{T} x {c.dim}", lambda ops: ops.rms_norm(x, x[0], 1e-6), 4 * x.size, 8 * x.size)
    yield Case("rope", f"{T} x {H} x {hd}", lambda ops: ops.rope(q, positions, freqs), 6 * T * H * c.rope_head_dim, 8 * q.size)
    yield Case("hc_pre", f"{T} x {M} x {c.dim}", lambda ops: ops.hc_pre(streams, hc, c.hc_sinkhorn_iters, 1e-6, 1e-6),
               2 * streams.size * (len(hc.fn) + 1), 4 * streams.size)
    yield Case("hc_post", f"{T} x {M} x {c.dim}", lambda ops: ops.hc_post(y, streams, post, comb),
               2 * streams.size * (M + 1), 8 * streams.size)


def _attention_cases(c, T, draw, rng):                  # yields Case: T tokens behind PAST others
    H = c.n_heads
    hd = c.head_dim
    K = c.index_topk
    sparse = (PAST + T) // 4
    heavy = (PAST + T) // 128
    q = draw(T, H, hd)
    rows = draw(T + c.window_size, hd)
    sink = draw(H)
    entries = draw(sparse, hd)
    kv = draw(T, 2 * hd)
    picks = np.sort(rng.integers(0, sparse, (T, K)), axis=1)
    seen = np.full(T, heavy)
    index = draw(T, c.index_n_heads, c.index_head_dim), draw(sparse, c.index_head_dim), draw(T, c.index_n_heads)
    window = q, rows, window_starts(T, len(rows), c.window_size), sink, c.window_size, hd**-0.5
    row = 4 * T * H * hd
    yield Case("compress", f"{T} to {T // 4} x {hd}", lambda ops: ops.compress(kv, kv, kv[:4], 4, None, True),
               20 * T * hd, 16 * T * hd)
    yield Case("index_topk", f"{T} tokens, {sparse:,} keys",
               lambda ops: ops.index_topk(*index, (PAST + np.arange(T) + 1) // 4, K),
               2 * T * c.index_n_heads * c.index_head_dim * sparse, 4 * index[1].size)
    yield Case("attend: window", f"{T} tokens, {c.window_size} rows", lambda ops: ops.attend(*window),
               row * c.window_size, 8 * q.size)
    yield Case("attend: CSA", f"and {K} picked entries", lambda ops: ops.attend(*window, entries, picks),
               row * (c.window_size + K), 4 * T * K * hd)
    yield Case("attend: HCA", f"and {heavy} entries", lambda ops: ops.attend(*window, entries[:heavy], visible=seen),
               row * (c.window_size + heavy), 8 * q.size)


def _expert_cases(c, T, draw, rng):                     # yields Case
    E = c.n_routed_experts
    K = c.n_activated_experts
    inter = c.moe_inter_dim
    x = draw(T, c.dim)
    scores = draw(T, E)
    bias = draw(E)
    chosen = rng.integers(0, E, (T, K))
    weights = draw(T, K)
    pool = [Expert(*(Matrix(draw(*shape) / 16) for shape in _expert_shapes(c))) for _ in range(E)]
    yield Case("route", f"{T} x {E}", lambda ops: ops.route(scores, c.route_scale, K, bias), 10 * scores.size, 4 * scores.size)
    yield Case("experts", f"{T} tokens, {K} of {E}", lambda ops: ops.experts(x, chosen, weights, pool, c.swiglu_limit),
               6 * T * K * inter * c.dim, 12 * E * inter * c.dim)


def _weight_cases(c, draw):                             # yields Case: one token meets Flash's matrices as they are stored
    for name, format, shape in (("linear BF16", "bf16", (c.vocab_size // 8, c.dim)),
                                ("linear FP8", "fp8", (c.n_heads * c.head_dim, c.q_lora_rank))):
        weight = random_matrix(shape, format)
        x = draw(1, shape[1])
        yield Case(name, f"{shape[0]} x {shape[1]}", lambda ops, x=x, weight=weight: ops.linear(x, weight),
                   2 * shape[0] * shape[1], weight.nbytes, bound="read")
    pool = [Expert(*(random_matrix(shape, "fp4", seed) for shape in _expert_shapes(c))) for seed in range(16)]
    x = draw(1, c.dim)
    chosen = np.arange(16)[None]
    weights = np.full((1, 16), 0.1, np.float32)
    yield Case("experts FP4", f"1 token, 16 of {c.moe_inter_dim} x {c.dim}",
               lambda ops: ops.experts(x, chosen, weights, pool, c.swiglu_limit),
               96 * c.moe_inter_dim * c.dim, sum(w.nbytes for expert in pool for w in vars(expert).values()), bound="read")


def _expert_shapes(c):                                  # of w1, w2, w3
    return (c.moe_inter_dim, c.dim), (c.dim, c.moe_inter_dim), (c.moe_inter_dim, c.dim)


def _flash_layer():                                     # one sparse layer of Flash, a token at a time
    c = Config.flash()
    c = c.replace(n_layers=1, n_mtp_layers=0, n_hash_layers=0, compress_ratios=(4,), n_routed_experts=POOL, vocab_size=512)
    model = CachedModel(c, build(c, random_tensors(c).get, False), NumbaBackend())
    cache = pretend_past(model, PAST)
    rng = np.random.default_rng(3)
    share = c.n_activated_experts / POOL
    read = sum(spec.nbytes * (share if spec.group == "routed experts" else 1) for spec in tensors(c) if spec.group != "embedding")
    read += 4 * (PAST // 4 * c.index_head_dim + (c.index_topk + c.window_size) * c.head_dim)       # keys, picked rows, window
    return Case("one Flash layer", f"1 token behind {PAST:,}", lambda ops: model.step(int(rng.integers(512)), cache),
                sum(token_flops(c, PAST).values()), read, numpy=False, bound="read")
