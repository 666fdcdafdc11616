"""A routing from a model, from a recording, from another engine's answer; what the page is sent; counts over a corpus."""

import json
from itertools import combinations

import numpy as np
import pytest
from letters import Letters

import v4mini as v4
from v4mini.inference.routing_trace import recorded
from v4mini.widgets.corpus import read_corpus
from v4mini.widgets.packed import pack_corpus, pack_reading
from v4mini.widgets.reading import read_experts, read_recording, read_text, read_vllm
from v4mini.widgets.routing import RoutingExplorer


def unpacked(sent):                                     # as the page does it
    return np.frombuffer(sent["bytes"], sent["dtype"]).reshape(sent["shape"])


def test_pairs_are_counted_once_a_token(tiny):
    reading = read_text(tiny, Letters(), "abcabc <b>")
    counts = reading.together(2)
    expected = np.zeros((5, 5), int)
    for picks in reading.layers[2].chosen.tolist():
        for a, b in combinations(set(picks), 2):
            expected[a, b] += 1
            expected[b, a] += 1
    np.testing.assert_array_equal(counts - np.diag(np.diag(counts)), expected)
    np.testing.assert_array_equal(np.diag(counts), reading.load[2])


def test_the_page_is_sent_what_the_reading_holds(tiny):
    before, reading = (read_text(tiny, Letters(), text) for text in ("abc", "abd"))
    sent = pack_reading(reading, Letters(), before)
    for layer, own in enumerate(reading.layers):
        np.testing.assert_array_equal(unpacked(sent["chosen"])[layer], own.chosen)
        for name in ("weights", "scores", "affinities", "shared"):
            np.testing.assert_array_equal(unpacked(sent[name])[layer], getattr(own, name))
        assert np.isnan(unpacked(sent["bias"])[layer]).all() == (own.bias is None)
    p, was, ids = reading.probabilities(), before.probabilities(), unpacked(sent["next_ids"])
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(ids[:, 0], reading.logits.argmax(1))
    for t in range(4):
        np.testing.assert_allclose(unpacked(sent["next_was"])[t], was[t, ids[t]], rtol=1e-6)
        assert unpacked(sent["apart"])[t] == pytest.approx(np.sum(was[t] * np.log(was[t] / p[t])), abs=1e-6)


def test_a_recording_is_shown_as_the_live_model_shows_it(tiny, tmp_path):
    watched, recorder = recorded(tiny)
    ids = [0, *Letters().encode("abcabc")]
    watched.logits(ids)
    recorder.trace(len(ids)).save(tmp_path / "run.trace")
    reading = read_recording(tmp_path / "run.trace", Letters())
    live = read_text(tiny, Letters(), "abcabc")
    assert reading.pieces[1:] == live.pieces[1:] and reading.source == "run.trace"
    np.testing.assert_array_equal(reading.load, live.load)
    explorer = RoutingExplorer(reading=reading)
    assert "7 tokens: in layer 0 the table sends token 0" in repr(explorer) and "text/html" in explorer._repr_mimebundle_()
    for act in (lambda: setattr(explorer, "text", "x"), lambda: explorer.corpus, lambda: explorer.probability(0, 0)):
        with pytest.raises(v4.Refused, match="got a recording"):
            act()


def test_an_answer_of_vllm_is_its_prompt_then_what_was_generated(tmp_path):
    prompt, more = np.random.default_rng(0).integers(0, 16, (2, 5, 3, 2)).tolist()
    answer = {"prompt_routed_experts": prompt, "choices": [{"text": "x", "routed_experts": more}]}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    reading = read_vllm(tmp_path / "answer.json", 16)
    assert len(reading.ids) == 10 and len(reading.layers) == 3
    np.testing.assert_array_equal(np.stack([own.chosen for own in reading.layers], 1), [*prompt, *more])
    explorer = RoutingExplorer(reading=reading)
    assert explorer.choice() == (["expert", "chosen"], [[prompt[0][0][0], "yes"], [prompt[0][0][1], "yes"]])
    assert "weights" not in explorer.view.data


@pytest.mark.parametrize("content, words", [
    ("[1]", "expected a JSON object"), ("{}", "without choices"), ('{"choices": [{}]}', "expected routed_experts, got none"),
    ('{"choices": [{"routed_experts": [[[1], [2, 3]]]}]}', "lists of different lengths"),
    ('{"choices": [{"routed_experts": [[1, 2]]}]}', "expected int .tokens, layers, K."),
    ('{"choices": [{"routed_experts": [[[1.5]]]}]}', "expected int"),
    ('{"choices": [{"routed_experts": [[[16]]]}]}', "expected 0 to 15, got 16 to 16")])
def test_other_answers_are_refused(tmp_path, content, words):
    (tmp_path / "answer.json").write_text(content)
    with pytest.raises(v4.Refused, match=words):
        read_vllm(tmp_path / "answer.json", 16)


def test_ids_are_one_a_token():
    with pytest.raises(v4.Refused, match="ids: expected 2, one a token, got 1"):
        read_experts(np.zeros((2, 1, 1), int), 4, ids=[7])


def test_an_explorer_wants_a_model_or_a_reading_and_shows_another_beside_it(tiny):
    with pytest.raises(v4.Refused, match="a model or a reading"):
        RoutingExplorer()
    other = RoutingExplorer(tiny, Letters(), "xyz")
    explorer = RoutingExplorer(tiny, Letters(), "abc", beside=other)
    assert explorer.view.other["pieces"] == ["BOS", "x", "y", "z"]
    assert RoutingExplorer(tiny, Letters(), "abc", beside="xyz").view.other["pieces"] == ["BOS", "x", "y", "z"]


def test_counts_over_a_corpus_are_those_of_each_text_by_itself(tiny):
    texts = ["abca", "cab", "bb"]
    corpus = read_corpus(tiny, Letters(), texts)
    readings = [read_text(tiny, Letters(), text) for text in texts]
    assert len(corpus.ids) == 9 and corpus.half == 7            # BOS is left out; the first half is two of three texts
    for layer, expert, letter in ((0, 1, "a"), (2, 3, "b"), (3, 0, "c")):
        id = Letters().encode(letter)[0]
        found = [sum(r.pieces[t] == letter and expert in r.layers[layer].chosen[t] for t in range(1, len(r.ids)))
                 for r in readings]
        assert corpus.times(layer, expert, id) == sum(found)
        assert corpus.times(layer, expert, id, slice(corpus.half)) == sum(found[:2])
        top = {own: rest for own, *rest in corpus.top(layer, expert)}
        if sum(found):
            assert top[id] == [sum(found), sum(text.count(letter) for text in texts), sum(found[:2]), found[2]]
    sent = pack_corpus(corpus, 5)
    assert unpacked(sent["load"]).sum() == 9 * 2 * 4 and len(sent["top"]) == 4 and len(sent["top"][0]) == 5
