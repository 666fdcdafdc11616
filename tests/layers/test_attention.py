"""Attention of one layer, each kind alone, against the equations in float64 (naive.py): in one call, in pieces, side by side."""

import numpy as np
import pytest
from layers import naive
from layers.keeping import Keeping
from tolerances import OP

from v4mini.backend import Backend
from v4mini.layers.attention import attention, key_rows, layer_frequencies, pick_entries, project_out, queries
from v4mini.layers.sequences import Sequences
from v4mini.trace import Note, Trace

OPS = Backend()
LAYERS = {"csa": 0, "window": 1, "hca": 2, "another csa": 3}
LAYER = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
SILENT = Note(None, "")


def tensors_of(released, layer):
    return naive.under(released, f"layers.{layer}.attn.")


@LAYER
def test_frequencies_by_the_published_formula(config, layer):
    wanted = naive.frequencies(config, config.ratio(layer))
    np.testing.assert_allclose(layer_frequencies(config, layer), wanted, rtol=1e-6)


@LAYER
@pytest.mark.parametrize("T", [1, 3, 4, 8, 21])         # before, at and behind the ends of blocks and window
def test_a_sequence_from_its_beginning(config, weights, released, normal, layer, T):
    x = normal(T, config.dim)
    wanted = naive.attention(config, tensors_of(released, layer), x, config.ratio(layer))
    got = attention(OPS, x, weights.layers[layer].attn, config, layer, Sequences.alone(config, T), SILENT)
    np.testing.assert_allclose(got, wanted, **OP)


@LAYER
@pytest.mark.parametrize("pieces", [(1,) * 21, (3, 1, 9, 8), (8, 8, 5), (16, 5), (5, 16)], ids=str)
def test_in_pieces_it_reads_what_it_read_in_one(config, weights, released, normal, layer, pieces):
    x = normal(sum(pieces), config.dim)
    wanted = naive.attention(config, tensors_of(released, layer), x, config.ratio(layer))
    memory = Keeping(config)
    for n in pieces:
        start, stop = memory.length, memory.length + n
        got = attention(OPS, x[start:stop], weights.layers[layer].attn, config, layer, Sequences.alone(config, n, memory), SILENT)
        np.testing.assert_allclose(got, wanted[start:stop], err_msg=f"{start=}", **OP)
        memory.length = stop


@LAYER
@pytest.mark.parametrize("keep", [1, 4])
def test_sequences_of_one_pass_do_not_see_each_other(config, weights, normal, layer, keep):
    """Three at once, one of them with a past; of each the last tokens ask: what each gets alone."""
    w = weights.layers[layer].attn
    x, lengths = normal(5 + 9 + 2, config.dim), (5, 9, 2)
    past = normal(6, config.dim)

    def memories():
        old = Keeping(config)
        attention(OPS, past, w, config, layer, Sequences.alone(config, 6, old), SILENT)
        old.length = 6
        return [Keeping(config), old, Keeping(config)]
    ends = np.cumsum(lengths)
    spans = [slice(int(end - n), int(end)) for end, n in zip(ends, lengths)]
    together = attention(OPS, x, w, config, layer, Sequences(config, zip(spans, memories()), keep), SILENT)
    alone = [attention(OPS, x[span], w, config, layer, Sequences.alone(config, n, memory), SILENT)[-keep:]
             for span, n, memory in zip(spans, lengths, memories())]
    np.testing.assert_allclose(together, np.concatenate(alone), **OP)


def test_parts_by_their_equations(config, weights, released, normal):
    c, layer, positions = config, 3, np.array([700, 3])
    w, plain = weights.layers[layer].attn, tensors_of(released, layer)
    freqs, x, out = layer_frequencies(c, layer), normal(2, c.dim), normal(2, c.n_heads, c.head_dim)
    qr, q = queries(OPS, x, w, c, positions, freqs)
    rows, y = key_rows(OPS, x, w, c, positions, freqs), project_out(OPS, out, w, c, positions, freqs)
    op, exact = naive.op, naive.frequencies(c, 4)
    for t, position in enumerate(positions):
        want = naive.norm(c, op.linear(x[t], plain["wq_a.weight"]), plain["q_norm.weight"])
        np.testing.assert_allclose(qr[t], want, **OP)
        heads = op.linear(want, plain["wq_b.weight"]).reshape(c.n_heads, c.head_dim)
        want = [op.rope(op.rms_unit(head, c.norm_eps), position, exact) for head in heads]
        np.testing.assert_allclose(q[t], want, rtol=1e-4, atol=5e-5)        # ROTATED: an angle of 700
        want = op.rope(naive.norm(c, op.linear(x[t], plain["wkv.weight"]), plain["kv_norm.weight"]), position, exact)
        np.testing.assert_allclose(rows[t], want, rtol=1e-4, atol=5e-5)
        back = np.concatenate([op.rope(head, position, exact, inverse=True) for head in out[t]]).reshape(c.o_groups, -1)
        slices = plain["wo_a.weight"].reshape(c.o_groups, c.o_lora_rank, -1)
        want = op.linear(np.concatenate([op.linear(g, s) for g, s in zip(back, slices)]), plain["wo_b.weight"])
        np.testing.assert_allclose(y[t], want, rtol=1e-4, atol=2e-4)        # a sum of some 60 of those


@pytest.mark.parametrize("asking", [1, 5, 35])
def test_the_indexer_picks_the_entries_of_highest_score(config, weights, released, normal, asking):
    """8 finished blocks at the end, of which it may pick 7."""
    c, layer, T = config, 0, 35
    w, plain = weights.layers[layer].attn, tensors_of(released, layer)
    x, qr = normal(T, c.dim), normal(T, c.q_lora_rank)
    memory, positions = Keeping(c), np.arange(T)[T - asking:]
    got = pick_entries(OPS, x, qr[T - asking:], positions, memory.visible(T, 4)[T - asking:], w.indexer, c, layer,
                       layer_frequencies(c, layer), memory)
    freqs, inner = naive.frequencies(c, 4), naive.under(plain, "indexer.")
    keys = naive.compressor(c, naive.under(inner, "compressor."), x, 4, freqs)
    for row, t in zip(got, positions):
        wanted = naive.pick(c, inner, x[t], qr[t], t, freqs, keys, naive.op.visible(t, 4))
        assert sorted(row[row >= 0]) == sorted(wanted), f"{t=}"


@LAYER
def test_what_it_notes(config, weights, normal, layer):
    """Weights of all that is read and of the sink add up to 1; picks only where there is an indexer."""
    trace, T = Trace("attn.weights"), 21
    attention(OPS, normal(T, config.dim), weights.layers[layer].attn, config, layer, Sequences.alone(config, T),
              trace.under("layers.9"))
    window, far, sink = trace["layers.9.attn.weights"]
    np.testing.assert_allclose(window.sum(-1) + far.sum(-1) + sink, 1, rtol=1e-6)
    assert ("layers.9.attn.index_picks" in trace) == (config.layer_kind(layer) == "csa")
    assert (far.shape[-1] > 0) == (config.layer_kind(layer) != "window")
