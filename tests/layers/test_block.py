"""One block against the equations in float64, and who goes on behind its attention."""

import numpy as np
import pytest
from layers import naive
from layers.keeping import Keeping
from tolerances import OP

from v4mini.backend import Backend
from v4mini.layers.block import block, feed_forward, read_streams
from v4mini.layers.sequences import Sequences
from v4mini.trace import Note, Trace

OPS = Backend()
SILENT = Note(None, "")


class Telling(Backend):
    """An engine that notes which layer it was told."""

    told = None

    def at(self, layer):
        Telling.told = layer
        return self


@pytest.mark.parametrize("layer", range(4))
def test_streams_after_a_block(config, weights, released, normal, rng, layer):
    T = 18
    streams, ids = normal(T, config.hc_mult, config.dim), rng.integers(0, config.vocab_size, T)
    wanted = naive.block(config, naive.under(released, f"layers.{layer}."), ids, streams, config.ratio(layer), layer)
    got = block(OPS, streams, ids, weights.layers[layer], config, layer, Sequences.alone(config, T), SILENT)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=5e-5)       # attention and experts, one after the other


@pytest.mark.parametrize("keep", [1, 3])
def test_tokens_that_do_not_ask_leave_rows_and_go_no_further(config, weights, normal, rng, keep):
    T, layer = 10, 0                                    # experts by token id: of the tokens that ask
    streams, ids = normal(T, config.hc_mult, config.dim), rng.integers(0, config.vocab_size, T)
    memory, trace = Keeping(config), Trace()
    few = block(OPS, streams, ids, weights.layers[layer], config, layer,
                Sequences(config, [(slice(0, T), memory)], keep), trace.under("layers.0"))
    every = block(OPS, streams, ids, weights.layers[layer], config, layer, Sequences.alone(config, T), SILENT)
    np.testing.assert_allclose(few, every[-keep:], **OP)
    assert len(memory.kept[layer, "window"]) == T and len(trace["layers.0.ffn.experts"]) == keep
    np.testing.assert_array_equal(trace["layers.0.streams"], few)


def test_halves_by_their_equations(config, weights, released, normal, rng):
    c, layer, T = config, 2, 4
    streams, ids = normal(T, c.hc_mult, c.dim), rng.integers(0, c.vocab_size, T)
    w, plain = weights.layers[layer], naive.under(released, f"layers.{layer}.")
    x, post, comb = read_streams(OPS, streams, w.hc_ffn, w.ffn_norm, c)
    after = feed_forward(OPS, streams, ids, w, c, SILENT)
    for t, s in enumerate(streams):
        u, want_post, want_comb = naive.op.hc_pre(s, *(plain[f"hc_ffn_{part}"] for part in ("fn", "base", "scale")),
                                                  c.hc_sinkhorn_iters, c.hc_eps, c.norm_eps)
        u = naive.norm(c, u, plain["ffn_norm.weight"])
        for got, want in ((x, u), (post, want_post), (comb, want_comb)):
            np.testing.assert_allclose(got[t], want, **OP)
        y = naive.moe(c, naive.under(plain, "ffn."), u, ids[t], layer)
        np.testing.assert_allclose(after[t], naive.op.hc_post(y, s, want_post, want_comb), rtol=1e-4, atol=2e-5)


def test_an_engine_is_told_which_layer_it_runs(config, weights, normal):
    block(Telling(), normal(2, config.hc_mult, config.dim), np.array([0, 1]), weights.layers[1], config, 1,
          Sequences.alone(config, 2), SILENT)
    assert Telling.told == 1
