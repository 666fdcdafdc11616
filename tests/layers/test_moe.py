"""Experts of one layer against the equations in float64: by score with a bias that only chooses, by token id in hash layers."""

import dataclasses

import numpy as np
import pytest
from layers import naive
from tolerances import OP

from v4mini.backend import Backend
from v4mini.layers.moe import moe
from v4mini.trace import Note, Trace

OPS = Backend()


@pytest.mark.parametrize("layer", [0, 3], ids=["by token id", "by score"])
@pytest.mark.parametrize("T", [1, 2, 30])
def test_each_token_goes_to_its_experts(config, weights, released, normal, rng, layer, T):
    x, ids = normal(T, config.dim), rng.integers(0, config.vocab_size, T)
    plain = naive.under(released, f"layers.{layer}.ffn.")
    wanted = [naive.moe(config, plain, u, token, layer) for u, token in zip(x, ids)]
    np.testing.assert_allclose(moe(OPS, x, ids, weights.layers[layer].ffn, config, Note(None, "")), wanted, **OP)


def test_a_hash_layer_asks_the_table_and_not_the_scores(config, weights, normal):
    trace, x = Trace(), normal(6, config.dim)
    ids = np.array([5, 5, 5, 96, 0, 5])
    moe(OPS, x, ids, weights.layers[0].ffn, config, trace.under("layers.0"))
    np.testing.assert_array_equal(trace["layers.0.ffn.experts"], weights.layers[0].ffn.gate.tid2eid[ids])


def test_a_bias_chooses_but_weighs_nothing(config, weights, normal):
    """With a bias that makes two experts win everywhere, their weights are still those of the scores alone."""
    x, w = normal(9, config.dim), weights.layers[3].ffn
    trace, bias = Trace("ffn.scores"), np.zeros(config.n_routed_experts, np.float32)
    bias[[1, 4]] = 100
    gate = dataclasses.replace(w.gate, bias=bias)
    moe(OPS, x, np.zeros(9, int), dataclasses.replace(w, gate=gate), config, trace.under("layers.3"))
    chosen, shares = trace["layers.3.ffn.experts"], trace["layers.3.ffn.weights"]
    assert (np.sort(chosen, axis=1) == [1, 4]).all()
    affinity = np.sqrt(np.log1p(np.exp(np.take_along_axis(trace["layers.3.ffn.scores"].astype(np.float64), chosen, 1))))
    np.testing.assert_allclose(shares, config.route_scale * affinity / affinity.sum(1, keepdims=True), rtol=1e-5)
