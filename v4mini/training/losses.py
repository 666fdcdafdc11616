"""What training minimises, each with its gradient by hand, and the update that balances experts without a loss.

Every loss gives (value, gradient). Not here: when each is asked for, and how much it weighs (step.py).
"""

import numpy as np

from v4mini.ops.route import affinity
from v4mini.shapes import Refused
from v4mini.training.backward.route import affinity as affinity_slope


def nll(logits, targets, share):                        # [n, V], [n] int, [n] -> [n], g_logits [n, V]
    """-log softmax(logits)[target] of each row; and the gradient of their sum, each times its share:

    g = (softmax - onehot) share.
    """
    highest = logits.max(axis=1, keepdims=True)
    p = np.exp(logits - highest)                                                        # [n, V]
    sums = p.sum(axis=1, keepdims=True)
    at = np.arange(len(targets)), targets
    surprise = np.log(sums[:, 0]) + highest[:, 0] - logits[at]
    p *= share[:, None] / sums
    p[at] -= share
    return surprise, p


def cross_entropy(logits, targets, weights, each=nll):  # [n, V], [n] int, [n] -> float, g_logits [n, V]
    """Weighted mean of -log softmax(logits)[target], and its gradient. Refused if all weigh 0. each: the above, or its twin."""
    total = float(weights.sum(dtype=np.float64))
    if not total > 0:
        raise Refused("weights: expected some prediction of weight above 0, got none. Is every sequence one token long?")
    share = (weights / total).astype(logits.dtype)
    surprise, g = each(logits, targets, share)
    return float(surprise @ share), g


def balance(scores, chosen, spans):                     # [T, E], [T, K] int, [slice] -> float, g_scores [T, E]
    """Sequence-wise balance: mean over sequences of sum_e f_e P_e; 1 if all is even.

    f_e = E / (K T) * how often e was chosen (a count, so no gradient), P_e = mean over tokens of a_e / sum(a), a the
    affinities. Source: V3 report (arXiv:2412.19437) eq. 17-20, which V4's section 2.1 keeps.
    """
    E, K = scores.shape[1], chosen.shape[1]
    a = affinity(scores)
    total = a.sum(axis=1, keepdims=True)
    value = 0.0
    g = np.empty_like(scores)
    for span in spans:
        T = span.stop - span.start
        f = (np.bincount(chosen[span].ravel(), minlength=E) * (E / (K * T))).astype(scores.dtype)
        shares = a[span] / total[span]                                                  # [T, E], rows sum to 1
        each = shares @ f                                                               # [T]
        value += float(each.mean()) / len(spans)
        # d share_e / d a_j = (1[e = j] - share_e) / total
        g[span] = (f - each[:, None]) / (total[span] * (T * len(spans)))
    return value, g * affinity_slope(scores, a)


def index_divergence(scores, target, seen):             # [T, N] twice, [T, N] bool -> float, g_scores [T, N], float
    """How badly index scores predict attention: sum_t m_t KL(target_t / m_t || softmax(scores_t)), its gradient, sum_t m_t.

    target: attention weights on entries, summed over heads; m_t, their sum, is how much token t cares. Both are taken as
    given. The caller divides by the sum of m_t (of all sequences), so that tokens count as their attention does.
    g = m_t softmax - target.
    Source: DeepSeek-V3.2 (arXiv:2512.02556) trains its indexer by this divergence; V4's report says only "warm up the indexer".
    """
    mass = target.sum(axis=1, keepdims=True)                                            # [T, 1]
    logits = np.where(seen, scores, -np.inf)
    highest = logits.max(axis=1, keepdims=True, initial=np.finfo(scores.dtype).min)
    p = np.exp(logits - highest)
    total = p.sum(axis=1, keepdims=True)
    p /= np.maximum(total, np.finfo(p.dtype).tiny)
    log_p = np.where(seen, scores - highest - np.log(np.maximum(total, np.finfo(p.dtype).tiny)), 0)
    there = target > 0
    log_target = np.log(np.where(there, target, 1)) - np.log(np.where(mass > 0, mass, 1))
    value = float((target * np.where(there, log_target - log_p, 0)).sum())
    return value, mass * p - target, float(mass.sum())


def recall(target, picks, seen):                        # [T, N], [T, K] int, [T, N] bool -> float, float
    """Of the K entries that attention weighs most, how many the indexer picks: (sum over tokens of m_t share_t, sum of m_t).

    Only tokens that see more than K entries count, each as its attention on entries (m_t).
    """
    T, K = picks.shape
    hard = seen.sum(axis=1) > K
    if not hard.any():
        return 0.0, 0.0
    best = np.argpartition(-target[hard], K - 1, axis=1)[:, :K]                         # attention's own K
    picked = np.zeros_like(seen[hard])
    np.put_along_axis(picked, picks[hard], True, axis=1)                                # these tokens have no -1
    mass = target[hard].sum(axis=1, dtype=np.float64)
    return float(mass @ np.take_along_axis(picked, best, axis=1).mean(axis=1)), float(mass.sum())


def update_bias(bias, load, speed=0.001):               # [E], [E] counts -> [E]
    """An expert with less than the mean load is wanted more, and the reverse; no gradient.

    Source: V3 report (arXiv:2412.19437) section 2.1.2; V4 report 4.2, speed 0.001.
    """
    return (bias + speed * np.sign(np.mean(load) - load)).astype(bias.dtype)
