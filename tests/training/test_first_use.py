"""First use: sinks take their share, one head counts entries, all else stays. Judged by weights of attention."""

import numpy as np
import pytest

from v4mini import Config, Refused
from v4mini.backend import Backend
from v4mini.model import Model
from v4mini.trace import Trace
from v4mini.training.first_use import SHARE, first_use
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

CONFIG = Config.tiny().replace(max_seq_len=4096)
HCA = next(layer for layer in range(1, CONFIG.n_layers) if CONFIG.layer_kind(layer) == "hca")


def weights_of(params, ids):                            # -> {layer: (rows, entries, sink)}
    trace = Trace("attn.weights")
    Model(CONFIG, build(CONFIG, params.get), Backend()).logits(ids, trace)
    return {layer: trace[f"layers.{layer}.attn.weights"] for layer in range(CONFIG.n_layers)}


@pytest.fixture(scope="module")
def changed():                                          # -> params before, after, ids
    ids = np.random.default_rng(7).integers(0, CONFIG.vocab_size, 128 * 9)
    before = random_tensors(CONFIG)
    kept = {name: values.copy() for name, values in before.items()}
    after = first_use(Backend(), CONFIG, before, ids)
    for name, values in kept.items():
        np.testing.assert_array_equal(before[name], values)             # copies were changed
    return before, after, ids


def test_each_sink_takes_its_share(changed):
    _, after, ids = changed
    for layer, (_, _, sink) in weights_of(after, ids).items():
        np.testing.assert_allclose(np.median(sink, axis=0), SHARE, atol=1e-3, err_msg=str(layer))


def test_one_head_of_an_hca_layer_counts_the_entries(changed):
    """Weight on entries over weight on the sink grows as their number: n entries, n times as much. The window has little."""
    _, after, ids = changed
    rows, entries, sink = weights_of(after, ids)[HCA]
    assert np.median(rows[-512:, -1].sum(axis=1)) < 0.2 < np.median(entries[-512:, -1].sum(axis=1))
    ratio = CONFIG.ratio(HCA)
    seen = (np.arange(len(ids)) + 1) // ratio
    odds = entries[:, -1].sum(axis=1) / sink[:, -1]
    means = np.array([np.median(odds[seen == n]) for n in range(1, seen.max())])
    each = means / np.arange(1, len(means) + 1)
    assert each.max() < 1.5 * each.min(), each


def test_a_silent_layer_stays_silent():
    params = random_tensors(CONFIG)
    params[f"layers.{HCA}.attn.wo_b.weight"] = 0 * params[f"layers.{HCA}.attn.wo_b.weight"]
    after = first_use(Backend(), CONFIG, params, np.arange(128 * 3) % CONFIG.vocab_size)
    assert all(np.isfinite(values).all() for values in after.values()) and not after[f"layers.{HCA}.attn.wo_b.weight"].any()


def test_what_cannot_be_judged_is_refused_and_deaf_sinks_hear_again():
    params = random_tensors(CONFIG)
    with pytest.raises(Refused, match="expected 128 tokens or more .* got 100 tokens"):
        first_use(Backend(), CONFIG, params, np.arange(100))
    for layer, sink in enumerate((-200.0, 60.0)):
        params[f"layers.{layer}.attn.attn_sink"] = np.full(CONFIG.n_heads, sink, np.float32)
    after = first_use(Backend(), CONFIG, params, np.arange(128 * 3) % CONFIG.vocab_size)
    assert all(np.isfinite(after[f"layers.{layer}.attn.attn_sink"]).all() for layer in (0, 1))


def test_only_sinks_and_hca_layers_change(changed):
    before, after, _ = changed
    touched = {name for name in before if not np.array_equal(before[name], after[name])}
    sinks = {name for name in touched if name.endswith("attn_sink")}
    assert len(sinks) == CONFIG.n_layers
    inside = {name.split("attn.")[1] for name in touched - sinks}
    assert inside == {"wkv.weight", "wq_b.weight", "wo_a.weight", "compressor.wkv.weight"}
    assert {name.split(".")[1] for name in touched - sinks} == {str(layer) for layer in range(1, CONFIG.n_layers)
                                                                if CONFIG.layer_kind(layer) == "hca"}
