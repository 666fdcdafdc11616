"""Ablations: each takes its part away and nothing else, as edited weights or another config would."""

import numpy as np
import pytest

from v4mini import Config, Refused
from v4mini.backend import OPERATIONS
from v4mini.kernels.backend import NumbaBackend
from v4mini.lessons.places import data_folder
from v4mini.ops.attention import attention_weights
from v4mini.training import ablate, card
from v4mini.training.ablate import PARTS, ablations, without
from v4mini.training.evaluate import lengths, nll
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

CONFIG = Config.tiny()


@pytest.fixture
def ids(rng):
    return rng.integers(0, CONFIG.vocab_size, 300)


def edited(model, ending, number):      # the same model, but the tensors whose names end so hold one number
    values = random_tensors(model.config)
    for name in [name for name in values if name.endswith(ending)]:
        values[name] = np.full_like(values[name], number)
    return type(model)(model.config, build(model.config, values.get), model.ops)


@pytest.mark.parametrize("part, ending, number", [
    ("sinks", "attn_sink", -1e30), ("shared expert", "shared_experts.w2.weight", 0), ("router bias", "gate.bias", 0),
    ("routed experts", tuple(f"ffn.experts.{e}.w2.weight" for e in range(CONFIG.n_routed_experts)), 0)])
def test_a_part_is_taken_away_as_if_its_weights_were(model_of, ids, part, ending, number):
    whole = model_of(CONFIG)
    got, wanted = without(whole, part).logits(ids), edited(whole, ending, number).logits(ids)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(got - whole.logits(ids)).max() > 1e-3 * np.abs(got).max()


def test_without_a_window_is_a_window_of_one(model_of, ids):
    whole = model_of(CONFIG)
    narrow = type(whole)(CONFIG.replace(window_size=1), whole.weights, whole.ops)
    np.testing.assert_array_equal(without(whole, "window").logits(ids), narrow.logits(ids))


@pytest.mark.parametrize("kind", ["window", "hca", "csa"])
def test_entries_are_taken_from_their_own_kind_of_layer_alone(model_of, normal, kind):
    q, rows, sink, first = normal(5, 2, 8), normal(9, 8), normal(2), np.arange(5) + 1
    far = {"window": {}, "hca": {"entries": normal(6, 8), "visible": np.array([0, 1, 2, 3, 6])},
           "csa": {"entries": normal(6, 8), "picks": np.array([[0, 2], [1, 3], [-1, -1], [0, -1], [5, 4]])}}[kind]
    whole = model_of(CONFIG)
    for part, its_kind in (("HCA entries", "hca"), ("CSA picks", "csa")):
        wanted = whole.ops.attend(q, rows, first, sink, 4, 0.5, **({} if kind == its_kind else far))
        np.testing.assert_array_equal(without(whole, part).ops.attend(q, rows, first, sink, 4, 0.5, **far), wanted)
    on_rows, on_entries, on_sink = attention_weights(q, rows, first, sink, 4, 0.5, **far)
    share = (on_rows.sum(2) + on_entries.sum(2))[..., None]             # what the sink took is given back to the others
    got = without(whole, "sinks").ops.attend(q, rows, first, sink, 4, 0.5, **far)
    np.testing.assert_allclose(got * share, whole.ops.attend(q, rows, first, sink, 4, 0.5, **far), rtol=1e-4, atol=1e-6)


def test_mixing_hash_tables_and_the_mtp_block(model_of, ids, normal):
    whole = model_of(CONFIG)
    hc, streams = whole.weights.layers[0].hc_attn, normal(3, CONFIG.hc_mult, CONFIG.dim)
    settings = CONFIG.hc_sinkhorn_iters, CONFIG.hc_eps, CONFIG.norm_eps
    u, post, comb = without(whole, "mHC mixing").ops.hc_pre(streams, hc, *settings)
    np.testing.assert_array_equal(comb, np.broadcast_to(np.eye(CONFIG.hc_mult, dtype=np.float32), comb.shape))
    for got, wanted in zip((u, post), whole.ops.hc_pre(streams, hc, *settings)):
        np.testing.assert_array_equal(got, wanted)
    scores, table = normal(3, CONFIG.n_routed_experts), np.zeros((3, 2), np.int64)
    chosen, _ = without(whole, "hash tables").ops.route(scores, 1.5, 2, chosen=table)
    np.testing.assert_array_equal(chosen, np.argsort(-scores, axis=1)[:, :2])
    silent = without(whole, "MTP block")
    np.testing.assert_array_equal(silent.logits(ids), whole.logits(ids))
    w, given = whole.weights.mtp, whole.ops.embed(ids[1:], whole.weights.embed)
    streams = whole.streams(*pairs(whole, ids))[:-1]
    e = whole.ops.linear(whole.ops.rms_norm(given, w.enorm, CONFIG.norm_eps), w.e_proj)
    h = whole.ops.linear(whole.ops.rms_norm(streams, w.hnorm, CONFIG.norm_eps), w.h_proj)
    np.testing.assert_allclose(silent.mtp_logits(ids), whole.head(e[:, None] + h, w.head), rtol=0, atol=1e-4)


def pairs(model, ids):
    from v4mini.layers.sequences import NoMemory

    ids, spans = model.flatten([ids])
    return ids, [(span, NoMemory()) for span in spans]


@pytest.mark.parametrize("part", PARTS)
def test_a_compiled_engine_loses_the_same_part(model_of, ids, part):
    numba, numpy = (without(model_of(CONFIG, engine), part) for engine in (NumbaBackend(), None))
    assert not vars(type(numba.ops)).get("whole")                       # no shortcut around the operation
    for run in ("logits", "mtp_logits"):
        wanted = getattr(numpy, run)(ids)
        np.testing.assert_allclose(getattr(numba, run)(ids), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_a_table_of_costs_is_one_of_losses(model_of, small_tokenizer, small_recipe, monkeypatch):
    parts = ("sinks", "MTP block")
    for name, value in (("SKIPPED", 32), ("ROW", 64), ("BLOCK", 64), ("PARTS", {part: PARTS[part] for part in parts})):
        monkeypatch.setattr(ablate, name, value)
    model, texts = model_of(small_recipe.config, NumbaBackend()), ["def f(x):\n    return x\n" * 5] * 30
    found = ablations(model, small_tokenizer, texts, 2, tokens=160, haystack=64)
    own, less = (nll(one, ablate._ids(small_tokenizer, texts, 160)) for one in (model, without(model, "sinks")))
    assert len(own) == 160 and found["tokens"] == 160 - 32
    sinks, mtp = found["without"]
    assert (sinks["part"], sinks["operation"], mtp["operation"]) == ("sinks", "attend", "at") and "mtp" not in sinks
    assert sinks["loss"] == pytest.approx(less[32:].mean(), rel=1e-9)
    assert sinks["cost"] == pytest.approx(sinks["loss"] - found["whole"]["loss"], abs=1e-9) and sinks["cost"] != 0
    first, second = (less - own)[32:].reshape(2, 64).mean(1)
    assert sinks["error"] == pytest.approx(abs(first - second) / 2, abs=1e-9)           # of two blocks: half their distance
    ids = ablate._ids(small_tokenizer, texts, 160)
    for row, one in ((sinks, without(model, "sinks")), (found["whole"], model)):
        assert row["lengths"] == lengths(one, small_tokenizer, ids, 4)["right"]
    assert mtp["cost"] == 0 and 0 <= mtp["mtp"] <= 1 and 0 <= sinks["right"] <= 1
    with pytest.raises(Refused, match="at least 10,000 tokens"):
        ablations(model, small_tokenizer, texts[:1], tokens=10_000)
    with pytest.raises(Refused, match="expected one of sinks, MTP block, got 'tokens'"):
        without(model, "tokens")


def test_only_what_a_model_has_is_taken_away():
    fewer = CONFIG.replace(n_mtp_layers=0, compress_ratios=(0,) * 4, n_hash_layers=0, n_layers=4)
    assert [part for part in PARTS if not ablate._has(fewer, part)] == ["HCA entries", "CSA picks", "hash tables", "MTP block"]
    assert all(ablate._has(Config.mini(), part) for part in PARTS)
    assert all(ablate._operation(part) in (*OPERATIONS, "at") for part in PARTS)


def test_the_page_names_what_is_not_used():
    row = {"part": "sinks", "what": "none", "operation": "attend", "loss": 2.0, "cost": 0.01, "error": 0.005, "right": 1.0}
    found = {"date": "2026-01-02", "command": "v4mini card X --ablate", "tokens": 100, "skipped": 5, "haystack": 64,
             "questions": 8, "whole": {"loss": 1.99, "right": 1.0, "lengths": 0.7, "mtp": 0.6}}
    for change, is_used in (({}, False), ({"cost": 0.011}, True), ({"right": 0.9}, True), ({"cost": -1.0}, False),
                            ({"mtp": 0.3}, True), ({"mtp": 0.6}, False), ({"lengths": 0.3}, True), ({"lengths": 0.7}, False)):
        page = card.ablations_text({**found, "without": [{**row, **change}]})
        assert ("Not used by this model, as far as this can tell: sinks" in page) != is_used, change
        assert "2026-01-02" in page and ("silent in 30.0%" in page) == (change.get("mtp") == 0.3)


def test_the_bundled_models_ablations_are_of_todays_parts():
    found = card.read_card(data_folder() / "mini")["ablations"]
    assert [(row["part"], row["what"]) for row in found["without"]] == [(name, part.__doc__) for name, part in PARTS.items()]
