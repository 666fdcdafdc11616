"""The lightning indexer: a cheap score for each (token, entry), and the best entries of each token.

Not here: attention itself (ops/attention.py).
"""

import numpy as np

SCORES_AT_ONCE = 1 << 24        # floats of scratch: bounds memory, changes no number


def index_scores(q, keys, weights):                     # [T, Hi, di], [N, di], [T, Hi] -> [T, N]
    """Sum over index heads of weight * relu(q . key). Weights may be negative.

    Source: V4 report 2.3.1, eq. 16; reference inference/model.py, Indexer.forward.
    """
    T, Hi, di = q.shape
    products = (q.reshape(T * Hi, di) @ keys.T).reshape(T, Hi, len(keys))               # [T, Hi, N]
    np.maximum(products, 0, out=products)
    return np.matmul(weights[:, None, :], products)[:, 0]


def top_k(scores, k):                                   # [T, N] -> [T, k] int64, best first
    """The k largest of each row; of equal ones the earlier. -inf and NaN rank last."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def index_topk(q, keys, weights, visible, k):           # ..., [T] int, int -> [T, min(k, N)] int64
    """Which entries each token reads: the k best-scored of its first `visible`, in rising order, then -1 where none is left.

    Ties go to the earlier entry: relu makes scores of exactly 0 common. Source: as index_scores.
    """
    N, picked, keys = len(keys), [], keys[:]            # a cache that stores 4 bits decodes them here, once
    at_once = max(1, SCORES_AT_ONCE // max(1, q.shape[1] * N))
    for start in range(0, len(q), at_once):
        rows = slice(start, start + at_once)
        seen = np.arange(N) < visible[rows, None]                                       # [t, N]
        best = top_k(np.where(seen, index_scores(q[rows], keys, weights[rows]), -np.inf), min(k, N))
        best = np.sort(np.where(best < visible[rows, None], best, N), axis=1)
        picked.append(np.where(best < N, best, -1))
    return np.concatenate(picked) if picked else np.empty((0, min(k, N)), np.int64)
