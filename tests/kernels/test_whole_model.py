"""The compiled engine computes the same model as the NumPy one: same logits, any number of threads, any cache."""

import numba
import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.kernels import index
from v4mini.kernels.backend import NumbaBackend
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

COMPILED = not numba.config.DISABLE_JIT
LENGTHS = (1, 2, 5, 16, 17, 127, 128, 129, 300, 515) if COMPILED else (1, 5, 17, 131)    # plain Python is slow
CLOSE = 1e-4                    # float32, sums in another order, through up to 6 layers


@pytest.fixture(scope="module", params=["tiny", "mini"] if COMPILED else ["tiny"])
def engines(request):           # -> the same weights behind both engines
    config = getattr(Config, request.param)()
    weights = build(config, random_tensors(config).get)
    return CachedModel(config, weights, Backend()), CachedModel(config, weights, NumbaBackend())


@pytest.mark.parametrize("length", LENGTHS)
def test_logits_agree_at_every_length(engines, rng, length):
    plain, compiled = engines
    ids = rng.integers(0, plain.config.vocab_size, length)
    np.testing.assert_allclose(compiled.logits(ids), plain.logits(ids), rtol=0, atol=CLOSE)


def test_mtp_logits_agree(engines, rng):
    plain, compiled = engines
    ids = rng.integers(0, plain.config.vocab_size, 40)
    np.testing.assert_allclose(compiled.mtp_logits(ids), plain.mtp_logits(ids), rtol=0, atol=CLOSE)


def test_cached_pieces_agree_with_the_whole(engines, rng):
    plain, compiled = engines
    ids = rng.integers(0, plain.config.vocab_size, LENGTHS[-1])
    whole, cache = plain.logits(ids), compiled.new_cache()
    while cache.length < len(ids):
        piece = ids[cache.length: cache.length + int(rng.choice([1, 2, 3, 64, 130]))]
        np.testing.assert_allclose(compiled.prefill(piece, cache), whole[cache.length - 1], rtol=0, atol=CLOSE)


def test_eight_bit_codes_change_no_bit_of_a_cached_text(engines, rng, monkeypatch):
    """Through everything a cache does: it grows, goes back, is copied, both go on."""
    def scores():
        cache, ids = compiled.new_cache(reserve=40), np.random.default_rng(5).integers(0, compiled.config.vocab_size, LENGTHS[-1])
        found = [compiled.prefill(ids[:-30], cache)]
        cache.rewind(21)
        twin = cache.copy()
        for own in (cache, twin, cache):
            found += [compiled.step(int(token), own) for token in ids[-30:: 2]]
        return np.stack(found)
    _, compiled = engines
    monkeypatch.setattr(index, "CODED_FROM", 1 << 30)
    plain = scores()
    monkeypatch.setattr(index, "CODED_FROM", 1)
    np.testing.assert_array_equal(scores(), plain)


@pytest.mark.skipif(not COMPILED, reason="plain Python has one thread")
def test_threads_change_no_bit(engines, rng):
    _, compiled = engines
    ids = rng.integers(0, compiled.config.vocab_size, 700)
    logits = {}
    for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
        numba.set_num_threads(threads)
        logits[threads] = compiled.logits(ids)
    numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    np.testing.assert_array_equal(*logits.values() if len(logits) == 2 else (logits[1], logits[1]))


def test_describe_names_who_runs_each_operation():
    from v4mini.backend import OPERATIONS

    described = NumbaBackend().describe()
    assert set(described) == set(OPERATIONS) and all("num" in who for who in described.values())
