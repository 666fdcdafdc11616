"""Layers, model and caches treat an engine's arrays by the contract alone: on arrays closed to NumPy they give the same bits."""

import numpy as np
import pytest
from layers.closed import Closed, ClosedBackend

from v4mini import generate
from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.planning.memory import STORAGES
from v4mini.trace import Trace

TINY = Config.tiny()
IDS = np.random.default_rng(5).integers(0, 97, 70)


@pytest.fixture(scope="module")
def pair(model_of):                                     # the same weights on closed arrays and on open ones
    return [model_of(TINY, engine()) for engine in (ClosedBackend, Backend)]


def test_whole_texts_and_what_is_traced(pair):
    traces = [Trace("attn.weights", "ffn.scores"), Trace("attn.weights", "ffn.scores")]
    closed, plain = (model.logits_many([IDS, IDS[:9]], trace) for model, trace in zip(pair, traces))
    np.testing.assert_array_equal(np.concatenate(closed), np.concatenate(plain))
    assert traces[0].keys() == traces[1].keys() and not any(isinstance(value, Closed) for value in traces[0].values())
    np.testing.assert_array_equal(*(model.mtp_logits(IDS) for model in pair))


@pytest.mark.parametrize("storage", STORAGES)
def test_caches_of_every_storage(pair, storage, tmp_path):
    after = []
    for number, model in enumerate(pair):
        cache, other = model.new_cache(storage), model.new_cache(storage)
        model.prefill_many([IDS[:33], IDS[:6]], [cache, other])
        twin = cache.copy()
        model.step(1, cache)
        cache.rewind(1)
        logits = [model.step_many([2, 3, 4], [cache, twin, other]), model.prefill(IDS[33:], cache)[None]]
        cache.save(tmp_path / f"{number}")
        logits.append(model.step(5, model.load_cache(tmp_path / f"{number}"))[None])
        after.append(np.concatenate(logits))
    np.testing.assert_array_equal(*after)


@pytest.mark.parametrize("config", [TINY, TINY.with_dspark(block_size=4, markov_rank=8)], ids=["mtp", "dspark"])
def test_drafted_texts(model_of, config):
    texts = [list(generate(model_of(config, engine()), IDS[:20], 12, temperature=0, speculate=2))
             for engine in (ClosedBackend, Backend)]
    assert texts[0] == texts[1] and len(texts[0]) == 12


@pytest.mark.parametrize("misuse", [
    lambda x: np.asarray(x), lambda x: np.concatenate([x, x]), lambda x: np.exp(x), lambda x: x + np.ones(3, np.float32),
    lambda x: x * np.float32(2), lambda x: np.float32(2) * x, lambda x: x[np.arange(2)], lambda x: x[x.shape == (4, 3)],
    lambda x: list(x), lambda x: x.astype(np.float64), lambda x: np.repeat(x[:, None], 2, axis=1)])
def test_what_a_device_would_refuse_is_refused(misuse):
    with pytest.raises((TypeError, AttributeError)):
        misuse(Closed(np.ones((4, 3), np.float32)))
