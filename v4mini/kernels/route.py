"""Twin of ops/route.py: which experts, and with what weight, in one pass over a token's scores.

Not here: the experts (experts.py).
"""

import math

import numpy as np
from numba import prange

from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.compiled import njit
from v4mini.shapes import Refused

TOKENS_PER_THREAD = 16          # tokens a thread takes at a time
PARALLEL_FROM = 1 << 13         # scores: below, waking a second thread costs more than it saves


def route(scores, route_scale, k, bias=None, chosen=None):         # [T, E] -> chosen [T, K] int64, weights [T, K]
    """Twin of ops.route.route. Threads share out tokens."""
    T, E = scores.shape
    if bias is not None:
        check_shape("bias", bias, E, hint="Is it from another config?")
    bias = np.zeros(E, np.float32) if bias is None else as_floats(bias)
    if chosen is None:
        chosen, is_given = np.empty((T, min(k, E)), np.int64), False
    else:
        chosen, is_given = as_plain(chosen, np.int64), True
        check_shape("chosen", chosen, T, *chosen.shape[1:2])
        if chosen.size and (chosen.min() < 0 or chosen.max() >= E):
            raise Refused(f"chosen: expected experts 0 to {E - 1}, got {chosen.min()} to {chosen.max()}. "
                          "Is tid2eid another model's?")
    weights = np.empty(chosen.shape, np.float32)
    scores = as_floats(scores)
    if scores.size < PARALLEL_FROM:
        _route(scores, route_scale, bias, is_given, chosen, weights, 0, T)
    else:
        _route_all(scores, route_scale, bias, is_given, chosen, weights)
    return chosen, weights


@njit(parallel=True)
def _route_all(scores, route_scale, bias, is_given, chosen, weights):
    T = len(scores)
    for block in prange((T + TOKENS_PER_THREAD - 1) // TOKENS_PER_THREAD):
        start, stop = block * TOKENS_PER_THREAD, min(T, (block + 1) * TOKENS_PER_THREAD)
        _route(scores, route_scale, bias, is_given, chosen, weights, start, stop)


@njit(error_model="numpy")
def _route(scores, route_scale, bias, is_given, chosen, weights, start, stop):     # float32 [T, E] -> [T, K] twice
    E, K = scores.shape[1], chosen.shape[1]
    affinity, wish = np.empty(E, np.float32), np.empty(E, np.float32)
    for t in range(start, stop):
        doubt = np.float32(0)                           # stays 0, or becomes NaN
        for e in range(E):
            # affinity = sqrt(log1p(exp(score))), above 20 sqrt(score)
            score = scores[t, e]
            softplus = score if score > 20 else np.float32(math.log1p(np.float32(math.exp(score))))
            affinity[e] = np.sqrt(softplus)
            wish[e] = affinity[e] + bias[e]
            doubt += np.float32(0) * wish[e]
        if is_given:
            doubt = np.float32(0)
        else:
            _choose(wish, chosen[t])
        # weights = picked / picked.sum() * route_scale
        total = np.float32(0)
        for slot in range(K):
            total += affinity[chosen[t, slot]]
        for slot in range(K):
            weights[t, slot] = affinity[chosen[t, slot]] / total * np.float32(route_scale) + doubt


@njit
def _choose(wish, chosen):
    """The largest len(chosen) of `wish`, best first, of equal ones the earlier, NaN last: an insertion sort of a short list."""
    n = 0
    for e in range(len(wish)):
        if n < len(chosen):
            n += 1
        elif not _before(wish[e], wish[chosen[n - 1]]):
            continue
        place = n - 1
        while place > 0 and _before(wish[e], wish[chosen[place - 1]]):
            chosen[place] = chosen[place - 1]
            place -= 1
        chosen[place] = e


@njit
def _before(a, b):                                      # a ranks before b
    return a > b or (a == a and b != b)
