"""DSparkDrafter: the three DSpark blocks between two passes of the model, and the ring of main rows that they keep.

Not here: the blocks themselves (layers/dspark.py), the loop that asks for drafts and verifies them (speculate.py).
"""

from functools import partial

import numpy as np

from v4mini.inference.cache import Cache
from v4mini.inference.sampling import draw
from v4mini.layers.dspark import confidence, everything_but_itself, markov, parallel_stage
from v4mini.layers.finite import finite_pass
from v4mini.planning.speculation import admitted


class DSparkDrafter:
    """Guesses up to dspark_block_size tokens a round.

    waiting: taps [n, layers * D] of tokens that the model has read and the ring has not, at least one. `confidences` holds what
    the last round said of its drafts, as logits. speeds: passes a second with 1, 2, ... tokens, in any unit; a round then ends
    before the first draft that would not pay, as planning.speculation.admitted has it. Whether it pays is known from the drafts
    before it, never from its own value: so what is verified does not depend on what it is, and the text follows the model.
    Positions count from the first token in the ring: a window layer sees distances only.
    """

    def __init__(self, model, storage, reserve, taps, speeds=None):
        c = model.config
        self.model = model
        self.waiting = taps
        self.confidences = []
        self.speeds = speeds
        self.layers = range(c.n_layers, c.n_layers + c.n_dspark_layers)
        self.cache = Cache(c, storage, reserve, layers=self.layers, formats=model.ops.formats)

    def draft(self, next_ids, count, choose, rng):      # [n] ints, int -> [count] ints, [count] x [V]
        """Guess what comes after next_ids, of which the last is the anchor; and from which distribution each was drawn."""
        h, base = self._block(int(next_ids[-1]))
        previous = int(next_ids[-1])
        drafts, draft_probs, self.confidences = [], [], []
        for place in range(count):
            (scores, sure), _ = finite_pass(self.model, partial(_one, h[place: place + 1], base[place: place + 1], previous))
            self.confidences.append(float(sure[0, 0]))
            if self.speeds is not None and not self._pays():
                break
            draft_probs.append(choose(scores[0]))
            previous = draw(draft_probs[-1], rng)
            drafts.append(previous)
        return drafts, draft_probs

    def _pays(self):                                    # -> whether the draft whose confidence came last is worth a place
        chances = 1 / (1 + np.exp(-np.array(self.confidences)))
        return admitted([chances], lambda tokens: self.speeds[tokens - 1]) == [len(chances)]

    def _block(self, anchor):                           # -> h [G, D], base [G, V]
        model = self.model
        c = self.model.config
        new = len(self.waiting)
        ids = np.array([anchor] + [c.dspark_noise_token_id] * (c.dspark_block_size - 1))
        start = self.cache.length
        picks = everything_but_itself(min(start + new, c.window_size), len(ids))

        def keep(layer, rows):
            return self.cache.extend(layer, "window", rows)[-c.window_size:]
        places = start + new + np.arange(len(ids))

        def run(model):
            main_places = np.arange(start, start + new)
            h, base = parallel_stage(model.ops, self.waiting, main_places, ids, places, picks, model.weights, c, keep)
            return (base,), (h, base)
        _, found = finite_pass(model, run)
        self.cache.commit(new)
        return found


def _one(h, base, previous, model):                     # [1, D], [1, V], int -> (scores [1, V], confidence [1, 1]), None
    rows, bias = markov(model.ops, np.array([previous]), model.weights.dspark)
    return (base + bias, confidence(model.ops, h, rows, model.weights.dspark)), None
