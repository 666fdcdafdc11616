"""The stream mixer without a browser: its matrices, reads and writes are those that the engine used."""

import sys

import numpy as np
import pytest

import v4mini as v4
from v4mini.backend import Backend
from v4mini.ops.mix import sinkhorn
from v4mini.widgets.mixer import ROUNDS, StreamMixer


class Seen(Backend):
    """An engine that keeps what each unit gave: u, post, comb, and the streams behind it."""

    def hc_pre(self, *inputs):
        self.gave = super().hc_pre(*inputs)
        return self.gave

    def hc_post(self, *inputs):
        out = super().hc_post(*inputs)
        self.units = [*getattr(self, "units", []), (*self.gave, out)]
        return out


@pytest.mark.parametrize("layer, unit, token", [(0, "attention", 0), (1, "experts", 3), (3, "experts", -1)])
def test_a_token_of_a_model_is_mixed_as_the_engine_mixed_it(tiny, layer, unit, token):
    seen, ids = Seen(), [0, 5, 9, 5, 3, 17]
    type(tiny)(tiny.config, tiny.weights, seen).logits(ids)
    u, post, comb, after = seen.units[2 * layer + (unit == "experts")]
    mixer = StreamMixer.of(tiny, ids, layer, unit, token)
    np.testing.assert_allclose(mixer.comb(), comb[token], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(mixer.writes(), post[token], rtol=1e-5)
    np.testing.assert_allclose(mixer.reads() @ mixer.streams, u[token], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixer.after(), after[token], rtol=1e-4, atol=1e-5)
    assert f"token {token % 6} before the {unit} of layer {layer}" in repr(mixer)


def test_rounds_bring_rows_nearer_to_1_and_a_moved_logit_moves_the_matrix():
    mixer = StreamMixer()
    errors = [mixer.errors(rounds)[0] for rounds in range(ROUNDS + 1)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.5 and errors[-1] < 1e-4
    before = mixer.comb()
    mixer.move("logits", (1, 2), 9.0)
    assert mixer.comb()[1, 2] > before[1, 2] and mixer.logits[1, 2] == 9
    np.testing.assert_array_equal(mixer.comb(3), sinkhorn(mixer.logits[None], 3, 1e-6)[0])
    mixer.reset()
    np.testing.assert_array_equal(mixer.comb(), before)
    with pytest.raises(v4.Refused, match="logit: expected -12.0 to 12.0, got 13"):
        mixer.move("pre", 0, 13)


def test_the_page_is_heard_and_what_cannot_be_is_said():
    mixer = StreamMixer(rounds=2)
    view, logits = mixer.view, np.full((4, 4), 0.5).tolist()
    view.asked = {"rounds": 7, "logits": logits, "pre": [1, 0, 0, 0], "post": [0, 0, 0, 2], "number": 1}
    assert mixer.rounds == 7 and mixer.logits.tolist() == logits and mixer.pre[0] == 1 and mixer.post[3] == 2
    view.asked = {"logits": [[99] * 4] * 4, "number": 2}
    assert "expected 0 to 12.0, got 99" in view.said and mixer.logits.tolist() == logits
    view.asked = {"logits": [[1, 2]], "number": 3}
    assert "logits: expected" in view.said
    sent = view.data["sent"]
    mixer.reset()
    again = np.frombuffer(view.data["logits"]["bytes"], np.float32).reshape(4, 4)
    assert view.data["sent"] > sent and again[0, 0] == mixer.logits[0, 0] != 0.5


def test_other_sizes_and_wrong_ones():
    assert StreamMixer(np.zeros((2, 2)), streams=[[1.0], [2.0]]).after().shape == (2, 1)
    for wrong in ({"logits": np.zeros((2, 3))}, {"pre": [0.0]}, {"streams": [[1.0]]}, {"post": [np.nan] * 4}):
        with pytest.raises(v4.Refused, match="expected"):
            StreamMixer(**wrong)
    with pytest.raises(v4.Refused, match="rounds: expected 0 to 20, got 21"):
        StreamMixer(rounds=21)


def test_without_anywidget_its_tables_are_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    bundle = StreamMixer()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "from 3" in bundle["text/html"] and "written (post)" in str(StreamMixer())
