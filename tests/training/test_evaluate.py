"""Measurements on models whose answers are known: a uniform one, one that was told, a random one."""

import lzma

import numpy as np
import pytest

from v4mini import Config, Refused
from v4mini.inference.cached import CachedModel
from v4mini.training import evaluate
from v4mini.training.facts import Marks


@pytest.fixture(scope="module")
def small(model_of):
    return model_of(Config.tiny().replace(vocab_size=300))


class Uniform(CachedModel):                             # every token is as likely as any other
    def head(self, streams, w):
        return np.zeros((len(streams), self.config.vocab_size), np.float32)


def test_a_uniform_model_needs_log2_of_the_vocabulary_for_each_token(small, small_tokenizer):
    text = "def f(x):\n    return x\n" * 30
    tokens = len(small_tokenizer.encode(text)) + 1      # and the end
    found = evaluate.bits_per_byte(Uniform(small.config, small.weights, small.ops), small_tokenizer, [text, "x = é"])
    tokens += len(small_tokenizer.encode("x = é")) + 1
    assert found["tokens"] == tokens and found["bytes"] == len(text) + 6
    assert found["bits_per_byte"] == pytest.approx(tokens * np.log2(300) / found["bytes"], rel=1e-6)
    assert found["xz"] == 8 * len(lzma.compress((text + "x = é").encode(), preset=9 | lzma.PRESET_EXTREME)) / found["bytes"]


def test_surprise_in_chunks_is_the_surprise_of_the_whole(small, rng, monkeypatch):
    ids = rng.integers(0, 300, 90)
    logits = small.logits(ids)[:-1].astype(np.float64)
    wanted = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(89), ids[1:]]
    np.testing.assert_allclose(evaluate.nll(small, ids), wanted, atol=1e-4)
    for chunk in (1, 7, 89, 90):
        monkeypatch.setattr(evaluate, "CHUNK", chunk)
        np.testing.assert_allclose(evaluate.nll(small, ids), wanted, atol=1e-4)


class Told(CachedModel):
    """Remembers what it has read, as a list of ids beside the cache, and looks facts up in it. `after`: from which token on."""

    def __init__(self, like, marks, after=0):
        super().__init__(like.config, like.weights, like.ops)
        self.marks, self.after, self.read = marks, after, []

    def prefill(self, ids, cache, progress=None):
        self.read = self.read[: cache.length] + [int(id) for id in ids]
        cache.commit(len(ids))
        return self._answer()

    def step(self, token, cache):
        return self.prefill([token], cache)

    def _answer(self):
        scores, m = np.zeros(300, np.float32), self.marks
        start = max((place for place, id in enumerate(self.read) if id == m.ask), default=None)
        if start is not None and m.is_ in self.read[start:]:
            question = self.read[start + 1: start + 5]
            given = len(self.read) - start - 5
            for place in range(self.after, start):
                if self.read[place] == m.fact and self.read[place + 1: place + 5] == question:
                    scores[self.read[place + 5 + given]] = 1
        return scores


@pytest.mark.parametrize("after, right, depths", [(0, 1.0, [1] * 8), (1024, 0.5, [0] * 4 + [1] * 4)])
def test_who_remembers_half_of_the_haystack_answers_half(small, small_tokenizer, after, right, depths):
    text = np.array(small_tokenizer.encode("def f(x):\n    return x\n" * 200))
    model = Told(small, Marks.of(small_tokenizer), after)
    found = evaluate.needles(model, small_tokenizer, text, 2048, questions=64)
    assert found["questions"] == 64 and found["right"] == pytest.approx(right, abs=0.02)
    np.testing.assert_allclose(found["by_depth"], depths, atol=0.13)


def test_several_haystacks_count_as_one_large_one(small, small_tokenizer):
    text = np.array(small_tokenizer.encode("def f(x):\n    return x\n" * 200))
    half = Told(small, Marks.of(small_tokenizer), 1024)
    one, all_ = (evaluate.needles(half, small_tokenizer, text, 2048, 16, haystacks=n) for n in (1, 3))
    assert (all_["haystacks"], all_["questions"], one["questions"]) == (3, 16, 16) and all_["cache_bytes"] == one["cache_bytes"]
    each = [np.mean(evaluate._search(half, small_tokenizer, text, 2048, 16, 0, 0.0, seed, None)[0]) for seed in range(3)]
    assert one["right"] == each[0] and all_["right"] == pytest.approx(np.mean(each))
    texts = [evaluate.haystack(np.random.default_rng([seed, 2048]), text, half.marks, 2048, 16)[0] for seed in range(3)]
    assert len({ids.tobytes() for ids in texts}) == 3


def test_a_haystack_leaves_room_for_the_question(small, small_tokenizer, model_of):
    text = np.array(small_tokenizer.encode("def f(x):\n    return x\n" * 100))
    short = model_of(small.config.replace(max_seq_len=128))
    assert evaluate.needles(short, small_tokenizer, text, 4096, questions=4)["tokens"] == 112


def test_a_model_that_was_not_trained_finds_nothing(small, small_tokenizer):
    text = np.array(small_tokenizer.encode("def f(x):\n    return x\n" * 100))
    found = evaluate.needles(small, small_tokenizer, text, 256, questions=16, others=4, similar=1.0)
    assert found["right"] == 0 and found["questions"] == 8 and found["cache_bytes"] > 0     # at most one in 32 tokens


def test_agreement_is_counted_where_both_speak_of_the_same_token(small, rng):
    class Same(CachedModel):                            # predicts token number t + 1 of a sequence as t + 1
        def logits(self, ids, trace=None):
            return np.eye(300)[np.arange(len(ids)) + 1]

        def mtp_logits(self, ids, trace=None):
            return np.eye(300)[np.arange(len(ids) - 1) + 2]
    model = Same(small.config, small.weights, small.ops)
    assert evaluate.mtp_agreement(model, [rng.integers(0, 300, 20)]) == 1.0
    assert evaluate.mtp_agreement(small, [rng.integers(0, 300, 40)]) < 0.3


def test_router_load_is_counted_per_layer(small, rng):
    rows = [rng.integers(0, 300, 30) for _ in range(2)]
    found = evaluate.router_load(small, rows)
    assert list(found) == [0, 1, 2, 3] and all(share.sum() == pytest.approx(5) for share in found.values())
    table = small.weights.layers[0].ffn.gate.tid2eid                    # layer 0 chooses by table
    counts = np.bincount(table[np.concatenate(rows)].ravel(), minlength=5)
    np.testing.assert_allclose(found[0], counts / counts.mean())


def test_no_text_is_refused(small, small_tokenizer):
    with pytest.raises(Refused, match="expected some text"):
        evaluate.bits_per_byte(small, small_tokenizer, [""])


class Counts:
    """A model that answers from the number of tokens, except that it is one letter late from `until` on."""

    config = Config.tiny()

    def __init__(self, marks, until):
        self.marks, self.until = marks, until

    def new_cache(self):
        return None

    def prefill(self, ids, cache):
        assert ids[-2:].tolist() == [self.marks.length, self.marks.is_]
        entries = len(ids) // 128
        letter = 0 if entries == 0 else 1 + int(np.log2(entries))
        return np.eye(2000)[self.marks.letters[letter + (len(ids) >= self.until)]]


@pytest.mark.parametrize("until, right, by_letter", [(10_000, 1.0, [1, 1, 1, 1, 1]), (256, None, [1, 1, 0, 0, 0])])
def test_lengths_are_right_where_the_doubling_is(small_tokenizer, until, right, by_letter):
    marks = Marks.of(small_tokenizer)
    text = np.arange(100, 200)                          # shorter than the longest text: repeated
    found = evaluate.lengths(Counts(marks, until), small_tokenizer, text, 200)
    assert found["by_letter"] == by_letter and found["questions"] == 200 and found["longest"] == 2048
    assert right is None or found["right"] == right
    assert 0.2 <= found["commonest"] < 0.3 and (until > 256 or 0.3 < found["right"] < 0.5)
