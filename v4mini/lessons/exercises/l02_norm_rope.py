"""Lesson 02: the norm, rotary positions, YaRN, and turning back what was read."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.rope import frequencies, rope

FLASH_WINDOW = 64, 10000.0, 0, 1.0, 32.0, 1.0               # rd, theta, original_seq_len, factor, beta_fast, beta_slow
FLASH_COMPRESSED = 64, 160000.0, 65536, 16.0, 32.0, 1.0


def read_relative(shares, rows, positions, at, freqs):      # [S], [S, hd], [S] int, int, [rd / 2] -> [hd]
    """What a token at `at` reads if it takes shares[j] of row j: rows turn on the way in, the mix turns back."""
    mix = shares @ rope(rows, positions, freqs)
    return rope(mix[None], [at], freqs, inverse=True)[0]


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


def _frequency_cases(rng):
    yield "four pairs to check by pencil, no YaRN", (8, 10000.0, 0, 1.0, 32.0, 1.0)
    yield "the same four with YaRN: 1000 tokens stretched to 10,000", (8, 10000.0, 1000, 10.0, 32.0, 1.0)
    yield "Flash, window layers", FLASH_WINDOW
    yield "Flash, layers with summaries", FLASH_COMPRESSED
    yield "a short training: the first pair that slows would be number -1", (8, 10000.0, 64, 4.0, 32.0, 1.0)
    yield "one pair", (2, 10.0, 0, 1.0, 32.0, 1.0)


def _frequencies_pair_by_pair(rd, theta, original_seq_len=0, factor=1.0, beta_fast=32.0, beta_slow=1.0):
    def pair_that_turns(times):
        return rd * np.log(original_seq_len / (times * 2 * np.pi)) / (2 * np.log(theta))

    found = []
    for i in range(rd // 2):
        f = theta ** (-2 * i / rd)
        if original_seq_len:
            low, high = max(np.floor(pair_that_turns(beta_fast)), 0), min(np.ceil(pair_that_turns(beta_slow)), rd - 1)
            slowed = min(max((i - low) / max(high - low, 0.001), 0), 1)
            f = f * (1 - slowed) + f / factor * slowed
        found.append(f)
    return np.array(found)


def _all_pairs_slowed(rd, theta, original_seq_len=0, factor=1.0, beta_fast=32.0, beta_slow=1.0):
    return theta ** (-np.arange(0, rd, 2) / rd) / (factor if original_seq_len else 1)


def _ramp_upside_down(rd, theta, original_seq_len=0, factor=1.0, beta_fast=32.0, beta_slow=1.0):
    plain = theta ** (-np.arange(0, rd, 2) / rd)
    right = _frequencies_pair_by_pair(rd, theta, original_seq_len, factor, beta_fast, beta_slow)
    return plain + plain / factor - right if original_seq_len else plain


def _read_cases(rng):
    quarter = np.array([np.pi / 2], np.float32)
    one = np.array([1.0], np.float32)
    yield "one row, one token back, quarter turns", (one, np.array([[1.0, 0.0]], np.float32), np.array([6]), 7, quarter)
    yield "a token reads itself", (one, _rows(rng, 1, 8), np.array([5]), 5, frequencies(8, 10000.0))
    yield "three rows in unequal shares", (np.array([0.2, 0.5, 0.3], np.float32), _rows(rng, 3, 8), np.array([0, 5, 9]), 11,
                                           frequencies(8, 100.0))
    yield "only the last 4 of 10 numbers turn", (np.full(4, 0.25, np.float32), _rows(rng, 4, 10), np.arange(4) + 40, 43,
                                                 frequencies(4, 10000.0))
    yield "shares that sum to less than 1", (np.array([0.1, 0.2], np.float32), _rows(rng, 2, 6), np.array([20, 21]), 21,
                                             frequencies(6, 10000.0))


def _read_by_distances(shares, rows, positions, at, freqs):
    return (shares[:, None] * rope(rows, np.asarray(positions) - at, freqs)).sum(axis=0)


def _read_never_back(shares, rows, positions, at, freqs):
    return shares @ rope(rows, positions, freqs)


def _read_back_by_own_positions(shares, rows, positions, at, freqs):
    return shares @ rope(rope(rows, positions, freqs), positions, freqs, inverse=True)


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
    Exercise("ops.rope.frequencies", _frequency_cases, differently=_frequencies_pair_by_pair,
             wrong=(_all_pairs_slowed, _ramp_upside_down), tolerance=1e-6,
             hints=("Without YaRN (original_seq_len 0): theta ** (-2 i / rd) for i = 0 ... rd / 2 - 1.",
                    "The pair that turns n times within L tokens is number rd ln(L / (2 pi n)) / (2 ln theta). low: beta_fast, "
                    "down to a whole number, at least 0. high: beta_slow, up to a whole number, at most rd - 1.",
                    "slowed = np.clip((i - low) / (high - low), 0, 1), then f * (1 - slowed) + f / factor * slowed. "
                    "If low and high are equal, divide by 0.001 instead of 0.")),
    Exercise("rotary.read_relative", _read_cases, ours=read_relative, differently=_read_by_distances,
             wrong=(_read_never_back, _read_back_by_own_positions),
             hints=("Three steps: turn each row by its own position, mix, turn the mix back.",
                    "The mix is one row: shares @ turned. Back by `at`, the reader's position, not by the rows' own.",
                    "rope wants a row for each position: rope(mix[None], [at], freqs, inverse=True)[0].")),
]
