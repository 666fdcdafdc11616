"""Twin of ops/rope.py: turning pairs by position. The frequencies are the op's own (no loop worth a kernel).

Not here: which layer uses which base (layers/attention.py).
"""

import math

import numpy as np
from numba import njit, prange

from v4mini.kernels.door import expect_shape, floats
from v4mini.shapes import Refused

TOKENS = 16                     # tokens a thread takes at a time
SERIAL = 1 << 16                # numbers: below, waking a second thread costs more than it saves


def rope(x, positions, freqs, inverse=False):           # [T, ..., hd], [T] int, [rd / 2] -> [T, ..., hd]
    """Twin of ops.rope.rope. Threads share out tokens; a token's heads share its sines and cosines."""
    T, hd = len(x), x.shape[-1]
    positions, freqs = floats(np.asarray(positions, np.float32)), floats(freqs)
    expect_shape("positions", positions, T, hint="One position for each token.")
    if freqs.ndim != 1 or 2 * len(freqs) > hd:
        raise Refused(f"rope: expected freqs [up to {hd // 2}], half a row, got {list(freqs.shape)}. Are they another layer's?")
    out = np.empty(x.shape, np.float32)
    if x.size:
        rows, into = (a.reshape(T, x.size // (T * hd), hd) for a in (floats(x), out))
        if x.size < SERIAL:
            _turn(rows, positions, freqs, inverse, into, 0, T)
        else:
            _turn_all(rows, positions, freqs, inverse, into)
    return out


@njit(parallel=True, cache=True)
def _turn_all(x, positions, freqs, inverse, out):       # float32 [T, H, hd], [T], [rd / 2], bool -> out [T, H, hd]
    for block in prange((len(x) + TOKENS - 1) // TOKENS):
        _turn(x, positions, freqs, inverse, out, block * TOKENS, min(len(x), (block + 1) * TOKENS))


@njit(cache=True)
def _turn(x, positions, freqs, inverse, out, start, stop):
    _, H, hd = x.shape
    half = len(freqs)
    still = hd - 2 * half
    cos, sin = np.empty(half, np.float32), np.empty(half, np.float32)
    for t in range(start, stop):
        for i in range(half):
            # angles = positions * freqs, a float32 product
            angle = positions[t] * freqs[i]
            cos[i], sin[i] = math.cos(angle), -math.sin(angle) if inverse else math.sin(angle)
        for h in range(H):
            for d in range(still):
                out[t, h, d] = x[t, h, d]
            # turned[0::2] = even * cos - odd * sin;  turned[1::2] = even * sin + odd * cos
            pairs, turned = x[t, h, still:], out[t, h, still:]
            for i in range(half):
                even, odd = pairs[2 * i], pairs[2 * i + 1]
                turned[2 * i] = even * cos[i] - odd * sin[i]
                turned[2 * i + 1] = even * sin[i] + odd * cos[i]
