"""Lesson 02: the norm and rotary positions."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.rope import frequencies


def _rows(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def _norm_cases(rng):
    yield "a row to check by pencil", (np.array([[3.0, 4.0]], np.float32), np.ones(2, np.float32), 1e-6)
    yield "several rows, a weight for each column", (_rows(rng, 5, 8), _rows(rng, 8), 1e-6)
    yield "a row of zeros", (np.zeros((2, 4), np.float32), np.ones(4, np.float32), 1e-6)
    yield "query heads: three axes", (_rows(rng, 3, 2, 6), _rows(rng, 6), 1e-6)
    yield "tiny numbers, where eps counts", (_rows(rng, 2, 8) * np.float32(1e-3), np.ones(8, np.float32), 1e-6)


def _norm_by_length(x, weight, eps=1e-6):
    length = np.sqrt(np.einsum("...d,...d->...", x, x) / x.shape[-1] + eps)
    return x / length[..., None] * weight


def _norm_without_eps(x, weight, eps=1e-6):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True)) * weight


def _layer_norm(x, weight, eps=1e-6):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def _rope_cases(rng):
    yield "one pair, a quarter turn", (np.array([[1.0, 0.0]], np.float32), np.array([1]), np.array([np.pi / 2], np.float32))
    yield "position 0: nothing turns", (_rows(rng, 1, 8), np.array([0]), frequencies(8, 10000.0))
    yield "only the last 4 of 10 numbers turn", (_rows(rng, 3, 10), np.array([5, 6, 7]), frequencies(4, 10000.0))
    yield "heads: three axes", (_rows(rng, 4, 3, 8), np.arange(4) + 100, frequencies(8, 160000.0, 65536, 16.0))
    yield "turning back", (_rows(rng, 2, 8), np.array([3, 900]), frequencies(8, 10000.0), True)


def _rope_by_complex_numbers(x, positions, freqs, inverse=False):
    rd = 2 * len(freqs)
    angles = np.asarray(positions, np.float32)[:, None] * freqs
    turn = np.exp((-1j if inverse else 1j) * angles).reshape(len(x), *[1] * (x.ndim - 2), -1)
    pairs = x[..., -rd::2] + 1j * x[..., -rd + 1:: 2]
    turned = pairs * turn
    return np.concatenate([x[..., :-rd], np.stack([turned.real, turned.imag], -1).reshape(*x.shape[:-1], rd)], axis=-1)


def _rope_halves(x, positions, freqs, inverse=False):
    rd = 2 * len(freqs)
    angles = (np.asarray(positions, np.float32)[:, None] * freqs).reshape(len(x), *[1] * (x.ndim - 2), -1)
    cos, sin = np.cos(angles), -np.sin(angles) if inverse else np.sin(angles)
    low, high = x[..., -rd: -rd // 2], x[..., -rd // 2:]
    return np.concatenate([x[..., :-rd], low * cos - high * sin, low * sin + high * cos], axis=-1)


def _rope_never_back(x, positions, freqs, inverse=False):
    return _rope_by_complex_numbers(x, positions, freqs)


EXERCISES = [
    Exercise("ops.norm.rms_norm", _norm_cases, differently=_norm_by_length, wrong=(_norm_without_eps, _layer_norm),
             hints=("The root mean square of a row: square its numbers, take their mean, then the root.",
                    "np.mean(..., axis=-1, keepdims=True) keeps the axis, so that the division works for every row.",
                    "eps goes under the root, added to the mean: a row of zeros then gives zeros, not nan.")),
    Exercise("ops.rope.rope", _rope_cases, differently=_rope_by_complex_numbers, wrong=(_rope_halves, _rope_never_back),
             hints=("The angle of pair i at position p is p * freqs[i]. A pair is two neighbours: numbers 2i and 2i + 1.",
                    "Turning (a, b) gives (a cos - b sin, a sin + b cos). Even and odd numbers: x[..., 0::2] and x[..., 1::2].",
                    "Only the last 2 * len(freqs) numbers of a row turn; copy x, then write into that part. "
                    "inverse changes the sign of sin.")),
]
