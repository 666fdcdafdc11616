"""Texts of thousands of tokens: both engines at all lengths that Hugging Face is compared at, and 65,536 tokens in two ways."""

import numba
import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.kernels.backend import NumbaBackend
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


def test_65536_tokens_in_chunks_of_two_sizes():
    """However the text is cut, the cache holds the same entries and the next tokens get the same scores."""
    config = Config.bench()
    model = CachedModel(config, build(config, random_tensors(config).get), NumbaBackend())
    ids = np.random.default_rng(3).integers(0, config.vocab_size, LONG)
    caches = []
    for chunk in (512, 1000):
        cache = model.new_cache()
        last = model.prefill(ids, cache, chunk=chunk)
        caches.append((cache, np.array([last, *(model.step(token, cache) for token in (5, 7, 11))])))
    (one, wanted), (two, got) = caches
    assert one.nbytes == two.nbytes and one.length == two.length == LONG + 3
    np.testing.assert_allclose(got, wanted, rtol=0, atol=CLOSE)
