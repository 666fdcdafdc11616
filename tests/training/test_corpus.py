"""Rows of text: every token once an epoch, documents apart, any order reached again from three numbers."""

import numpy as np
import pytest

from v4mini import Refused
from v4mini.training.corpus import Corpus, Rows


class Letters:                                          # a tokenizer of single characters
    bos_id, eos_id, vocab_size = 0, 1, 128

    def encode(self, text):
        return [ord(c) for c in text]


TEXTS = ["alpha " * 30, "b", "gamma" * 50, "", "delta\n" * 40]


@pytest.fixture
def corpus():
    return Corpus.of(TEXTS, Letters())


def test_documents_stand_between_bos_and_eos(corpus):
    documents = np.split(corpus.ids, corpus.ends)[:-1]
    assert ["".join(map(chr, document[1:-1])) for document in documents] == TEXTS
    assert all(document[0] == 0 and document[-1] == 1 for document in documents)
    assert corpus.nbytes == sum(map(len, TEXTS)) and corpus.counts(128)[ord("g")] == 50


@pytest.mark.parametrize("start, stop", [(0, 10), (170, 200), (0, 681), (181, 186)])
def test_a_cut_is_the_stream_parted_at_documents(corpus, start, stop):
    parts = corpus.cut(start, stop)
    np.testing.assert_array_equal(np.concatenate(parts), corpus.ids[start:stop])
    for part in parts:
        assert len(part) and (part[1:] != 0).all() and (part[:-1] != 1).all()        # BOS only first, EOS only last


def test_an_epoch_holds_each_token_at_most_once_and_nearly_all(corpus, rng):
    rows = Rows(corpus, 20)
    for _ in range(3):
        count, seen = rows._count(), []
        for _ in range(count):
            seen.append(np.concatenate(rows.next(rng)))
        flat = np.concatenate(seen)
        assert flat.shape == (count * 20,) and len(flat) > len(corpus) - 40
        have = np.bincount(flat, minlength=128)
        assert (have <= corpus.counts(128)).all()


def test_epochs_differ_and_three_numbers_are_the_whole_state(corpus, rng):
    rows = Rows(corpus, 20)
    first = [np.concatenate(rows.next(rng)) for _ in range(10)]
    again = Rows(corpus, 20, rows.seed, 4)
    for row in first[4:]:
        np.testing.assert_array_equal(np.concatenate(again.next(rng)), row)
    while rows.used < rows._count():
        rows.next(rng)
    assert any(not np.array_equal(np.concatenate(rows.next(rng)), row) for row in first)


def test_too_little_text_is_refused(corpus):
    with pytest.raises(Refused, match="at least 1,000 tokens, two rows, got"):
        Rows(corpus, 500)
    with pytest.raises(Refused, match="at least one text"):
        Corpus.of([], Letters())
