"""Special tokens as letters: no text can hold one, and names and marks go over into each other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.conversations import NAMES, hostile

from v4mini.text.marks import MARKS, first_mark, from_ids, marked, plain, spelled, to_ids
from v4mini.text.special import DSML, EOT, USER
from v4mini.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")
any_text = st.text()                            # lone surrogates too
marks_and_text = st.lists(st.one_of(hostile, st.sampled_from([*MARKS.values()])), max_size=8).map("".join)


def test_each_special_token_has_a_letter_of_its_own_that_no_utf8_holds():
    assert list(MARKS) == NAMES and len(set(MARKS.values())) == len(NAMES)
    for mark in MARKS.values():
        with pytest.raises(UnicodeEncodeError):
            mark.encode("utf-8")


def test_two_marks_side_by_side_do_not_become_one_character():
    for first in MARKS.values():
        for second in MARKS.values():
            assert plain(first + second) == "\ufffd\ufffd"


@given(any_text)
def test_plain_text_holds_no_mark_and_is_otherwise_unchanged(text):
    assert first_mark(plain(text)) is None
    assert plain(plain(text)) == plain(text)
    if not any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        assert plain(text) is text


@given(hostile)
def test_names_become_marks_and_names_again(text):
    assert spelled(marked(text)) == text
    assert not any(name in marked(text) for name in NAMES)


@given(marks_and_text)
def test_ids_tell_marks_from_letters_that_spell_them(text):
    ids = to_ids(text, TOKENIZER)
    assert from_ids(ids, TOKENIZER) == text
    assert [id for id in ids if id in TOKENIZER.special.values()] == [
        TOKENIZER.special[name] for letter in text for name, mark in MARKS.items() if letter == mark]


@pytest.mark.parametrize("text, wanted", [
    ("<<｜User｜>>", "<" + MARKS[USER] + ">"), (f"<{DSML}invoke", "<" + MARKS[DSML] + "invoke"), ("<｜User", "<｜User"),
    (EOT * 2, MARKS[EOT] * 2), ("", ""), ("a\ud800b", "a\ufffdb")])
def test_where_names_begin_and_end(text, wanted):
    assert marked(text) == wanted
