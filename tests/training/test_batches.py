"""Batches: what is in them, what weighs how much, and the same ones again after a restore."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini import Config, Refused
from v4mini.lessons.places import data_folder
from v4mini.text.tokenizer import Tokenizer
from v4mini.training.batches import Batches, row_weights
from v4mini.training.corpus import Corpus
from v4mini.training.recipe import Stage


@pytest.fixture(scope="module")
def feed_of():
    tokenizer = Tokenizer.load(data_folder() / "mini")
    texts = [f"def f{n}(x):\n    return x + {n * n}\n" * 20 for n in range(40)]
    corpus = Corpus.of(texts, tokenizer)
    return lambda seed=0: Batches(corpus, tokenizer, Config.mini(), np.random.default_rng(seed))


def stage(**changes):
    return Stage(**{"name": "a", "steps": 9, "rows": 6, "length": 256, "mix": {"text": 1.0}, "rate": 0.01, **changes})


@given(st.lists(st.booleans(), min_size=2, max_size=60))
def test_a_row_weighs_its_length_and_answers_most_of_it(marks):
    is_answer = np.array(marks)
    weights = row_weights(is_answer)
    assert weights[-1] == 0 and abs(weights.sum() - len(marks)) < 1e-4
    answers = is_answer[1:]
    if answers.any() and not answers.all():
        assert abs(weights[:-1][answers].sum() - 0.9 * len(marks)) < 1e-4
        assert len(set(weights[:-1][answers])) == len(set(weights[:-1][~answers])) == 1


def test_weights_are_on_the_token_before_the_answer():
    np.testing.assert_allclose(row_weights(np.array([0, 0, 1, 0, 1], bool)), [0.25, 2.25, 0.25, 2.25, 0], atol=1e-6)


def test_text_rows_are_parts_of_documents_that_all_weigh_1(feed_of):
    feed = feed_of()
    batch = feed.batch(stage())
    assert len(batch.ids) == 6 * 256 and (batch.weights == 1).all() and len(batch.ends) > 6
    bos = np.flatnonzero(batch.ids == feed.tokenizer.bos_id)
    assert set(bos) <= {0, *batch.ends[:-1]}


@pytest.mark.parametrize("kind", ["facts", "copying", "brackets", "sums"])
def test_other_rows_are_one_sequence_each_and_jump(feed_of, kind):
    batch = feed_of().batch(stage(mix={kind: 1.0}))
    np.testing.assert_array_equal(batch.ends, 256 * np.arange(1, 7))
    assert abs(batch.weights.sum() - 6 * 256) < 0.1 and batch.weights.max() > 2
    assert any((np.diff(batch.positions[row]) > 1).any() for row in batch.spans)


def test_each_question_about_a_length_weighs_as_much_as_any_other_of_its_row(feed_of):
    batch = feed_of().batch(stage(mix={"lengths": 1.0}))
    assert set(256 * np.arange(1, 7)) <= set(batch.ends) and len(batch.ends) > 6
    questions = np.split(batch.weights, batch.ends[:-1])
    for row in range(6):
        inside = [weights for weights, end in zip(questions, batch.ends) if 256 * row < end <= 256 * (row + 1)]
        assert all(weights.argmax() == len(weights) - 2 for weights in inside)
        np.testing.assert_allclose([weights.max() for weights in inside], 0.9 * 256 / len(inside), rtol=1e-5)


def test_a_mix_is_drawn_by_its_shares(feed_of):
    feed = feed_of()
    texts = sum(int((b.weights == 1).sum()) / 256 for b in (feed.batch(stage(mix={"text": 3, "facts": 1})) for _ in range(100)))
    assert abs(texts / 600 - 0.75) < 0.06


def test_text_that_does_not_jump_only_starts_elsewhere(feed_of):
    batch = feed_of().batch(stage(text_jumps=0.0))
    assert all((np.diff(batch.positions[row]) == 1).all() for row in batch.spans)
    assert max(batch.positions[row.start] for row in batch.spans) > 10_000


def test_a_restored_feed_goes_on_with_the_very_next_batch(feed_of):
    mixed = stage(mix={"text": 0.4, "facts": 0.2, "lengths": 0.1, "copying": 0.1, "brackets": 0.1, "sums": 0.1})
    feed = feed_of()
    for _ in range(7):
        feed.batch(mixed)
    state = json.loads(json.dumps(feed.state()))
    wanted = [feed.batch(mixed) for _ in range(30)]     # into the next epoch
    other = feed_of(seed=99)
    other.restore(state)
    for batch in wanted:
        got = other.batch(mixed)
        for name in ("ids", "ends", "positions", "weights"):
            np.testing.assert_array_equal(getattr(got, name), getattr(batch, name))


def test_an_unknown_kind_is_refused(feed_of):
    with pytest.raises(Refused, match="expected some of text, facts"):
        feed_of().batch(stage(mix={"poems": 1.0}))
