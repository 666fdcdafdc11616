"""Parts that an engine takes whole give the bits of their operations; whoever wraps or changes the engine is asked for those."""

import dataclasses

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.kernels import blas
from v4mini.kernels.backend import NumbaBackend
from v4mini.kernels.whole import PARTS
from v4mini.layers import attention, block, compressor
from v4mini.layers.attention import layer_frequencies
from v4mini.trace import Note, Trace
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

CONFIGS = {"tiny": Config.tiny(), "bench": Config.bench(), "mini": Config.mini()}
CSA = 3                                 # a layer of mini with a compressor and an indexer
SEAMS = {"queries": attention.queries, "key_rows": attention.key_rows, "index_queries": attention.index_queries,
         "project_out": attention.project_out, "block_rows": compressor.block_rows, "read_streams": block.read_streams,
         "feed_forward": block.feed_forward}
WITH_EXPERTS = {"feed_forward"}         # taken where BLAS can be called from a kernel


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def weights(config):
    return build(config, random_tensors(config).get)


def inputs(name, config, w, layer, normal, tokens):     # arguments after ops; None: this layer has no such part
    c, positions = config, np.arange(700, 700 + tokens)
    freqs = layer_frequencies(c, layer)
    if name == "read_streams":
        return normal(tokens, c.hc_mult, c.dim), w.hc_ffn, w.ffn_norm, c
    if name == "feed_forward":
        return normal(tokens, c.hc_mult, c.dim), positions % c.vocab_size, w, c, Note(None, "block")
    if name == "block_rows":
        return w.attn.compressor and (normal(tokens, c.dim), w.attn.compressor)
    if name == "index_queries":
        return w.attn.indexer and (normal(tokens, c.dim), normal(tokens, c.q_lora_rank), w.attn.indexer, c, positions, freqs)
    x = normal(tokens, c.n_heads, c.head_dim) if name == "project_out" else normal(tokens, c.dim)
    return x, w.attn, c, positions, freqs


@pytest.mark.parametrize("name", SEAMS)
@pytest.mark.parametrize("tokens", [1, 3])
def test_the_same_bits_as_the_operations(config, weights, name, tokens, normal):
    ops, asked = NumbaBackend(), 0
    for layer, w in enumerate(weights.layers):
        given = inputs(name, config, w, layer, normal, tokens)
        if given is None:
            continue
        asked += 1
        wanted, got = SEAMS[name].plain(ops, *given), SEAMS[name](ops, *given)
        for a, b in zip(*(part if isinstance(part, tuple) else (part,) for part in (wanted, got)), strict=True):
            np.testing.assert_array_equal(b, a, strict=True)
        taken = tokens == 1 and (name not in WITH_EXPERTS or blas.addresses()[0] != 0)
        assert (PARTS[name](ops, *given) is not None) == taken, "one token is taken whole, several are not"
    assert asked and set(PARTS) == set(SEAMS)


@pytest.mark.parametrize("name", SEAMS)
def test_with_the_released_rounding_what_rounds_is_not_taken(name, normal):
    config = Config.mini()
    w = build(config, random_tensors(config).get).layers[CSA]
    given = inputs(name, config, w, CSA, normal, 1)
    assert (PARTS[name](NumbaBackend("released"), *given) is None) == (name != "read_streams")


def test_whoever_watches_sees_every_operation(normal):
    """With a trace the half block is run in operations, which tell what they found; its bits are the same."""
    config, ops = Config.bench(), NumbaBackend()
    w = build(config, random_tensors(config).get).layers[3]
    *given, silent = inputs("feed_forward", config, w, 3, normal, 1)
    trace = Trace("ffn.scores")
    watched = block.feed_forward(ops, *given, Note(trace, "layers.3"))
    assert {"layers.3.ffn.scores", "layers.3.ffn.experts", "layers.3.streams"} <= set(trace)
    np.testing.assert_array_equal(watched, block.feed_forward(ops, *given, silent))


def test_weights_that_stay_packed_are_not_taken(normal):
    config = Config.mini()
    w = build(config, random_tensors(config).get, keep=False).layers[CSA]
    for name in SEAMS.keys() - {"read_streams"}:
        assert PARTS[name](NumbaBackend(), *inputs(name, config, w, CSA, normal, 1)) is None


def test_an_engine_that_changes_one_operation_gets_all_of_them(normal):
    """Whoever inherits from the compiled engine, or wraps it, sees every operation: no part goes past what they changed."""
    class NoSecondExpert(NumbaBackend):
        def route(self, *args, **kwargs):
            chosen, weights = super().route(*args, **kwargs)
            return chosen, weights * np.array([1, 0], np.float32)

    config = Config.bench()
    w = build(config, random_tensors(config).get).layers[3]
    given = inputs("feed_forward", config, w, 3, normal, 1)
    assert not np.allclose(block.feed_forward(NoSecondExpert(), *given), block.feed_forward(NumbaBackend(), *given))


def test_an_engine_may_decline():
    class Picky(Backend):
        whole = {"read_streams": lambda ops, *args: None}

    config = Config.tiny()
    w, streams = build(config, random_tensors(config).get).layers[0], np.ones((1, config.hc_mult, config.dim), np.float32)
    for a, b in zip(block.read_streams(Picky(), streams, w.hc_attn, w.attn_norm, config),
                    block.read_streams.plain(Backend(), streams, w.hc_attn, w.attn_norm, config), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_are_looked_at_once_and_kept_apart(normal):
    ops, config = NumbaBackend(), Config.bench()
    one, two = (build(config, random_tensors(config, seed).get).layers[3] for seed in (0, 1))
    given = inputs("queries", config, one, 3, normal, 1)
    first = attention.queries(ops, *given)[1]
    other = attention.queries(ops, given[0], dataclasses.replace(one.attn, wq_a=two.attn.wq_a), *given[2:])[1]
    assert not np.allclose(first, other)
    np.testing.assert_array_equal(attention.queries(ops, *given)[1], first)
