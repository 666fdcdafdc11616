"""The routing explorer without a browser: what it computes, tells and draws; what its switches do to a model."""

import subprocess
import sys

import numpy as np
import pytest

import v4mini as v4
from v4mini.config import Config
from v4mini.lessons import data_folder
from v4mini.ops.route import affinity, choose, gate_weights
from v4mini.widgets.routing import MOST_TOKENS, RoutingExplorer
from v4mini.widgets.what_if import AS_IT_IS, WhatIf, read_routing


class Letters:
    """A tokenizer for tests: one token a letter."""

    bos_id = 0

    def encode(self, text):
        return [1 + (ord(letter) - 32) % 96 for letter in text]

    def piece(self, id):
        return chr(id + 31)


@pytest.fixture
def explorer(tiny):
    return RoutingExplorer(tiny, Letters(), "abcabc <b>", layer=2, token=3)


@pytest.mark.parametrize("simulate", [None, "released"])
def test_without_a_change_it_reads_the_models_own_routing(model_of, simulate):
    from v4mini.backend import Backend

    model, ids, trace = model_of(Config.mini(), Backend(simulate)), [0, 5, 9, 5, 700, 3], v4.Trace()
    expected = model.logits(ids, trace)
    routes, logits = read_routing(model, ids)
    assert np.array_equal(logits, expected)
    assert [own.kind for own in routes] == ["table"] * 2 + ["gate"] * 2
    for layer, own in enumerate(routes):
        assert np.array_equal(own.chosen, trace[f"layers.{layer}.ffn.experts"])
        assert np.array_equal(own.weights, trace[f"layers.{layer}.ffn.weights"])
        assert (own.bias is None) == (own.kind == "table") and (own.table is None) == (own.kind == "gate")
    assert type(model.ops) is Backend and not hasattr(model.ops, "routes")


def test_bias_off_chooses_by_affinity_alone_and_weights_never_saw_it(tiny):
    routes, _ = read_routing(tiny, [0, 5, 9, 5, 3], WhatIf(use_bias=False))
    for own in routes[1:]:
        assert own.bias is None
        assert np.array_equal(own.chosen, choose(affinity(own.scores), np.zeros(5, np.float32), 2))
        assert np.array_equal(own.weights, gate_weights(own.affinities, own.chosen, 1.5))


def test_table_off_lets_hash_layers_choose_by_affinity(tiny):
    (own, *_), _ = read_routing(tiny, [0, 5, 9, 5, 3], WhatIf(use_table=False))
    assert own.kind == "gate" and own.bias is None
    assert np.array_equal(own.chosen, choose(own.affinities, np.zeros(5, np.float32), 2))
    assert np.array_equal(own.table, tiny.weights.layers[0].ffn.gate.tid2eid[[0, 5, 9, 5, 3]])


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_top_k_asks_so_many_and_a_table_gives_no_more_than_it_holds(tiny, k):
    routes, _ = read_routing(tiny, [0, 5, 9], WhatIf(top_k=k))
    assert [own.chosen.shape[1] for own in routes] == [min(k, 2), k, k, k]
    for own in routes:
        np.testing.assert_allclose(own.weights.sum(1), 1.5, rtol=1e-5)


def test_a_changed_choice_reaches_later_layers_and_the_logits(tiny):
    ids = [0, 5, 9, 5, 3]
    own, logits = read_routing(tiny, ids)
    other, changed = read_routing(tiny, ids, WhatIf(use_table=False))
    assert np.array_equal(own[0].scores, other[0].scores)          # what came before is as it was
    assert not np.array_equal(own[1].scores, other[1].scores)
    assert not np.array_equal(logits, changed)


@pytest.mark.parametrize("k", [0, 6, -1])
def test_a_top_k_that_cannot_be_is_refused(tiny, k):
    with pytest.raises(v4.Refused, match=f"top_k: expected 1 to 5, got {k}"):
        read_routing(tiny, [0], WhatIf(top_k=k))


def test_it_tells_itself_in_a_sentence_without_a_memory_address(explorer):
    own = explorer.routes
    sentence = repr(explorer)
    assert sentence.startswith("RoutingExplorer, 11 tokens: in layer 2 the gate sends token 3, ")
    assert f"to experts {own.chosen[3, 0]} and {own.chosen[3, 1]} of 5 with weight {own.weights[3, 0]:.2f}" in sentence
    assert sentence.endswith(".") and "0x" not in sentence and "\n" not in sentence
    assert str(explorer).startswith(sentence) and "answers for" in str(explorer)


def test_switches_change_the_sentence_and_reset_takes_all_back(explorer):
    before = str(explorer)
    assert explorer.difference() == "The router is the model's own." and explorer.what_if == AS_IT_IS
    explorer.use_bias, explorer.use_table, explorer.top_k = False, False, 3
    assert explorer.what_if == WhatIf(3, False, False)
    assert "3 experts a token instead of 2, bias off, table off" in repr(explorer)
    assert explorer.difference().startswith("What if: 3 experts a token") and "11 of 11 tokens" in explorer.difference()
    explorer.reset()
    assert str(explorer) == before


@pytest.mark.parametrize("name, value, high", [("layer", 4, 3), ("layer", -1, 3), ("token", 11, 10), ("top_k", 0, 5)])
def test_a_place_that_is_not_there_is_refused_and_nothing_moves(explorer, name, value, high):
    before = repr(explorer)
    with pytest.raises(v4.Refused, match=f"{name}: expected . to {high}, got {value}"):
        setattr(explorer, name, value)
    assert repr(explorer) == before


@pytest.mark.parametrize("text, tokens", [("", 1), ("x", 2), ("ab" * MOST_TOKENS, MOST_TOKENS)])
def test_any_text_will_do_and_the_selected_token_stays_inside(explorer, text, tokens):
    explorer.token = 10
    explorer.text = text
    assert len(explorer.ids) == tokens and explorer.token == min(10, tokens - 1)
    assert explorer.left_out == max(0, len(text) + 1 - tokens)
    assert explorer.png().startswith(b"\x89PNG")


def test_a_text_that_the_font_lacks_and_formulas_are_drawn_without_a_warning():
    tokenizer = v4.Tokenizer.load(data_folder() / "mini")
    explorer = RoutingExplorer(v4.load(data_folder() / "mini", backend="numpy"), tokenizer, "$x$ \\frac 漢 😀")
    explorer.pieces[1] = "漢"
    assert explorer.png().startswith(b"\x89PNG")


def test_shown_in_a_notebook_it_has_a_widget_and_a_page_for_those_without(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == repr(explorer)
    assert "<script" not in bundle["text/html"] and "http" not in bundle["text/html"]
    assert bundle["text/html"] == explorer._repr_mimebundle_()["text/html"]


def test_controls_move_the_explorer_and_the_explorer_moves_them(explorer):
    assert explorer.box is explorer.box                 # made when first asked for, then kept
    controls, views = explorer._controls, explorer._views
    picture, told = views["picture"].value, views["told"].value
    controls["layer"].value = 0
    assert explorer.layer == 0 and views["picture"].value != picture and "table chooses by token id" in views["told"].value
    controls["layer"].value = 2
    assert (views["picture"].value, views["told"].value) == (picture, told)
    explorer.use_bias = False
    assert controls["use_bias"].value is False and "bias off" in views["told"].value
    explorer.text = "<b>x"
    assert controls["text"].value == "<b>x" and controls["token"].max == 4
    assert "<b>x" not in views["strip"].value and "&lt;" in views["strip"].value
    controls["text"].value = "longer than before"
    assert controls["token"].max == 18 and explorer.text == "longer than before"


def test_import_v4mini_brings_no_widgets():
    code = ("import sys, v4mini as v4; v4.load, v4.Trace;"
            "print(any(m.startswith(('v4mini.widgets', 'ipywidgets', 'traitlets')) for m in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
