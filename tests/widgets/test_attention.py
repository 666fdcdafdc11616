"""The attention explorer without a browser: its weights are those that the engine used, and its names name the right rows."""

import sys

import numpy as np
import pytest
from letters import Letters

import v4mini as v4
from v4mini.backend import Backend
from v4mini.widgets.attention import MEAN, AttentionExplorer
from v4mini.widgets.looks import pack_looks, read_looks

TEXT = "The same words come again: " * 6                # 163 tokens: one heavy entry, windows of 16, 7 picks of 40


class Heard(Backend):
    """An engine that keeps what attention was given and gave back."""

    def attend(self, q, rows, first, sink, window, scale, entries=None, **far):
        out = super().attend(q, rows, first, sink, window, scale, entries=entries, **far)
        self.calls = [*getattr(self, "calls", []), (rows, entries, out)]
        return out


@pytest.fixture(scope="module")
def heard(tiny):
    return type(tiny)(tiny.config, tiny.weights, Heard())


@pytest.fixture
def explorer(heard):
    heard.ops.calls = []
    return AttentionExplorer(heard, Letters(), TEXT, layer=3, token=150)


@pytest.mark.parametrize("token", [0, 15, 16, 127, 128, 162])
def test_named_rows_and_entries_by_their_weights_are_what_the_engine_gave(explorer, token):
    for layer, (rows, entries, out) in enumerate(explorer.model.ops.calls):
        for head in range(6):
            names, weights = explorer.weights(layer, token, head)
            assert weights.sum() == pytest.approx(1, abs=1e-5)
            read = [rows[n] if kind == "row" else entries[n] if kind == "entry" else np.zeros_like(rows[0]) for kind, n in names]
            np.testing.assert_allclose(weights @ np.stack(read), out[token, head], rtol=1e-4, atol=1e-5)
        mean = explorer.weights(layer, token)[1]
        np.testing.assert_allclose(mean, np.mean([explorer.weights(layer, token, h)[1] for h in range(6)], axis=0), rtol=1e-5)
        by_kind = [mean[[name == kind for name, _ in names]].sum() for kind in ("row", "entry", "sink")]
        np.testing.assert_allclose(explorer.share(layer, token), by_kind, rtol=1e-4, atol=1e-6)
        if layer == 2:                                  # all of its entries, once their last token is there
            assert (("entry", 0) in names) == (token >= 127)


def test_an_entry_stands_for_the_tokens_that_change_it(heard):
    def entries(text):
        heard.ops.calls = []
        read_looks(heard, Letters(), text)
        return heard.ops.calls[0][1]                    # layer 0: CSA, which sees a token only through its embedding

    looks, before = read_looks(heard, Letters(), TEXT)[2], entries(TEXT)
    for t in (4, 11, 100):                              # BOS is token 0: letter t - 1
        after = entries(TEXT[: t - 1] + "~" + TEXT[t:])
        changed = np.flatnonzero((after != before).any(axis=1)).tolist()
        assert changed == [n for n in range(len(before)) if t in looks[0].tokens_of(n)]
    assert looks[2].tokens_of(0) == range(128) and looks[2].seen(126) == 0 and looks[2].seen(127) == 1


def test_tables_and_sentence_say_what_was_read(explorer):
    assert repr(explorer).startswith("AttentionExplorer, 163 tokens: in layer 3 (CSA) token 150, ")
    assert "on 16 rows" in repr(explorer) and "7 of 37 picked" in repr(explorer)
    _, by_layer = explorer.layer_rows()
    assert [row[1:4] for row in by_layer] == [["CSA", 16, "7 of 37 picked"], ["window", 16, "-"], ["HCA", 16, "all 1"],
                                              ["CSA", 16, "7 of 37 picked"]]
    explorer.layer, explorer.head = 2, 4
    names, weights = explorer.weights(2, 150, 4)
    header, most = explorer.most_read()
    assert most[0][1] == f"{weights.max():.3f}" and len(most) == 10 and header == ["read", "weight", "text"]
    entry = [row for row in explorer.most_read()[1] if row[0] == "entry 0"]
    assert names[-2:] == [("entry", 0), ("sink", 0)] and (not entry or len(entry[0][2]) == 128 + 2)
    assert "head 4" in str(explorer) and len(explorer.head_rows()[1]) == 7


def test_the_page_is_sent_the_weights_and_no_more_rows_than_there_are(explorer):
    for own in explorer.looks:
        sent = pack_looks(own)
        window = np.frombuffer(sent["window"]["bytes"], np.float32).reshape(sent["window"]["shape"])
        np.testing.assert_array_equal(window, own.window)
        assert sent["seen"][150] == own.seen(150) and sent["slots"] == 16
    short = read_looks(explorer.model, Letters(), "ab")[2][0]
    assert pack_looks(short)["window"]["shape"] == [3, 6, 3]
    np.testing.assert_array_equal(np.frombuffer(pack_looks(short)["window"]["bytes"], np.float32).reshape(3, 6, 3),
                                  short.window[:, :, -3:])


def test_page_and_explorer_move_each_other_and_what_cannot_be_is_said(explorer):
    view = explorer.view
    view.asked = {"layer": 1, "token": 2, "head": 5, "number": 1}
    assert (explorer.layer, explorer.token, explorer.head) == (1, 2, 5)
    assert view.place == {"layer": 3, "token": 150, "head": MEAN}       # a page is not told where its own hand went
    explorer.head = MEAN
    assert view.place == {"layer": 1, "token": 2, "head": MEAN}
    view.asked = {"text": "<b>x", "number": 2}
    assert explorer.text == "<b>x" and view.data["pieces"] == ["BOS", *"<b>x"]
    before = repr(explorer)
    view.asked = {"head": 6, "number": 3}
    assert view.said == "head: expected -1 to 5, got 6." and repr(explorer) == before
    with pytest.raises(v4.Refused, match="token: expected 0 to 4, got 5"):
        explorer.token = 5


def test_without_anywidget_its_tables_are_all(explorer, monkeypatch):
    assert set(explorer._repr_mimebundle_()) == {"text/plain", "text/html", "application/vnd.jupyter.widget-view+json"}
    monkeypatch.setitem(sys.modules, "anywidget", None)
    bundle = explorer._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/html"].count("<caption>") == 3
    assert "<script" not in bundle["text/html"] and "http" not in bundle["text/html"]


def test_a_wide_model_is_read_less_far(explorer, monkeypatch):
    monkeypatch.setattr("v4mini.widgets.looks.MOST_BYTES", 4 * 4 * 6 * (16 + 7 + 1) * 20)
    ids, _, _, left_out = read_looks(explorer.model, Letters(), TEXT)
    assert len(ids) == 20 and left_out == 143
    monkeypatch.setattr("v4mini.widgets.looks.MOST_BYTES", 1000)
    with pytest.raises(v4.Refused, match="at most 1,000 bytes a token"):
        read_looks(explorer.model, Letters(), TEXT)
