"""Drills, judged by reading the text they make."""

import numpy as np
import pytest

from v4mini.lessons.places import data_folder
from v4mini.text.tokenizer import Tokenizer
from v4mini.training import synthetic


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.load(data_folder() / "mini")


TEXT = np.random.default_rng(1).integers(300, 2000, 3000)


@pytest.mark.parametrize("drill", [synthetic.copying, synthetic.brackets, synthetic.sums], ids=lambda drill: drill.__name__)
def test_rows_have_their_length_and_some_answers(rng, tokenizer, drill):
    for tokens in (16, 200, 513):
        ids, is_answer = drill(rng, TEXT, tokenizer, tokens)
        assert ids.shape == is_answer.shape == (tokens,) and not is_answer[0]
    assert 0.1 < is_answer.mean() < 0.9


def test_sums_are_right_and_the_answer_is_what_is_marked(rng, tokenizer):
    ids, is_answer = synthetic.sums(rng, TEXT, tokenizer, 400)
    lines = tokenizer.decode(ids).split("\n")[:-1]
    assert len(lines) > 20
    for line in lines:
        question, answer = line.split("=")
        assert sum(map(int, question.split("+"))) == int(answer)
    assert tokenizer.decode(ids[is_answer]).split("\n")[:-1] == [line.split("=")[1] for line in lines]


def test_brackets_close_what_was_opened_last(rng, tokenizer):
    ids, is_answer = synthetic.brackets(rng, TEXT, tokenizer, 400)
    lines, marks = [[]], [[]]
    for id, mark in zip(ids, is_answer):
        letter = tokenizer.decode([id])
        if letter == "\n":
            lines.append([])
            marks.append([])
        else:
            lines[-1].append(letter)
            marks[-1].append(bool(mark))
    for line, marked in zip(lines[:-1], marks[:-1]):
        stack = []
        for place, letter in enumerate(line):
            if letter in "([{":
                stack.append(letter)
            else:
                assert stack.pop() + letter in ("()", "[]", "{}")
            # known: a closing bracket once no opening one will come
            assert marked[place] == (letter in ")]}" and not set(line[place:]) & set("([{"))
        assert not stack


def test_what_is_marked_in_copying_was_there_before(rng, tokenizer):
    ids, is_answer = synthetic.copying(rng, TEXT, tokenizer, 600)
    newline = tokenizer.encode("\n")[0]
    pieces = [list(map(int, p)) for p in np.split(ids, np.flatnonzero(ids == newline) + 1)][:-1]
    for first, second in zip(pieces[::2], pieces[1::2]):
        assert first == second
    starts = np.cumsum([0] + [len(piece) for piece in pieces])
    for number, (start, piece) in enumerate(zip(starts, pieces)):
        wanted = [number % 2 == 1 and 0 < place < len(piece) - 1 for place in range(len(piece))]
        assert is_answer[start: start + len(piece)].tolist() == wanted
