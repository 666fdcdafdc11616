"""First values: they fit the config, look back as promised, share out tokens evenly, and new layers change nothing."""

import numpy as np
import pytest

from v4mini import Config, Refused, Trace
from v4mini.backend import Backend
from v4mini.model import Model
from v4mini.training.add_layers import add_layers, some_layers
from v4mini.training.init import hash_table, initial_values, mix_base
from v4mini.training.parameters import check_parameters
from v4mini.weights.spec import tensors
from v4mini.weights.tree import build

MINI = Config.mini().replace(vocab_size=300)


def model_of(config, params):
    return Model(config, build(config, params.get), Backend())


@pytest.mark.parametrize("config", [Config.tiny(), MINI], ids=["tiny", "mini"])
def test_they_fit_the_config(rng, config):
    params = initial_values(config, rng)
    check_parameters(config, params)
    for spec in tensors(config):
        assert np.isfinite(params[spec.name]).all()
        assert params[spec.name].dtype == (np.int64 if spec.format == "i64" else np.float32)
    assert np.isfinite(model_of(config, params).logits(np.arange(40))).all()


def test_the_same_generator_gives_the_same_values():
    one, two = (initial_values(MINI, np.random.default_rng(5)) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_head_h_looks_h_plus_1_tokens_back(rng):
    """Averaged over texts, each head's largest weight is where it should be."""
    params = initial_values(MINI, rng)
    weights = np.zeros((MINI.n_heads, MINI.window_size))
    for _ in range(4):
        trace = Trace("attn.weights")
        model_of(MINI, params).logits(rng.integers(20, 300, 200), trace)
        weights += trace["layers.0.attn.weights"][0][-60:].mean(axis=0)
    distance = MINI.window_size - 1 - weights.argmax(axis=1)            # the last column is the token itself
    assert set(distance - np.arange(MINI.n_heads)) <= {0, 1}, distance


def test_compressors_begin_as_the_keys(rng):
    params = initial_values(MINI, rng)
    own = params["layers.3.attn.wkv.weight"]
    np.testing.assert_array_equal(params["layers.3.attn.compressor.wkv.weight"], np.concatenate([own, own]))
    np.testing.assert_array_equal(params["layers.2.attn.compressor.wkv.weight"], params["layers.2.attn.wkv.weight"])
    assert not np.array_equal(params["layers.3.attn.indexer.compressor.wkv.weight"][:32], own[:32])


def test_streams_begin_as_a_plain_residual_net():
    from v4mini.ops.mix import hc_pre

    streams = np.repeat(np.random.default_rng(0).standard_normal((5, 1, 8)), 4, axis=1).astype(np.float32)
    fn, scale = np.zeros((24, 32), np.float32), np.full(3, 0.01, np.float32)
    u, post, comb = hc_pre(streams, fn, mix_base(4, 1, 4.0), scale, 20, 1e-6, 1e-6)
    np.testing.assert_allclose(u, streams[:, 0], rtol=1e-4)             # four copies, read with weights that sum to 1
    np.testing.assert_allclose(post, 1, rtol=1e-5)
    np.testing.assert_allclose(comb.sum(axis=1), 1, rtol=1e-4)
    assert (comb[:, range(4), range(4)] > 0.94).all()


def test_hash_tables_are_even_on_the_counts_they_were_made_for(rng):
    counts = (1e6 / np.arange(1, 2049)**1.2).astype(int)                # as words come
    table = hash_table(rng, counts, 8, 2)
    assert table.shape == (2048, 2) and (table[:, 0] != table[:, 1]).all()

    def most_loaded(table):
        load = np.zeros(8)
        for token, chosen in enumerate(table):
            load[chosen] += counts[token]
        return load.max() / load.mean()
    assert most_loaded(table) < 1.05 < most_loaded(hash_table(rng, np.ones(2048), 8, 2))


def test_a_grown_model_says_what_the_smaller_one_said(rng):
    small = some_layers(MINI, (0, 3))
    assert [small.layer_kind(i) for i in range(2)] == ["window", "csa"] and small.n_hash_layers == 1
    params = initial_values(small, rng)
    for name in params:                                 # as if trained: streams that differ, a router with a bias
        if params[name].dtype == np.float32:
            params[name] = params[name] + 0.1 * params[name].std() * rng.standard_normal(params[name].shape, np.float32)
    grown = add_layers(MINI, (0, 3), params, rng)
    check_parameters(MINI, grown)
    ids = rng.integers(0, 300, 300)
    before, after = model_of(small, params).logits(ids), model_of(MINI, grown).logits(ids)
    apart = np.abs(before - after).max(axis=1) / np.abs(before).max()
    assert np.quantile(apart, 0.95) < 1e-3              # the others may have met a tie of a router or an indexer
    np.testing.assert_array_equal(grown["layers.3.attn.wq_b.weight"], params["layers.1.attn.wq_b.weight"])
    assert not grown["layers.1.attn.wo_b.weight"].any() and grown["layers.1.attn.wkv.weight"].any()


@pytest.mark.parametrize("layers", [(), (2, 0), (0, 0), (0, 9), (-1,)])
def test_layers_that_do_not_exist_are_refused(layers):
    with pytest.raises(Refused, match="in rising order"):
        some_layers(MINI, layers)


def test_shrinking_is_refused(rng):
    with pytest.raises(Refused, match="among the new ones"):
        add_layers(MINI, (0, 2), initial_values(some_layers(MINI, (0, 2)), rng), rng, wanted=(0, 3))
