"""Twin of ops/rope.py: rotating pairs by position. The frequencies are the op's own (no loop worth a kernel).

Not here: which layer uses which base (layers/attention.py).
"""

import math

import numpy as np
from numba import prange

from v4mini.kernels.arguments import as_floats, check_shape
from v4mini.kernels.compiled import njit
from v4mini.shapes import Refused

TOKENS_PER_THREAD = 16          # tokens a thread takes at a time
PARALLEL_FROM = 1 << 16         # numbers: below, waking a second thread costs more than it saves


def rope(x, positions, freqs, inverse=False):           # [T, ..., hd], [T] int, [rd / 2] -> [T, ..., hd]
    """Twin of ops.rope.rope. Threads share out tokens; a token's heads share its sines and cosines."""
    T, hd = len(x), x.shape[-1]
    positions, freqs = as_floats(np.asarray(positions, np.float32)), as_floats(freqs)
    check_shape("positions", positions, T, hint="One position for each token.")
    if freqs.ndim != 1 or 2 * len(freqs) > hd:
        raise Refused(f"rope: expected freqs [up to {hd // 2}], half a row, got {list(freqs.shape)}. Are they another layer's?")
    out = np.empty(x.shape, np.float32)
    if x.size:
        rows, into = (a.reshape(T, x.size // (T * hd), hd) for a in (as_floats(x), out))
        if x.size < PARALLEL_FROM:
            _rotate(rows, positions, freqs, inverse, into, 0, T)
        else:
            _rotate_all(rows, positions, freqs, inverse, into)
    return out


@njit(parallel=True)
def _rotate_all(x, positions, freqs, inverse, out):     # float32 [T, H, hd], [T], [rd / 2], bool -> out [T, H, hd]
    for block in prange((len(x) + TOKENS_PER_THREAD - 1) // TOKENS_PER_THREAD):
        _rotate(x, positions, freqs, inverse, out, block * TOKENS_PER_THREAD, min(len(x), (block + 1) * TOKENS_PER_THREAD))


@njit
def _rotate(x, positions, freqs, inverse, out, start, stop):
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
            # rotated[0::2] = even * cos - odd * sin;  rotated[1::2] = even * sin + odd * cos
            pairs, rotated = x[t, h, still:], out[t, h, still:]
            for i in range(half):
                even, odd = pairs[2 * i], pairs[2 * i + 1]
                rotated[2 * i] = even * cos[i] - odd * sin[i]
                rotated[2 * i + 1] = even * sin[i] + odd * cos[i]
