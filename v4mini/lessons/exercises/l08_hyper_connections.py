"""Lesson 08: a doubly stochastic matrix, reading from the streams, writing to them."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.mix import hc_pre, sinkhorn

ROUNDS, EPS = 20, 1e-6          # what V4 uses


def read(streams, fn, base, scale, eps, norm_eps):      # [T, M, D], [(2 + M) M, M D], [(2 + M) M], [3] -> [T, D]
    return hc_pre(streams, fn, base, scale, ROUNDS, eps, norm_eps)[0]


def _numbers(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _sinkhorn_cases(rng):
    small = np.log(np.array([[[1, 3], [2, 2]]], np.float32))
    yield "the softmax and one column step, by pencil", (small, 1, 0.0)
    yield "the same, two rounds", (small, 2, 0.0)
    yield "V4's 20 rounds, five tokens", (_numbers(rng, 5, 4, 4), ROUNDS, EPS)
    yield "large logits, which converge slowly", (5 * _numbers(rng, 3, 4, 4), ROUNDS, EPS)
    yield "logits of 1000, whose exp is infinite", (1000 + _numbers(rng, 2, 4, 4), ROUNDS, EPS)
    yield "two rows whose logits lie 2000 apart", (_numbers(rng, 1, 2, 2) + np.float32([[[1000], [-1000]]]), ROUNDS, EPS)
    yield "a single stream", (_numbers(rng, 2, 1, 1), ROUNDS, EPS)


def _sinkhorn_by_two_scales(logits, iters, eps):
    start = np.exp(logits - logits.max(axis=2, keepdims=True))
    start = start / start.sum(axis=2, keepdims=True) + eps
    row, column = np.ones(start.shape[:2]), np.ones(start.shape[:2])    # comb_jk = row_j start_jk column_k
    for step in range(iters):
        if step:
            row = row / (row * np.einsum("tjk,tk->tj", start, column) + eps)
        column = column / (column * np.einsum("tjk,tj->tk", start, row) + eps)
    return np.einsum("tj,tjk,tk->tjk", row, start, column)


def _sinkhorn_ending_on_rows(logits, iters, eps):
    return _sinkhorn_by_two_scales(logits.swapaxes(1, 2), iters, eps).swapaxes(1, 2)


def _sinkhorn_one_round_more(logits, iters, eps):
    return _sinkhorn_by_two_scales(logits, iters + 1, eps)


def _sinkhorn_largest_of_all(logits, iters, eps):       # one maximum for all rows: a quiet row becomes 0 / 0
    start = np.exp(logits - logits.max())
    start = start / start.sum(axis=2, keepdims=True)
    return _sinkhorn_by_two_scales(np.log(start), iters, eps)


def _mixer(rng, M, D, size=1.0):
    n = (2 + M) * M
    return size * _numbers(rng, n, M * D), _numbers(rng, n), rng.uniform(0.2, 1, 3).astype(np.float32)


def _read_cases(rng):
    blank = np.zeros((8, 4), np.float32), np.zeros(8, np.float32), np.ones(3, np.float32)
    yield "no weights, no base: half of each stream", (np.array([[[4, 0], [2, 6]]], np.float32), *blank, 0.0, EPS)
    yield "four streams, three tokens", (_numbers(rng, 3, 4, 8), *_mixer(rng, 4, 8), EPS, EPS)
    uneven = _numbers(rng, 3, 4, 8) * np.array([10, 1, 0.1, 0.01], np.float32)[:, None]
    yield "streams of very different size", (uneven, *_mixer(rng, 4, 8), EPS, EPS)
    yield "all streams a thousand times larger", (1000 * _numbers(rng, 2, 4, 8), *_mixer(rng, 4, 8), EPS, EPS)
    yield "streams of zeros", (np.zeros((2, 4, 8), np.float32), *_mixer(rng, 4, 8), EPS, EPS)
    fn, base, scale = _mixer(rng, 4, 8, size=0.0)
    base[:4] = -40
    yield "a gate that is shut: only eps still reads", (1e6 + _numbers(rng, 1, 4, 8), fn, base, scale, EPS, EPS)


def _read_one_token_after_the_other(streams, fn, base, scale, eps, norm_eps):
    M = streams.shape[1]
    out = []
    for token in streams:
        row = token.ravel().astype(np.float64)
        row = row / np.sqrt((row @ row) / len(row) + norm_eps)
        pre = [1 / (1 + np.exp(-(scale[0] * (fn[j] @ row) + base[j]))) + eps for j in range(M)]
        out.append(sum(weight * stream for weight, stream in zip(pre, token)))
    return np.stack(out)


def _read_each_stream_normed(streams, fn, base, scale, eps, norm_eps):
    T, M, _ = streams.shape
    rows = (streams / np.sqrt(np.mean(streams**2, axis=2, keepdims=True) + norm_eps)).reshape(T, -1)
    pre = 1 / (1 + np.exp(-(rows @ fn[:M].T * scale[0] + base[:M]))) + eps
    return np.einsum("tj,tjd->td", pre, streams)


def _read_by_softmax(streams, fn, base, scale, eps, norm_eps):
    T, M, _ = streams.shape
    rows = streams.reshape(T, -1)
    rows = rows / np.sqrt(np.mean(rows**2, axis=1, keepdims=True) + norm_eps)
    pre = np.exp(rows @ fn[:M].T * scale[0] + base[:M])
    return np.einsum("tj,tjd->td", pre / pre.sum(axis=1, keepdims=True) + eps, streams)


def _post_cases(rng):
    hand_on = np.array([[[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]]], np.float32)
    pencil = (np.array([[10]], np.float32), np.array([[[8], [4], [0]]], np.float32), np.array([[1, 0, 2]], np.float32), hand_on)
    yield "three streams of one number, by pencil", pencil
    y, streams, post, comb = _unit(rng, 2)
    yield "equal streams, as after the embedding", (y, np.repeat(streams[:, :1], 4, axis=1), post, comb)
    yield "four streams, five tokens", _unit(rng, 5)
    y, streams, post, comb = _unit(rng, 1)
    yield "written to stream 0 only", (y, streams, np.eye(4, dtype=np.float32)[:1], comb)
    any_matrix = _numbers(rng, 3, 2, 2)
    yield "any matrix, not only doubly stochastic", (_numbers(rng, 3, 6), _numbers(rng, 3, 2, 6), _numbers(rng, 3, 2), any_matrix)


def _unit(rng, T):
    comb = sinkhorn(_numbers(rng, T, 4, 4), ROUNDS, EPS)
    return _numbers(rng, T, 8), _numbers(rng, T, 4, 8), 2 * rng.random((T, 4), np.float32), comb


def _post_in_loops(y, streams, post, comb):
    out = post[:, :, None] * y[:, None, :]
    for k in range(streams.shape[1]):
        for j in range(streams.shape[1]):
            out[:, k] += comb[:, j, k, None] * streams[:, j]
    return out


def _post_transposed(y, streams, post, comb):
    return post[:, :, None] * y[:, None, :] + comb @ streams


def _post_written_once(y, streams, post, comb):
    return y[:, None, :] + comb.swapaxes(1, 2) @ streams


EXERCISES = [
    Exercise("ops.mix.sinkhorn", _sinkhorn_cases, differently=_sinkhorn_by_two_scales,
             wrong=(_sinkhorn_ending_on_rows, _sinkhorn_one_round_more, _sinkhorn_largest_of_all),
             hints=("Axis 0 is the token. Rows are summed over axis 2, columns over axis 1; keepdims=True lets you divide.",
                    "Start with a softmax over each row (subtract the largest logit first) and add eps; then divide by the "
                    "column sums. That was round 1.",
                    "Each of the other iters - 1 rounds: divide by (row sums + eps), then by (column sums + eps).")),
    Exercise("streams.read", _read_cases, ours=read, differently=_read_one_token_after_the_other,
             wrong=(_read_each_stream_normed, _read_by_softmax),
             hints=("One row per token: streams.reshape(T, M * D). Its root mean square is taken over all M * D numbers.",
                    "Reading needs the first M rows of fn and the first M numbers of base; scale[0] belongs to pre.",
                    "pre = sigmoid(scale[0] * logits + base[:M]) + eps is [T, M]; then sum pre_j * stream_j over j.")),
    Exercise("ops.mix.hc_post", _post_cases, differently=_post_in_loops, wrong=(_post_transposed, _post_written_once),
             hints=("Two parts: post_k * y goes to stream k, and a mix of the old streams is added.",
                    "comb_jk says how much of stream j goes INTO stream k: for stream k, sum over the first index j.",
                    "np.einsum('tjk,tjd->tkd', comb, streams), or comb.swapaxes(1, 2) @ streams.")),
]
