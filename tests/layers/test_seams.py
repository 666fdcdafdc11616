"""Parts that an engine takes whole give the bits of their operations; whoever wraps or changes the engine is asked for those."""

import dataclasses

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.kernels.backend import NumbaBackend
from v4mini.kernels.whole import PARTS
from v4mini.layers import attention, block, moe
from v4mini.layers.attention import layer_frequencies
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

CONFIGS = {"tiny": Config.tiny(), "bench": Config.bench(), "mini": Config.mini()}
SEAMS = {"queries": attention.queries, "key_rows": attention.key_rows, "project_out": attention.project_out,
         "read_streams": block.read_streams, "experts_of": moe.experts_of}


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


@pytest.fixture(scope="module")
def weights(config):
    return build(config, random_tensors(config).get)


def inputs(name, config, w, layer, normal, tokens):     # arguments after ops
    c, positions = config, np.arange(700, 700 + tokens)
    freqs = layer_frequencies(c, layer)
    if name == "read_streams":
        return normal(tokens, c.hc_mult, c.dim), w.hc_ffn, w.ffn_norm, c
    if name == "experts_of":
        table = w.ffn.gate.tid2eid
        return normal(tokens, c.dim), None if table is None else table[positions % len(table)], w.ffn, c
    x = normal(tokens, c.n_heads, c.head_dim) if name == "project_out" else normal(tokens, c.dim)
    return x, w.attn, c, positions, freqs


@pytest.mark.parametrize("name", SEAMS)
@pytest.mark.parametrize("tokens", [1, 3])
def test_the_same_bits_as_the_operations(config, weights, name, tokens, normal):
    ops = NumbaBackend()
    for layer, w in enumerate(weights.layers):
        given = inputs(name, config, w, layer, normal, tokens)
        wanted, got = SEAMS[name].plain(ops, *given), SEAMS[name](ops, *given)
        for a, b in zip(*(part if isinstance(part, tuple) else (part,) for part in (wanted, got)), strict=True):
            np.testing.assert_array_equal(b, a, strict=True)
        taken = tokens == 1 and (name != "experts_of" or ops.bound(w.ffn.experts, w.ffn.experts) is not None)
        assert (PARTS[name](ops, *given) is not None) == taken, "one token is taken whole, several are not"


@pytest.mark.parametrize("name", SEAMS)
def test_with_the_released_rounding_what_rounds_is_not_taken(name, normal):
    config = Config.mini()
    w = build(config, random_tensors(config).get).layers[3]
    given = inputs(name, config, w, 3, normal, 1)
    assert (PARTS[name](NumbaBackend("released"), *given) is None) == (name != "read_streams")


def test_weights_that_stay_packed_are_not_taken(normal):
    config = Config.mini()
    w = build(config, random_tensors(config).get, keep=False).layers[3]
    for name in ("queries", "key_rows", "project_out", "experts_of"):
        assert PARTS[name](NumbaBackend(), *inputs(name, config, w, 3, normal, 1)) is None


def test_an_engine_that_changes_one_operation_gets_all_of_them(normal):
    """Whoever inherits from the compiled engine, or wraps it, sees every operation: no part goes past what they changed."""
    class NoSecondExpert(NumbaBackend):
        def route(self, *args, **kwargs):
            chosen, weights = super().route(*args, **kwargs)
            return chosen, weights * np.array([1, 0], np.float32)

    config = Config.bench()
    w = build(config, random_tensors(config).get).layers[3]
    given = inputs("experts_of", config, w, 3, normal, 1)
    changed, plain = moe.experts_of(NoSecondExpert(), *given), moe.experts_of(NumbaBackend(), *given)
    assert changed[3][0, 1] == 0 and not np.allclose(changed[0], plain[0])


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
