"""Lesson 13: two backward functions, and the orthogonalising step of Muon."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.ops.experts import swiglu as swiglu_forward
from v4mini.ops.norm import rms_unit as rms_unit_forward
from v4mini.training.muon import FAST, ROUNDS, SETTLING

NUDGE = 1e-6


def _rows(rng, *shape):                                     # float64: these are compared with slopes
    return rng.standard_normal(shape)


# ---- backward of the norm ----

def _norm_cases(rng):
    yield "a row to check by pencil: [1, 1], only the first counts", (np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]]), 0.0)
    yield "the loss grows along x itself: no gradient", (np.array([[3.0, 4.0]]), np.array([[3.0, 4.0]]), 0.0)
    yield "several rows", (_rows(rng, 4, 6), _rows(rng, 4, 6), 1e-6)
    yield "query heads: three axes", (_rows(rng, 3, 2, 5), _rows(rng, 3, 2, 5), 1e-6)
    yield "a row of zeros, where eps carries all", (_rows(rng, 1, 4), np.zeros((1, 4)), 1e-2)


def _norm_by_nudges(g, x, eps):
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += NUDGE
        down[place] -= NUDGE
        found[place] = (g * (rms_unit_forward(up, eps) - rms_unit_forward(down, eps))).sum() / (2 * NUDGE)
    return found


def _norm_r_held_fixed(g, x, eps):
    return g / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)


def _norm_sum_for_mean(g, x, eps):
    r = 1 / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps)
    return r * g - r**3 * x * np.sum(g * x, axis=-1, keepdims=True)


# ---- backward of the clamped SwiGLU ----

def _swiglu_cases(rng):
    one = np.ones(1)
    yield "gate 0: silu is 0 and its slope 1/2", (np.array([[1.0]]), np.array([[0.0]]), np.array([[2.0]]), 10.0, one)
    yield "nothing is cut", (_rows(rng, 3, 4), _rows(rng, 3, 4), _rows(rng, 3, 4), 10.0, np.ones(3))
    yield "a gate above the limit", (np.array([[1.0, 1.0]]), np.array([[3.0, 1.0]]), np.array([[1.0, 1.0]]), 2.0, one)
    yield "up beyond the limit on both sides", (np.ones((1, 3)), np.ones((1, 3)), np.array([[-3.0, 3.0, 1.0]]), 2.0, one)
    yield "a gate far below: that side is not cut", (np.ones((1, 2)), np.array([[-5.0, -3.0]]), np.ones((1, 2)), 2.0, one)
    yield "a routing weight for each token", (_rows(rng, 3, 4), _rows(rng, 3, 4), 3 * _rows(rng, 3, 4), 2.0,
                                              np.array([0.5, 1.0, 0.1]))


def _swiglu_by_nudges(g, gate, up, limit, weight):
    def loss(gate, up, weight):
        return (g * swiglu_forward(gate, up, limit) * weight[:, None]).sum()

    found, arguments = [], [gate, up, weight]
    for number, argument in enumerate(arguments):
        slopes = np.zeros_like(argument)
        for place in np.ndindex(argument.shape):
            ends = []
            for sign in (1, -1):
                nudged = [a.copy() for a in arguments]
                nudged[number][place] += sign * NUDGE
                ends.append(loss(*nudged))
            slopes[place] = (ends[0] - ends[1]) / (2 * NUDGE)
        found.append(slopes)
    return tuple(found)


def _swiglu_by_formula(g, gate, up, limit, weight, cut):
    a, b = np.minimum(gate, limit), np.clip(up, -limit, limit)
    sigma = 1 / (1 + np.exp(-a))
    g_gate, g_up = g * weight[:, None] * b * sigma * (1 + a * (1 - sigma)), g * weight[:, None] * a * sigma
    if cut:
        g_gate, g_up = np.where(gate > limit, 0, g_gate), np.where(np.abs(up) > limit, 0, g_up)
    return g_gate, g_up, (g * a * sigma * b).sum(axis=1)


def _swiglu_through_the_clamp(g, gate, up, limit, weight):
    return _swiglu_by_formula(g, gate, up, limit, weight, cut=False)


def _swiglu_slope_of_sigmoid(g, gate, up, limit, weight):
    g_gate, g_up, g_weight = _swiglu_by_formula(g, gate, up, limit, weight, cut=True)
    sigma = 1 / (1 + np.exp(-gate))
    return np.where(gate > limit, 0, g * weight[:, None] * np.clip(up, -limit, limit) * sigma * (1 - sigma)), g_up, g_weight


# ---- Newton-Schulz ----

def _schulz_cases(rng):
    yield "by pencil: [4] has length 4, so it begins at 1; one settling round", (np.array([[[4.0]]]), (SETTLING,))
    yield "a diagonal, one fast round", (np.diag([3.0, 4.0])[None], (FAST,))
    yield "wide", (_rows(rng, 1, 3, 5), ROUNDS)
    yield "tall", (_rows(rng, 1, 6, 2), ROUNDS)
    yield "two matrices, one 100 times as large", (np.stack([100 * _rows(rng, 4, 4), _rows(rng, 4, 4)]), ROUNDS)
    yield "a quiet direction, three rounds only", (np.diag([1.0, 0.01])[None], (FAST, FAST, SETTLING))


def _schulz_by_svd(matrices, rounds=ROUNDS):
    out = []
    for matrix in matrices:
        u, s, v = np.linalg.svd(matrix, full_matrices=False)
        s = s / np.sqrt((s * s).sum())
        for a, b, c in rounds:
            s = a * s + b * s**3 + c * s**5
        out.append(u * s @ v)
    return np.array(out)


def _schulz_all_as_one(matrices, rounds=ROUNDS):
    n, rows, columns = matrices.shape
    return _schulz_by_svd(matrices.reshape(1, n * rows, columns), rounds).reshape(n, rows, columns)


def _schulz_settling_first(matrices, rounds=ROUNDS):
    return _schulz_by_svd(matrices, rounds[::-1])


EXERCISES = [
    Exercise("training.backward.norm.rms_unit", _norm_cases, differently=_norm_by_nudges, tolerance=1e-5,
             wrong=(_norm_r_held_fixed, _norm_sum_for_mean),
             hints=("y = r x, and r depends on x as well. Two paths lead from x to y, so two terms add up.",
                    "Path 1, r held fixed: r g. Path 2, x held fixed: every y_i = r x_i asks r to change by g_i x_i.",
                    "dr / dx_j = -r^3 x_j / D. So path 2 is -r^3 x sum(g x) / D, and sum / D is np.mean(..., keepdims=True).")),
    Exercise("training.backward.experts.swiglu", _swiglu_cases, differently=_swiglu_by_nudges, tolerance=1e-5,
             wrong=(_swiglu_through_the_clamp, _swiglu_slope_of_sigmoid),
             hints=("Name the parts: a = min(gate, limit), b = clip(up), s = a sigma(a), and h = s b weight. Each gradient is g "
                    "times the other two factors.",
                    "The slope of s = a sigma(a) is sigma (1 + a (1 - sigma)): by the product rule, with "
                    "sigma' = sigma (1 - sigma).",
                    "np.where(gate > limit, 0, ...): what was cut does not move when nudged. For up, both sides: "
                    "np.abs(up) > limit.")),
    Exercise("training.muon.newton_schulz", _schulz_cases, differently=_schulz_by_svd, tolerance=1e-5,
             wrong=(_schulz_all_as_one, _schulz_settling_first),
             hints=("First divide each matrix by its own length, the root of the sum of its squares: then no singular value is "
                    "above 1.",
                    "One round: square = x @ x^T, then a x + b square @ x + c square @ square @ x.",
                    "x.swapaxes(1, 2) transposes every matrix of the stack; keepdims=True in the sum over axis (1, 2).")),
]
