"""Questions about the length of a text, checked by counting and against the entries that heavy layers see."""

import numpy as np
import pytest

from v4mini import Refused
from v4mini.training.facts import Marks
from v4mini.training.lengths import SHORTEST, drawn_length, length_letter, length_row, length_rows

MARKS = Marks(fact=901, is_=902, ask=903, length=904, letters=np.arange(500, 536))
TEXT = np.random.default_rng(2).integers(0, 400, 9000)


@pytest.mark.parametrize("tokens, letter", [(1, "a"), (127, "a"), (128, "b"), (255, "b"), (256, "c"), (511, "c"), (512, "d"),
                                            (1024, "e"), (2047, "e"), (2048, "f"), (1 << 20, "o")])
def test_a_letter_for_each_doubling(tokens, letter):
    assert chr(ord("a") + length_letter(tokens)) == letter


def test_the_answer_is_the_doubling_of_the_entries_that_an_hca_layer_sees_at_the_question():
    for tokens in (64, 127, 128, 129, 257, 700, 2048):
        ids, is_answer = length_row(np.random.default_rng(tokens), TEXT, MARKS, tokens)
        assert ids.shape == is_answer.shape == (tokens,) and is_answer.sum() == 1 and is_answer[-1]
        assert ids[-3:-1].tolist() == [MARKS.length, MARKS.is_]
        seen = (tokens - 1) // 128                      # at the token before the answer
        assert ids[-1] == MARKS.letters[0 if seen == 0 else int(np.log2(seen)) + 1]
        assert not np.isin(ids[:-3], [MARKS.length, *MARKS.letters]).any()


def test_rows_of_texts_fill_their_room_and_all_doublings_come(rng):
    letters = []
    for _ in range(60):
        rows = length_rows(rng, TEXT, MARKS, 2048)
        assert sum(len(ids) for ids, _ in rows) == 2048 and all(len(ids) >= SHORTEST for ids, _ in rows)
        letters += [int(ids[-1]) - 500 for ids, _ in rows]
    shares = np.bincount(letters, minlength=6) / len(letters)
    assert shares[:5].min() > 0.08 and len(letters) > 150


def test_what_cannot_be_asked_is_refused(rng):
    for marks, tokens in ((MARKS._replace(length=None), 128), (MARKS, 63)):
        with pytest.raises(Refused, match="lengths: expected a tokenizer with <.domain.> and texts of 64 tokens"):
            length_rows(rng, TEXT, marks, tokens)


def test_lengths_are_log_uniform(rng):
    lengths = np.array([drawn_length(rng, 2048) for _ in range(4000)])
    assert lengths.min() >= SHORTEST and lengths.max() <= 2048
    shares = np.histogram(np.log2(lengths), bins=5, range=(6, 11))[0] / 4000
    np.testing.assert_allclose(shares, 0.2, atol=0.03)
