"""The routing explorer without a browser: what it computes, tells and draws; what its switches do to a model."""

import subprocess
import sys

import numpy as np
import pytest
from letters import Letters

import v4mini as v4
from v4mini.config import Config
from v4mini.ops.route import affinity, choose, gate_weights
from v4mini.widgets.reading import MOST_TOKENS
from v4mini.widgets.routing import RoutingExplorer
from v4mini.widgets.what_if import AS_IT_IS, WhatIf, read_routing


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


def test_shown_in_a_notebook_it_has_a_widget_and_a_page_for_those_without(explorer):
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == repr(explorer)
    assert "<script" not in bundle["text/html"] and "http" not in bundle["text/html"]
    assert bundle["text/html"] == explorer._repr_mimebundle_()["text/html"]


def test_without_anywidget_the_page_of_tables_is_all(explorer, monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)         # importing it raises ImportError
    assert set(explorer._repr_mimebundle_()) == {"text/plain", "text/html"}


def test_the_page_moves_the_explorer_and_the_explorer_moves_the_page(explorer):
    view = explorer.view
    assert explorer.view is view                        # made when first asked for, then kept
    view.asked = {"layer": 1, "token": 2, "expert": 4, "number": 1}
    assert (explorer.layer, explorer.token, explorer.expert) == (1, 2, 4)
    explorer.layer = 3
    assert view.place == {"layer": 3, "token": 2, "expert": 4}
    view.asked = {"text": "<b>x", "number": 2}
    assert explorer.text == "<b>x" and view.data["pieces"][1:] == list("<b>x") and view.now["about"]["text"] == "<b>x"
    switches = view.now["about"]["switches"]
    view.asked = {"switches": switches | {"use_bias": False, "off": [[1, 2]]}, "number": 3}
    assert explorer.what_if == WhatIf(use_bias=False, off=frozenset({(1, 2)}))
    assert "bias off, expert 2 of layer 1 off" in view.now["about"]["difference"]
    assert view.said == "" and "chosen" in view.now
    explorer.reset()
    assert "chosen" not in view.now


def test_what_cannot_be_is_said_on_the_page_and_nothing_moves(explorer):
    view, before = explorer.view, str(explorer)
    switches = view.now["about"]["switches"]
    for change in ({"top_k": 9}, {"off": [[2, e] for e in range(4)]}, {"off": [[7, 0]]}):
        view.asked = {"switches": switches | change, "number": str(change)}
        assert "expected" in view.said and str(explorer) == before, change
    with pytest.raises(v4.Refused, match="off: expected 2 experts to be left in layer 2, got 1"):
        explorer.off = {(2, e) for e in range(4)}
    assert str(explorer) == before


def test_an_expert_that_is_off_is_asked_by_nobody_and_the_others_have_its_weight(tiny):
    ids = [0, 5, 9, 5, 3]
    own, _ = read_routing(tiny, ids)
    gate, table = int(own[2].chosen[0, 0]), int(own[0].chosen[1, 0])
    off, _ = read_routing(tiny, ids, WhatIf(off=frozenset({(2, gate), (0, table)})))
    assert gate not in off[2].chosen and gate in own[2].chosen
    np.testing.assert_array_equal(off[0].chosen, own[0].chosen)         # the table still names it
    np.testing.assert_array_equal(off[0].weights[off[0].chosen == table], 0)
    np.testing.assert_allclose(off[0].weights.sum(1), 1.5, rtol=1e-5)
    np.testing.assert_allclose(off[2].weights, gate_weights(off[2].affinities, off[2].chosen, 1.5), rtol=1e-6)


def test_a_moved_bias_chooses_as_if_the_file_held_it(tiny):
    ids, by = [0, 5, 9, 5, 3], 3.0
    moved, _ = read_routing(tiny, ids, WhatIf(moved=((2, 3, by),)))
    own, _ = read_routing(tiny, ids)
    expected = own[2].bias.copy()
    expected[3] += np.float32(by)
    np.testing.assert_array_equal(moved[2].bias, expected)
    np.testing.assert_array_equal(moved[2].chosen, choose(own[2].affinities, expected, 2))
    np.testing.assert_array_equal(own[2].bias, tiny.weights.layers[2].ffn.gate.bias)
    for layer in (1, 3):                                # the others keep theirs
        np.testing.assert_array_equal(moved[layer].chosen, choose(moved[layer].affinities, own[layer].bias, 2))


def test_sizes_are_those_of_what_the_experts_add(tiny):
    class Seen(type(tiny.ops)):
        def expert(self, *args):
            self.added = [*getattr(self, "added", []), super().expert(*args)]
            return self.added[-1]

    seen = Seen()
    own, _ = read_routing(type(tiny)(tiny.config, tiny.weights, seen), [0, 5, 9])
    for routes, y in zip(own, seen.added, strict=True):
        np.testing.assert_allclose(routes.shared, np.linalg.norm(y, axis=1) / np.sqrt(tiny.config.dim), rtol=1e-5)
    off, _ = read_routing(tiny, [0, 5, 9], WhatIf(use_shared=False))
    assert not off[0].shared.any() and off[0].routed.all()


def test_import_v4mini_brings_no_widgets():
    code = ("import sys, v4mini as v4; v4.load, v4.Trace;"
            "print(any(m.startswith(('v4mini.widgets', 'ipywidgets', 'anywidget', 'traitlets')) for m in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
