"""Many tokens into one entry, by a softmax over tokens that each channel takes for itself.

Not here: the norm, rotation and rounding that follow (layers/compressor.py).
"""

import numpy as np


def visible(positions, ratio):                          # [T] int -> [T] int
    """How many entries a query may read: blocks that end at or before its own position.

    The last token of a block already sees that block's entry (the report's text says it does not; the released
    code and Hugging Face agree that it does). Source: reference inference/model.py, get_compress_topk_idxs.
    """
    return (np.asarray(positions) + 1) // ratio


def pool(kv, score):                                    # [n, slots, D] twice -> [n, D]
    """Sum over slots of softmax(score) * kv, separately for each channel. A slot of score -inf is absent."""
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return (weight * kv).sum(axis=1) / weight.sum(axis=1)


def compress(kv, score, ape, ratio, previous=None, overlap=False):      # [n * ratio, C] twice, [ratio, C] -> [n, D]
    """One entry per block of `ratio` tokens. ape is added to the scores of each block: what a place in it is worth.

    Plain (HCA): C = D, an entry pools its own block. Overlapping (CSA): C = 2D, an entry pools the first D columns
    of the block before and the last D columns of its own. `previous` is (kv, score), each [ratio, C], of the block
    before the first, without ape; None: there is none.
    Source: V4 report 2.3.1-2.3.2; reference inference/model.py, class Compressor (overlap_transform).
    """
    n = len(kv) // ratio
    C = kv.shape[1]
    kv, score = kv.reshape(n, ratio, C), score.reshape(n, ratio, C) + ape
    if not overlap:
        return pool(kv, score)
    D = C // 2
    if previous is None:
        previous = np.zeros_like(kv, shape=(ratio, C)), np.full_like(score, -np.inf, shape=(ratio, C))
    else:
        previous = previous[0], previous[1] + ape
    before_kv = np.concatenate([previous[0][None, :, :D], kv[:, :, :D]])[:n]            # [n, ratio, D]
    before_score = np.concatenate([previous[1][None, :, :D], score[:, :, :D]])[:n]
    return pool(np.concatenate([before_kv, kv[:, :, D:]], axis=1),
                np.concatenate([before_score, score[:, :, D:]], axis=1))
