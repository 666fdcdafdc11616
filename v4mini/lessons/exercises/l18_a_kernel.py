"""Lesson 18: where a block lies, a softmax that never sees a whole row, and two kernels."""

import numpy as np

from accel.checks.plain import tl, triton
from accel.tiles import power_of_two
from v4mini.lessons.exercise import Exercise


def block(program, B, N, D):                # -> offsets [B, D] int, inside [B, D] bool
    rows = program * B + np.arange(B)
    offsets = rows[:, None] * D + np.arange(D)
    return offsets, np.broadcast_to((rows < N)[:, None], (B, D)).copy()


def _block_cases(rng):
    yield "the first of four rows of 3", (0, 2, 4, 3)
    yield "its second block", (1, 2, 4, 3)
    yield "a block that hangs over the end", (2, 4, 10, 8)
    yield "a block behind the end", (3, 4, 10, 2)
    yield "rows of one number", (1, 8, 11, 1)


def _block_by_numbering(program, B, N, D):
    first = program * B * D
    offsets = np.arange(first, first + B * D).reshape(B, D)
    return offsets, offsets < N * D


def _block_strides_swapped(program, B, N, D):
    rows = program * B + np.arange(B)
    return rows[:, None] + np.arange(D) * N, block(program, B, N, D)[1]


def _block_one_row_more(program, B, N, D):
    return block(program, B, N + 1, D)


def online_step(top, total, acc, logits, rows):         # [H], [H], [H, D], [H, B], [B, D] -> as the first three
    new_top = np.maximum(top, logits.max(1))
    p, kept = np.exp(logits - new_top[:, None]), np.exp(top - new_top)
    return new_top, total * kept + p.sum(1), acc * kept[:, None] + p @ rows


def _step_cases(rng):
    ln = np.log
    yield "the second block of the pencil", (ln([2.0]), np.array([1.5]), np.array([[20.0]]), ln([[4.0, 1.0]]),
                                             np.array([[30.0], [40.0]]))
    yield "the largest number is in the first block", (np.array([3.0]), np.array([2.0]), np.ones((1, 2)), np.zeros((1, 4)),
                                                       np.eye(4)[:, :2])
    yield "the first block: nothing is known yet", (np.full(2, -1e30), np.zeros(2), np.zeros((2, 3)), rng.normal(size=(2, 4)),
                                                    rng.normal(size=(4, 3)))
    yield "four heads, logits up to 1,000", (np.full(4, 900.0), np.ones(4), rng.normal(size=(4, 5)),
                                             rng.uniform(0, 1000, (4, 8)), rng.normal(size=(8, 5)))
    yield "a block of nothing: logits of -1e30", (np.zeros(2), np.ones(2), np.ones((2, 3)), np.full((2, 4), -1e30),
                                                  np.ones((4, 3)))


def _step_one_by_one(top, total, acc, logits, rows):
    top, total, acc = top.copy(), total.copy(), acc.copy()
    for h in range(len(top)):
        for score, row in zip(logits[h], rows):
            new = max(top[h], score)
            total[h] = total[h] * np.exp(top[h] - new) + np.exp(score - new)
            acc[h] = acc[h] * np.exp(top[h] - new) + np.exp(score - new) * row
            top[h] = new
    return top, total, acc


def _step_without_rescaling(top, total, acc, logits, rows):
    new_top = np.maximum(top, logits.max(1))
    p = np.exp(logits - new_top[:, None])
    return new_top, total + p.sum(1), acc + p @ rows


def _step_block_maximum(top, total, acc, logits, rows):
    new_top = logits.max(1)
    p, kept = np.exp(logits - new_top[:, None]), np.exp(top - new_top)
    return new_top, total * kept + p.sum(1), acc * kept[:, None] + p @ rows


def _step_acc_forgotten(top, total, acc, logits, rows):
    new_top, total, _ = online_step(top, total, acc, logits, rows)
    return new_top, total, acc + np.exp(logits - new_top[:, None]) @ rows


def softmax(x):                             # [T, D] -> [T, D]
    p = np.exp(x - x.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def _softmax_cases(rng):
    yield "one row of 4", (np.log(np.array([[1, 2, 4, 1]], np.float32)),)
    yield "five numbers: a block of 16 hangs over", (np.zeros((1, 5), np.float32),)
    yield "negative numbers only", (np.array([[-50, -51, -52]], np.float32),)
    yield "numbers above 88", (np.array([[100, 101, 99, 0, 5]], np.float32),)
    yield "many rows", (rng.standard_normal((7, 24), dtype=np.float32),)


def _softmax_with(other, shift):
    def attempt(x):
        @triton.jit
        def program(x, out, D, B: tl.constexpr):
            d = tl.arange(0, B)
            v = tl.load(x + tl.program_id(0) * D + d, mask=d < D, other=other)
            p = tl.exp(v - tl.max(v, 0)) if shift else tl.exp(v)
            tl.store(out + tl.program_id(0) * D + d, p / tl.sum(p, 0), mask=d < D)
        out = np.full_like(x, np.nan)
        program[len(x),](x, out, x.shape[1], B=power_of_two(x.shape[1]))
        return out
    return attempt


def gather_mean(picks, entries):            # [T, K] int32, [N, D] -> [T, D]
    taken = (picks >= 0)[:, :, None]
    return np.where(taken, entries[picks], 0).sum(1) / np.maximum(taken.sum(1), 1).astype(np.float32)


def _gather_cases(rng):
    entries = np.arange(12, dtype=np.float32).reshape(6, 2)
    yield "one token, entries 1 and 3", (np.array([[1, 3]], np.int32), entries)
    yield "a pick of -1 is nothing", (np.array([[4, -1]], np.int32), entries)
    yield "nothing at all: zeros", (np.array([[-1, -1], [0, 5]], np.int32), entries)
    yield "13 picks, 24 columns", (rng.integers(-1, 40, (5, 13)).astype(np.int32),
                                   rng.standard_normal((40, 24), dtype=np.float32))
    broken = rng.standard_normal((8, 4), dtype=np.float32)
    broken[0] = np.nan
    yield "nobody picks entry 0, which is NaN", (np.array([[3, -1, 7], [-1, 2, -1]], np.int32), broken)


def _gather_with(clamped, masked):
    def attempt(picks, entries):
        @triton.jit
        def program(picks, entries, out, K, D, KP: tl.constexpr, DP: tl.constexpr):
            t, k, d = tl.program_id(0), tl.arange(0, KP), tl.arange(0, DP)
            i = tl.load(picks + t * K + k, mask=k < K, other=-1)
            there = i >= 0
            row = tl.maximum(i, 0) if clamped else i
            v = tl.load(entries + row[:, None] * D + d[None, :], mask=(d < D)[None, :], other=0.0)
            if masked:
                v = tl.where(there[:, None], v, 0.0)
            tl.store(out + t * D + d, tl.sum(v, 0) / tl.maximum(tl.sum(there.to(tl.int32), 0), 1), mask=d < D)
        out = np.full((len(picks), entries.shape[1]), np.nan, np.float32)
        program[len(picks),](picks, entries, out, picks.shape[1], entries.shape[1], KP=power_of_two(picks.shape[1]),
                             DP=power_of_two(entries.shape[1]))
        return out
    return attempt


def _gather_over_all(picks, entries):
    return np.where((picks >= 0)[:, :, None], entries[picks], 0).sum(1) / np.float32(picks.shape[1])


EXERCISES = [
    Exercise("kernel.block", _block_cases, ours=block, differently=_block_by_numbering, tolerance=0,
             wrong=(_block_strides_swapped, _block_one_row_more),
             hints=("The rows of the block are program * B + np.arange(B).",
                    "Row r begins at r * D: rows[:, None] * D + np.arange(D).",
                    "inside says of each offset whether its row is below N; it has the shape of the offsets.")),
    Exercise("kernel.online_step", _step_cases, ours=online_step, differently=_step_one_by_one,
             wrong=(_step_without_rescaling, _step_block_maximum, _step_acc_forgotten),
             hints=("The new top is the larger of the old one and the block's largest logit, for each head.",
                    "What is there already was measured from the old top: multiply total and acc by exp(top - new_top).",
                    "p = exp(logits - new_top[:, None]); total gets p.sum(1), acc gets p @ rows.")),
    Exercise("kernel.softmax", _softmax_cases, ours=softmax, differently=_softmax_with(-1e30, True),
             wrong=(_softmax_with(0.0, True), _softmax_with(-1e30, False)),
             hints=("d = tl.arange(0, B); this program's row begins at x + tl.program_id(0) * D.",
                    "mask=d < D; what is masked must count as nothing after exp: other=-1e30, not 0.",
                    "p = tl.exp(v - tl.max(v, 0)), and tl.store(..., p / tl.sum(p, 0), mask=d < D).")),
    Exercise("kernel.gather_mean", _gather_cases, ours=gather_mean, differently=_gather_with(True, True),
             wrong=(_gather_with(False, True), _gather_with(True, False), _gather_over_all),
             hints=("i = tl.load(picks + t * K + k, mask=k < K, other=-1): nothing behind the last.",
                    "entries + tl.maximum(i, 0)[:, None] * D + d[None, :] is a block [KP, DP] of addresses, all of them real.",
                    "tl.where((i >= 0)[:, None], v, 0.0): not times 0: a NaN stays. Divide by the count, at least 1.")),
]
