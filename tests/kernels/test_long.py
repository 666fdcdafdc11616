"""Texts of thousands of tokens: both engines at all lengths that Hugging Face is compared at, and 65,536 tokens in two ways."""

import numba
import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.kernels.backend import NumbaBackend
from v4mini.ops.index import index_scores
from v4mini.ops.route import affinity
from v4mini.proof.huggingface import LENGTHS, TIE, closest_ranks, random_config
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

CLOSE = 1e-4                    # float32, sums in another order
LONG = 1 << 16

pytestmark = [pytest.mark.slow, pytest.mark.skipif(numba.config.DISABLE_JIT, reason="hours in plain Python")]


def test_both_engines_at_all_lengths_beside_hugging_face():
    rng = np.random.default_rng(11)
    while True:                                         # until no two entries are so near that either may be chosen
        config = random_config(rng, n_hash_layers=1)
        weights = build(config, random_tensors(config).get)
        ids = rng.integers(0, config.vocab_size, max(LENGTHS))
        plain = CachedModel(config, weights, Backend())
        if closest_ranks(plain, ids) >= TIE:
            break
    compiled = CachedModel(config, weights, NumbaBackend())
    for length in LENGTHS:
        np.testing.assert_allclose(compiled.logits(ids[:length]), plain.logits(ids[:length]), rtol=0, atol=CLOSE)


class Choices(NumbaBackend):
    """Remembers which entries and experts every token chose, or, given another's choices, takes those.

    Among many choices some are ties within rounding, and on some processors BLAS adds a row otherwise in a taller matrix.
    One choice taken the other way changes all that follows. So the second run takes the first one's choices, and wherever
    its own would have been others, the two must be a tie. The last layer routes the last token of a chunk only: not here.
    """

    def __init__(self, last_layer, taken=None):
        super().__init__()
        self.last_layer, self.taken = last_layer, taken
        self.made, self.seen, self.ties = {}, {}, 0

    def at(self, layer):
        self.layer = layer
        return self

    def index_topk(self, q, keys, weights, visible, k):
        own = super().index_topk(q, keys, weights, visible, k)
        padded = np.pad(own, ((0, 0), (0, k - own.shape[1])), constant_values=-1)
        picks = self._choose("entries", padded, lambda t: index_scores(q[t:t + 1], keys[:], weights[t:t + 1])[0])
        return np.ascontiguousarray(picks[:, :own.shape[1]])

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        if chosen is not None or self.layer == self.last_layer:
            return super().route(scores, route_scale, k, bias, chosen)
        own = super().route(scores, route_scale, k, bias)[0]
        chosen = self._choose("experts", own, lambda t: affinity(scores[t]) + bias)
        return super().route(scores, route_scale, k, None, chosen)

    def _choose(self, what, own, scores_of):            # [T, k], t -> [N] -> [T, k]
        key = what, self.layer
        self.made.setdefault(key, []).append(own)
        if self.taken is None:
            return own
        start = self.seen.get(key, 0)
        self.seen[key] = start + len(own)
        taken = self.taken[key][start: start + len(own)]
        for t in np.flatnonzero((np.sort(own) != np.sort(taken)).any(axis=1)):
            scores, mine, theirs = scores_of(t), set(own[t]) - set(taken[t]), set(taken[t]) - set(own[t])
            apart = max(scores[list(mine)]) - min(scores[list(theirs)])
            assert -1 not in mine | theirs and abs(apart) < TIE * max(1, abs(scores).max()), f"{key}, token {start + t}: {apart}"
            self.ties += 1
        return taken


def test_65536_tokens_in_chunks_of_two_sizes():
    """However the text is cut, the cache holds the same entries and the next tokens get the same scores."""
    config = Config.bench()
    weights = build(config, random_tensors(config).get)
    ids = np.random.default_rng(3).integers(0, config.vocab_size, LONG)
    results, taken = [], None
    for chunk in (512, 1000):
        ops = Choices(config.n_layers - 1, taken)
        model = CachedModel(config, weights, ops)
        cache = model.new_cache()
        last = model.prefill(ids, cache, chunk=chunk)
        results.append((cache, np.array([last, *(model.step(token, cache) for token in (5, 7, 11))])))
        taken = {key: np.concatenate(parts) for key, parts in ops.made.items()}
    (one, wanted), (two, got) = results
    print(f"{ops.ties} ties in {sum(map(len, taken.values())):,} choices")
    assert {len(choices) for choices in taken.values()} == {LONG + 3}
    assert one.nbytes == two.nbytes and one.length == two.length == LONG + 3
    np.testing.assert_allclose(got, wanted, rtol=0, atol=CLOSE)
