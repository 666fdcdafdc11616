"""Trace: what layers note, under which names, and what it means."""

import numpy as np
import pytest
from tolerances import OP, SAME_MODEL

from v4mini.config import Config
from v4mini.trace import Note, Trace

T = 40
IDS = np.arange(T) * 7 % 97


@pytest.fixture(scope="module")
def seen(tiny):
    trace = Trace("attn.weights")
    tiny.logits(IDS, trace)
    return trace


def test_every_layer_notes_its_streams_and_experts(seen):
    for layer in range(4):
        assert seen[f"layers.{layer}.streams"].shape == (T, 4, 48)
        assert seen[f"layers.{layer}.ffn.experts"].shape == seen[f"layers.{layer}.ffn.weights"].shape == (T, 2)
        np.testing.assert_allclose(seen[f"layers.{layer}.ffn.weights"].sum(1), 1.5, **OP)


def test_only_csa_layers_note_picks(seen):
    assert {key for key in seen if "picks" in key} == {"layers.0.attn.index_picks", "layers.3.attn.index_picks"}
    picks = seen["layers.0.attn.index_picks"]
    assert picks.shape == (T, 7)
    for t in range(T):                                  # as many as there are, at most index_topk, none of them ahead
        real = picks[t][picks[t] >= 0]
        assert len(real) == len(set(real)) == min(7, (t + 1) // 4) and np.all(real < (t + 1) // 4)


def test_hash_layers_choose_by_the_table(tiny, seen):
    assert np.array_equal(seen["layers.0.ffn.experts"], tiny.weights.layers[0].ffn.gate.tid2eid[IDS])


def test_attention_weights_of_window_entries_and_sink_sum_to_one(seen):
    shapes = {0: (T, 6, 7), 1: (T, 6, 0), 2: (T, 6, 0), 3: (T, 6, 7)}
    for layer, far_shape in shapes.items():
        near, far, nothing = seen[f"layers.{layer}.attn.weights"]
        assert near.shape == (T, 6, 16) and far.shape == far_shape and nothing.shape == (T, 6)
        np.testing.assert_allclose(near.sum(2) + far.sum(2) + nothing, 1, **OP)


def test_what_costs_extra_is_noted_only_when_asked_for(tiny):
    trace = Trace()
    tiny.logits(IDS, trace)
    assert not any("attn.weights" in key for key in trace) and "layers.1.streams" in trace


def test_of_several_sequences_each_has_its_own_picks_and_streams_stay_flat(tiny, seen):
    trace = Trace()
    tiny.logits_many([IDS, IDS[:9], IDS[:5]], trace)
    picks = trace["layers.0.attn.index_picks"]
    assert [array.shape for array in picks] == [(T, 7), (9, 2), (5, 1)]
    assert np.array_equal(picks[0], seen["layers.0.attn.index_picks"])
    np.testing.assert_allclose(trace["layers.3.streams"][:T], seen["layers.3.streams"], **SAME_MODEL)
    assert trace["layers.3.streams"].shape == (T + 14, 4, 48)


def test_the_mtp_block_notes_under_its_own_name(tiny):
    trace = Trace()
    tiny.mtp_logits(IDS, trace)
    assert trace["mtp.0.streams"].shape == (T - 1, 4, 48) and trace["layers.3.streams"].shape == (T, 4, 48)


def test_watching_changes_no_number(tiny):
    assert np.array_equal(tiny.logits(IDS, Trace("attn.weights")), tiny.logits(IDS))


def test_nobody_looking_costs_nothing():
    note = Note(None, "layers.0")
    assert not note.wants("streams")
    note("streams", object())                           # not even turned into an array


def test_a_model_of_window_layers_alone_notes_no_picks(model_of):
    trace = Trace()
    model_of(Config.tiny().replace(n_layers=1, n_mtp_layers=0, compress_ratios=(0,))).logits(IDS, trace)
    assert set(trace) == {"layers.0.streams", "layers.0.ffn.experts", "layers.0.ffn.weights"}
