"""A recorded routing is what the model's own trace notes, survives its file, and can be drawn and replayed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.backend import Backend
from v4mini.inference.cached import CachedModel
from v4mini.inference.generate import generate
from v4mini.inference.routing_trace import read_trace, recorded
from v4mini.inference.streaming.replay import replay
from v4mini.shapes import Refused
from v4mini.trace import Trace

IDS = np.arange(21) * 7 % 97
LAYERS = range(4)


@pytest.fixture(scope="module")
def spoken(tiny):
    """A prompt of 21 tokens in chunks of 8, then tokens one by one: the trace, and the tokens drawn."""
    model, recorder = recorded(CachedModel(tiny.config, tiny.weights, Backend()))
    cache = model.new_cache()
    model.prefill(IDS, cache, chunk=8)
    drawn = list(generate(model, [5], 6, temperature=0, cache=cache))
    return recorder.trace(len(IDS)), drawn


def test_tokens_and_calls_are_those_that_ran(spoken):
    trace, drawn = spoken
    assert trace.ids.tolist() == [*IDS, 5, *drawn[:-1]]
    assert trace.calls.tolist() == [0, 8, 16, *range(21, 28)] and trace.decoding() == list(range(3, 9))


def test_choices_and_weights_are_those_the_layers_note(tiny, spoken):
    trace, seen = spoken[0], Trace()
    tiny.logits(trace.ids, seen)
    for layer in LAYERS:
        ran = trace.experts[:, layer, 0] >= 0
        assert ran.all() == (layer < 3)                 # the last layer skips all but the last token of a chunk
        np.testing.assert_array_equal(trace.experts[ran, layer], seen[f"layers.{layer}.ffn.experts"][ran])
        np.testing.assert_allclose(trace.weights[ran, layer], seen[f"layers.{layer}.ffn.weights"][ran], rtol=1e-4, atol=1e-4)
    assert np.flatnonzero(trace.experts[:, 3, 0] >= 0).tolist() == [7, 15, *range(20, 27)]
    assert (trace.experts[:, 4] == -1).all()            # the MTP block was not asked


def test_watching_changes_no_number_and_not_the_model(tiny):
    before = tiny.ops
    watched, _ = recorded(tiny)
    np.testing.assert_array_equal(watched.logits(IDS), tiny.logits(IDS))
    assert tiny.ops is watched.ops is before and "streams" not in vars(tiny)


@pytest.mark.parametrize("dspark", [False, True])
def test_drafts_may_be_watched_too(tiny, model_of, dspark):
    alone = tiny.config.replace(n_mtp_layers=0, compress_ratios=tiny.config.compress_ratios[:4])
    model = model_of(alone.with_dspark()) if dspark else tiny
    watched, recorder = recorded(model)
    texts = [list(generate(one, IDS, 12, temperature=0, speculate=2)) for one in (watched, model)]
    assert texts[0] == texts[1]
    trace = recorder.trace(len(IDS))
    assert trace.ids[:21].tolist() == list(IDS)
    assert (trace.experts[:, 0, 0] >= 0).sum() >= 21 + 11               # of the model's own passes; a draft block has its own


def test_a_trace_of_ones_own_gets_what_it_wants_and_no_more(tiny):
    watched, recorder = recorded(tiny)
    mine, alone = Trace(), Trace()
    watched.logits(IDS, mine)
    tiny.logits(IDS, alone)
    assert mine.keys() == alone.keys() and all(np.array_equal(mine[name], alone[name]) for name in alone)
    assert recorder.trace(len(IDS)).scores.any()


def test_the_mtp_block_is_the_last_layer(tiny):
    watched, recorder = recorded(tiny)
    watched.mtp_logits(IDS)
    trace = recorder.trace(len(IDS))
    assert trace.calls.tolist() == [0, 21, 41] and trace.ids.tolist() == [*IDS, *IDS[1:]]
    assert (trace.experts[:21, 4] == -1).all() and (trace.experts[21:, :4] == -1).all() and (trace.experts[21:, 4] >= 0).all()
    assert [step.keys[0][0] for step in trace.steps()] == [0, 1, 2, 3, 4]


def test_steps_are_each_layer_s_experts_in_each_call(spoken):
    trace = spoken[0]
    steps = trace.steps()
    assert [(step.call, step.keys[0][0]) for step in steps] == [(call, layer) for call in range(9) for layer in LAYERS]
    first = steps[0]
    assert first.keys == tuple((0, e) for e in sorted(set(trace.experts[:8, 0].ravel().tolist())))
    assert replay(steps, 20).misses == len({key for step in steps for key in step.keys})


def test_a_file_gives_it_back(spoken, tmp_path):
    trace = spoken[0]
    trace.save(tmp_path / "run.trace")                  # under that name, with no ending of numpy's own
    again = read_trace(tmp_path / "run.trace")
    assert again.config == trace.config and again.prompt == 21
    for name in ("ids", "calls", "experts", "weights", "scores", "bias"):
        np.testing.assert_array_equal(getattr(again, name), getattr(trace, name), err_msg=name)
        assert getattr(again, name).dtype == getattr(trace, name).dtype


def test_scores_of_the_first_tokens_only(tiny):
    watched, recorder = recorded(tiny, scored=10)
    watched.prefill(IDS, watched.new_cache(), chunk=8)
    trace = recorder.trace(21)
    watched, whole = recorded(tiny)
    watched.prefill(IDS, watched.new_cache(), chunk=8)
    assert trace.scores.shape == (10, 5, 5)
    np.testing.assert_array_equal(trace.scores, whole.trace(21).scores[:10])
    np.testing.assert_array_equal(trace.experts, whole.trace(21).experts)


def test_the_explorer_s_pictures_can_be_drawn_from_it(spoken, tmp_path):
    from matplotlib.figure import Figure

    from v4mini.viz.routing import draw_explorer

    spoken[0].save(tmp_path / "t")
    trace = read_trace(tmp_path / "t")
    for all_tokens, count, layers in ((False, 9, 4), (True, 27, 3)):
        tokens, views = trace.layers(all_tokens)
        assert len(tokens) == count and len(views) == layers
        assert [view["kind"] for view in views] == ["table", "gate", "gate", "gate"][:layers]
        axes = draw_explorer(Figure(figsize=(9, 7)), views, [str(i) for i in trace.ids[tokens]], 1, 3)
        assert axes.shape == (2, 2)


def test_what_it_shows_is_what_the_live_explorer_shows(tiny):
    from v4mini.widgets.what_if import read_routing

    watched, recorder = recorded(tiny)
    watched.logits(IDS)
    _, views = recorder.trace(len(IDS)).layers()
    live, _ = read_routing(tiny, IDS)
    for view, own in zip(views, live, strict=True):
        assert view["kind"] == own.kind and (view["bias"] is None) == (own.bias is None)
        for name in ("affinities", "chosen", "weights"):
            np.testing.assert_array_equal(view[name], getattr(own, name))
        if own.bias is not None:
            np.testing.assert_array_equal(view["bias"], own.bias)


# ---- files of strangers ----

def test_a_path_to_nothing_and_other_files_are_refused(tmp_path):
    with pytest.raises(Refused, match="there is no such file"):
        read_trace(tmp_path / "none")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text").write_text("tokens")
    (tmp_path / "empty").write_bytes(b"")
    for name in ("other.npz", "object.npy", "text", "empty"):
        with pytest.raises(Refused, match="expected a routing trace"):
            read_trace(tmp_path / name)


@pytest.mark.parametrize("name, change", [
    ("experts", lambda a: a + 5), ("experts", lambda a: a.astype(np.int32)), ("experts", lambda a: a[:-1]),
    ("experts", lambda a: a - 1), ("calls", lambda a: a[:-1]), ("calls", lambda a: a[::-1]), ("calls", lambda a: a[:1]),
    ("weights", lambda a: a[:, :-1]),
    ("scores", lambda a: a[:, :, :-1]), ("bias", lambda a: a[0]), ("ids", lambda a: a[None])])
def test_arrays_that_do_not_fit_are_refused(spoken, tmp_path, name, change):
    from dataclasses import replace

    replace(spoken[0], **{name: change(getattr(spoken[0], name))}).save(tmp_path / "t")
    with pytest.raises(Refused, match="expected arrays that fit"):
        read_trace(tmp_path / "t")


@given(at=st.integers(0, 3000), byte=st.integers(0, 255))
@settings(max_examples=60, deadline=None)
def test_a_damaged_byte_is_refused_or_changes_nothing_that_matters(spoken, tmp_path_factory, at, byte):
    path = tmp_path_factory.mktemp("damaged") / "t"
    spoken[0].save(path)
    raw = bytearray(path.read_bytes())
    raw[at % len(raw)] = byte
    path.write_bytes(raw)
    try:
        trace = read_trace(path)
    except Refused:
        return
    np.testing.assert_array_equal(trace.experts, spoken[0].experts)
