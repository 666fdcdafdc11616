"""Lesson 00: scores into probabilities. A first exercise, and an example of how one is written."""

import numpy as np

from v4mini.inference.sampling import distribution
from v4mini.lessons.exercise import Exercise


def probabilities(logits):                  # [V] -> [V], sums to 1
    return distribution(logits, temperature=1.0, top_p=1.0)


def _cases(rng):
    yield "three scores", (np.array([0.0, 1.0, 2.0], np.float32),)
    yield "all equal", (np.zeros(5, np.float32),)
    yield "2048 scores, as the mini gives", (rng.standard_normal(2048).astype(np.float32),)
    yield "one score far above the others", (np.array([0, 1000, 5], np.float32),)
    yield "all of them very low", (np.array([-1000, -1001, -1003], np.float32),)


def _by_logarithm(logits):
    total = np.logaddexp.reduce(np.asarray(logits, np.float64))
    return np.exp(logits - total)


def _overflows(logits):
    return np.exp(logits) / np.exp(logits).sum()


def _no_exponential(logits):
    return logits / logits.sum()


EXERCISES = [
    Exercise("start.probabilities", _cases, ours=probabilities, differently=_by_logarithm, wrong=(_overflows, _no_exponential),
             tolerance=1e-6,
             hints=("np.exp makes every score positive. Divide by the sum of all, and they sum to 1.",
                    "np.exp(1000) is inf, and inf / inf is nan. What can you subtract from all scores and keep the result?",
                    "Subtract logits.max() first: the largest exponent is then 0, and nothing overflows.")),
]
