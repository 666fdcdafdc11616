"""Twin of ops/index.py: score and selection in one pass over the keys; no array of tokens x entries exists at any time.

Where the processor can, eight-bit codes of the keys say first which entries cannot be among the best; only the others are scored,
in float32, by the loop that scores all of them elsewhere. So the picks are the same, ties included.
Not here: the loops (candidates.py), the codes (keys.py, bounds.py), attention itself (attention.py).
"""

import numpy as np
from numba import get_num_threads

from v4mini.kernels import bounds
from v4mini.kernels.arguments import as_floats, as_plain, check_shape, clipped
from v4mini.kernels.candidates import (
    TILE,
    TOKENS_PER_TILE,
    Asked,
    Found,
    merge,
    scan,
    scan_all,
    scan_all_coded,
    scan_coded,
)
from v4mini.kernels.keys import NO_CODES, Codes, KeyRows, pieces_of
from v4mini.kernels.schedule import in_small_chunks
from v4mini.ops import index as numpy_index

AT_ONCE = 1 << 16               # keys decoded at a time from a store that is not float32
PARALLEL_FROM = 1 << 22         # multiply-adds: below, waking a second thread costs more than it saves
CODED_FROM = 1 << 11            # keys: below, most pass a bar that is still low
ENCODED_FROM = 1 << 6           # tokens that make it pay to encode keys for one call alone


def index_topk(q, keys, weights, visible, k):           # ..., [T] int, int -> [T, min(k, N)] int64
    """Twin of ops.index.index_topk. Threads share out tokens, and for few tokens ranges of keys, merged by exact selection.

    keys may be any store with shape and slices that give float32, such as a bf16 cache.
    """
    return picks_and_looks(q, keys, weights, visible, k)[0]


def picks_and_looks(q, keys, weights, visible, k):      # -> [T, min(k, N)] int64, [T] int64
    """The picks, and of how many entries each token needed the score: without codes, of all that it sees."""
    T, Hi, di = q.shape
    N = keys.shape[0]
    check_shape("weights", weights, T, Hi)
    check_shape("visible", visible, T)
    check_shape("keys", keys, N, di, hint="Are they another layer's?")
    k = min(int(k), N)
    out = np.empty((T, k), np.int64)
    if not out.size:
        return out, np.zeros(T, np.int64)
    q, weights, (visible, most) = as_floats(q), as_floats(weights), clipped(as_plain(visible, np.int64), N)
    found = _joined([_found(Asked(q, weights, visible, *part), k) for part in _parts(keys, most, T)])
    merge(found.ranks, found.entries, found.counts, out)
    if found.has_nan.any():                             # a score that is no number ranks below entries not yet visible: rare, so
        t = np.flatnonzero(found.has_nan)               # the formula itself says what to do
        out[t] = numpy_index.index_topk(q[t], as_floats(keys[:]), weights[t], visible[t], k)
    return out, found.looks.sum(axis=1)


def _joined(found):                                     # [Found of ranges that follow one another] -> Found
    if len(found) == 1:
        return found[0]
    *by_range, has_nan = zip(*found)
    return Found(*(np.concatenate(parts, axis=1) for parts in by_range), np.any(has_nan, axis=0))


def _parts(keys, stop, tokens):                         # -> (float32 [n, di], codes, lengths, first entry), at least one
    first = 0
    for piece in pieces_of(keys):
        step = max(1, len(piece)) if isinstance(piece, np.ndarray | KeyRows) else AT_ONCE
        for start in range(0, max(1, min(len(piece), stop - first)), step):
            part = piece[start: min(stop - first, start + step)]
            rows = as_floats(part.rows if isinstance(part, KeyRows) else part)
            yield rows, *_codes(part, rows, tokens), first + start
        first += len(piece)
        if first >= stop:
            return


def _codes(part, rows, tokens):                         # -> codes, lengths; empty where they do not pay
    if len(rows) < CODED_FROM or not bounds.is_there():
        return NO_CODES
    if isinstance(part, KeyRows):
        return part.codes.upto(len(rows))
    return Codes(rows).upto(len(rows)) if tokens >= ENCODED_FROM else NO_CODES


def _found(asked, k):                                   # -> Found
    T, n = len(asked.q), len(asked.keys)
    blocks, few = -(-T // TOKENS_PER_TILE), asked.q.size * n < PARALLEL_FROM
    parts = 1 if few else max(1, min(-(-get_num_threads() // blocks), -(-n // TILE)))       # ranges of keys
    found = Found(np.empty((T, parts, k), np.int32), np.empty((T, parts, k), np.int64), np.empty((T, parts), np.int64),
                  np.empty((T, parts), np.int64), np.zeros(T, np.bool_))
    run, run_all = (scan_coded, scan_all_coded) if len(asked.codes) else (scan, scan_all)
    if few:
        run(0, T, asked, found)
    else:
        in_small_chunks(run_all, blocks * parts, blocks * parts, TOKENS_PER_TILE, asked, found)
    return found
