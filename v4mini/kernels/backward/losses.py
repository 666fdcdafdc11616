"""Twin of nll in training/losses.py: softmax, surprise and gradient of a row while it is in the cache.

Not here: the other losses, which are small.
"""

import numpy as np

from v4mini.kernels.arguments import as_floats, as_plain, check_shape
from v4mini.kernels.compiled import njit
from v4mini.kernels.schedule import share_out
from v4mini.kernels.vector import exp
from v4mini.shapes import Refused

ROWS_PER_THREAD = 64            # rows a thread takes at a time


def nll(logits, targets, share):                        # [n, V], [n] int, [n] -> [n], [n, V]
    """Twin of training.losses.nll; rows that count for nothing are not looked at. Threads share out rows."""
    n, V = logits.shape
    targets = as_plain(targets, np.int64)
    check_shape("targets", targets, n)
    check_shape("share", share, n)
    if n and not 0 <= targets.min() <= targets.max() < V:
        raise Refused(f"targets: expected ids 0 to {V - 1}, got {targets.min()} to {targets.max()}.")
    surprise, g = np.empty(n, np.float32), np.empty((n, V), np.float32)
    share_out(_rows, -(-n // ROWS_PER_THREAD), as_floats(logits), targets, as_floats(share), surprise, g)
    return surprise, g


@njit(nogil=True)
def _rows(block, logits, targets, share, surprise, g):
    for t in range(block * ROWS_PER_THREAD, min(len(logits), (block + 1) * ROWS_PER_THREAD)):
        if share[t] == 0:
            surprise[t], g[t] = 0, 0
        else:
            surprise[t] = _row(logits[t], targets[t], share[t], g[t])


@njit(error_model="numpy", fastmath={"reassoc", "contract"})   # the order of the sum may change, NaN may not
def _row(logits, target, share, g):                     # -> surprise
    highest, total = logits[0], np.float32(0)
    for j in range(len(logits)):
        highest = max(highest, logits[j])
    for j in range(len(logits)):
        g[j] = exp(logits[j] - highest)
        total += g[j]
    for j in range(len(logits)):
        g[j] *= share / total
    g[target] -= share
    return np.log(total) + highest - logits[target]
