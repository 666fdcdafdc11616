"""Lesson 14: the bias that evens out work, the loss that does so within one text, and how far an indexer is from attention."""

import numpy as np

from v4mini.lessons.exercise import Exercise
from v4mini.training import losses

# ---- the bias ----

def _bias_cases(rng):
    yield "by pencil: 8 choices, 4 experts, mean 2", (np.zeros(4), np.array([6, 1, 1, 0]), 0.5)
    yield "exactly the mean: left alone", (np.array([0.5, -0.5, 0.0]), np.array([3, 2, 1]), 0.25)
    yield "all even: nothing moves", (np.array([1.0, 2.0]), np.array([4, 4]), 0.001)
    yield "a little too much moves as far as far too much", (np.zeros(3), np.array([101, 100, 0]), 0.5)
    yield "many experts, V4's speed", (rng.standard_normal(64), rng.integers(0, 9, 64), 0.001)


def _bias_one_by_one(bias, load, speed=0.001):
    mean = sum(load) / len(load)
    return np.array([b + speed if n < mean else b - speed if n > mean else b for b, n in zip(bias, load)])


def _bias_the_wrong_way(bias, load, speed=0.001):
    return bias - speed * np.sign(np.mean(load) - load)


def _bias_by_how_much(bias, load, speed=0.001):
    return bias + speed * (np.mean(load) - load)


# ---- the balance loss of one text ----

def unevenness(affinities, chosen):                         # [T, E], [T, K] int -> float
    """sum over experts of f_e P_e; 1 if all is even."""
    (T, E), K = affinities.shape, chosen.shape[1]
    f = np.bincount(chosen.ravel(), minlength=E) * (E / (K * T))
    return float(f @ (affinities / affinities.sum(axis=1, keepdims=True)).mean(axis=0))


def _text(rng, T, E, K, lean=0.0):
    affinities = rng.uniform(0.1, 2.0, (T, E))
    affinities[:, 0] += lean
    return affinities, np.argsort(-affinities, axis=1)[:, :K]


def _unevenness_cases(rng):
    yield "by pencil: two tokens, both like and choose expert 0", (np.array([[3.0, 1.0], [3.0, 1.0]]), np.array([[0], [0]]))
    yield "by pencil: each its own", (np.array([[3.0, 1.0], [1.0, 3.0]]), np.array([[0], [1]]))
    yield "all affinities alike: 1, whoever is chosen", (np.ones((4, 4)), np.array([[0, 1]] * 4))
    yield "two of eight each", _text(rng, 20, 8, 2)
    yield "a favourite", _text(rng, 20, 8, 2, lean=2.0)
    yield "loud tokens count no more than quiet ones", (np.array([[30.0, 10.0], [0.1, 0.3]]), np.array([[0], [1]]))


def _unevenness_by_loops(affinities, chosen):
    (T, E), K = affinities.shape, chosen.shape[1]
    total = 0.0
    for e in range(E):
        asked = sum(e in row for row in chosen.tolist())
        liked = sum(row[e] / sum(row) for row in affinities.tolist()) / T
        total += E * asked / (K * T) * liked
    return total


def _unevenness_loud_tokens(affinities, chosen):
    (T, E), K = affinities.shape, chosen.shape[1]
    f = np.bincount(chosen.ravel(), minlength=E) * (E / (K * T))
    return float(f @ affinities.sum(axis=0) / affinities.sum())


def _unevenness_counts_only(affinities, chosen):
    (T, E), K = affinities.shape, chosen.shape[1]
    f = np.bincount(chosen.ravel(), minlength=E) * (E / (K * T))
    return float(f @ f / E)


# ---- how far index scores are from attention ----

def divergence(scores, attention):                          # [T, N] twice -> float
    """sum_t m_t KL(attention_t / m_t || softmax(scores_t)) / sum_t m_t, with m_t the sum of attention_t."""
    value, _, mass = losses.index_divergence(scores, attention, np.ones(scores.shape, bool))
    return value / mass


def _attention(rng, T, N, masses):
    p = np.exp(2 * rng.standard_normal((T, N)))
    return p / p.sum(axis=1, keepdims=True) * np.asarray(masses)[:, None]


def _divergence_cases(rng):
    half = np.array([[0.5, 0.5]])
    yield "by pencil: the same shares, no divergence", (np.zeros((1, 2)), half)
    yield "by pencil: all on one of two, scores alike: log 2", (np.zeros((1, 2)), np.array([[1.0, 0.0]]))
    yield "adding 100 to all scores changes nothing", (np.array([[100.0, 101.0]]), half)
    yield "one token cares ten times as much", (rng.standard_normal((2, 5)), _attention(rng, 2, 5, [1.0, 0.1]))
    yield "many tokens", (rng.standard_normal((12, 30)), _attention(rng, 12, 30, rng.uniform(0.05, 4, 12)))
    yield "two tokens whose scores lie 2000 apart", (rng.standard_normal((2, 4)) + np.array([[1000.0], [-1000.0]]),
                                                     _attention(rng, 2, 4, [1.0, 1.0]))
    yield "scores so far apart that exp alone overflows", (np.array([[900.0, 0.0, 899.0]]), np.array([[0.6, 0.0, 0.2]]))


def _log_softmax(scores):
    z = scores - scores.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def _divergence_by_entropies(scores, attention):
    safe = np.where(attention > 0, attention, 1)
    mass = attention.sum(axis=1)
    entropy = -(attention * np.log(safe)).sum() + (mass * np.log(mass)).sum()
    return float((-(attention * _log_softmax(scores)).sum() - entropy) / mass.sum())


def _divergence_largest_of_all(scores, attention):
    z = scores - scores.max()
    log_q = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    mass = attention.sum(axis=1, keepdims=True)
    p = attention / mass
    return float((attention * (np.log(np.where(p > 0, p, 1)) - log_q)).sum() / mass.sum())


def _divergence_all_alike(scores, attention):
    p = attention / attention.sum(axis=1, keepdims=True)
    return float((p * (np.log(np.where(p > 0, p, 1)) - _log_softmax(scores))).sum(axis=1).mean())


def _divergence_the_other_way(scores, attention):
    mass = attention.sum(axis=1, keepdims=True)
    log_q, p = _log_softmax(scores), np.maximum(attention / mass, 1e-12)
    return float((mass[:, 0] * (np.exp(log_q) * (log_q - np.log(p))).sum(axis=1)).sum() / mass.sum())


EXERCISES = [
    Exercise("training.losses.update_bias", _bias_cases, differently=_bias_one_by_one, tolerance=1e-6,
             wrong=(_bias_the_wrong_way, _bias_by_how_much),
             hints=("Who has more work than the mean becomes less attractive, who has less becomes more so.",
                    "np.sign gives -1, 0 or 1: only the direction counts, not how far off the load is.",
                    "bias + speed * np.sign(np.mean(load) - load)")),
    Exercise("choices.unevenness", _unevenness_cases, ours=unevenness, differently=_unevenness_by_loops, tolerance=1e-6,
             wrong=(_unevenness_loud_tokens, _unevenness_counts_only),
             hints=("Two lists of E numbers: f, how often each expert was chosen, and P, how much each is liked. Then f @ P.",
                    "f: np.bincount(chosen.ravel(), minlength=E), times E / (K T), so that an even share is 1.",
                    "P: divide each token's affinities by their own sum first, then take the mean over tokens.")),
    Exercise("choices.divergence", _divergence_cases, ours=divergence, differently=_divergence_by_entropies, tolerance=1e-5,
             wrong=(_divergence_all_alike, _divergence_the_other_way, _divergence_largest_of_all),
             hints=("Per token: sum over entries of p (log p - log q), p = attention / m, q = softmax(scores). Times m, summed "
                    "over tokens, divided by the sum of all m.",
                    "m p is attention itself: sum(attention * (log p - log q)) / sum(attention).",
                    "log q: z = scores - their max, then z - log(sum(exp(z))). Where attention is 0, log p may be anything: use "
                    "np.where(attention > 0, p, 1) inside the log.")),
]
