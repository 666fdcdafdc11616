"""From scores to a token. Not here: where scores come from."""

from typing import NamedTuple

import numpy as np

from v4mini.shapes import Refused


def check_sampling(temperature, top_p):
    """Raise Refused for settings outside their range."""
    if not (_is_number(temperature) and 0 <= temperature < float("inf")):
        raise Refused(f"temperature: expected 0 or more, got {temperature!r}. V4 was released with 1.0; 0 takes the best token.")
    if not (_is_number(top_p) and 0 < top_p <= 1):
        raise Refused(f"top_p: expected above 0, at most 1, got {top_p!r}. V4 was released with 1.0.")


def _is_number(value):
    return isinstance(value, int | float | np.floating) and not isinstance(value, bool)


def distribution(logits, temperature, top_p, vocabulary=None):     # [V] -> [V or vocabulary] float64, sums to 1
    """Softmax of logits / temperature, cut to the fewest best tokens that hold top_p of it. Temperature 0: the best one.

    Of equal logits the earlier token counts as better. vocabulary: how many first rows stand for tokens; the rest is padding.
    """
    logits = np.asarray(logits[:vocabulary], np.float64)
    if temperature == 0:
        return (np.arange(len(logits)) == np.argmax(logits)).astype(np.float64)
    with np.errstate(over="ignore"):                    # -inf for a temperature near 0 is the right limit
        p = np.exp((logits - logits.max()) / temperature)
    p /= p.sum()
    if top_p < 1:
        order = np.argsort(-logits, kind="stable")
        ahead = np.cumsum(p[order]) - p[order]          # mass of the better ones
        p[order[ahead >= top_p]] = 0
        p /= p.sum()
    return p


class Sampling(NamedTuple):
    """How tokens are drawn; see `distribution`. The defaults are the release's generation_config."""

    temperature: float = 1.0
    top_p: float = 1.0
    vocabulary: int | None = None

    def probs(self, logits):                            # [V] -> [V or vocabulary] float64, sums to 1
        return distribution(logits, *self)


def draw(p, rng):                                       # [V], sums to 1 -> int
    """A token from a distribution. One that is sure, as at temperature 0, takes no random number."""
    best = int(np.argmax(p))
    return best if p[best] == 1 else int(rng.choice(len(p), p=p))


def sample(logits, rng, temperature=1.0, top_p=1.0, vocabulary=None):      # [V] -> int
    """Draw a token. Source: the release's generation_config (temperature 1, top_p 1)."""
    return draw(distribution(logits, temperature, top_p, vocabulary), rng)
