"""An answer token by token: the parts join to what parsing the whole gives."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.conversations import answers, hostile

from v4mini.text.chat import encode_chat
from v4mini.text.chat_stream import AnswerStream
from v4mini.text.dsml import write_calls
from v4mini.text.marks import spelled, to_ids
from v4mini.text.special import END_THINK, THINK
from v4mini.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")


def fed(ids, thinking):
    stream = AnswerStream(TOKENIZER, thinking)
    parts = [*map(stream.put, ids), stream.end()]
    assert not any(text for at, text in parts if at == "calls"), "of calls no text is given"
    return stream, {part: "".join(text for at, text in parts if at == part) for part in ("thoughts", "answer")}


@given(answers(hostile), st.booleans())
def test_parts_are_those_of_the_message(message, thinking):
    ask = [{"role": "user", "content": "?"}]
    ids = encode_chat([*ask, message], thinking).ids(TOKENIZER)[len(encode_chat(ask, thinking).ids(TOKENIZER)):]
    stream, texts = fed(ids, thinking)
    parsed, fault = stream.message()
    assert fault == "" and texts["thoughts"] == parsed["reasoning_content"] == (message.get("reasoning_content", "") if thinking else "")
    assert texts["answer"] == parsed["content"] == message["content"]
    assert bool(parsed["tool_calls"]) == bool(stream.markup) == (stream.part == "calls") == bool(message.get("tool_calls"))


@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=30), st.booleans())
def test_any_tokens_are_shown_and_kept(ids, thinking):
    stream, texts = fed(ids, thinking)
    message, fault = stream.message()
    if fault:
        assert (message["reasoning_content"], message["content"]) == (texts["thoughts"], texts["answer"] + stream.markup)
    assert texts["thoughts"] + texts["answer"] + stream.markup == "".join(stream.texts.values())


CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Paris"}'}}
BLOCK = write_calls([CALL])


@pytest.mark.parametrize("text, shown, calls", [
    ("Looking.\n\n" + BLOCK, "Looking.", 1), ("\n\n" + BLOCK, "", 1), ("a\n\n\n" + BLOCK, "a\n", 1),
    ("a < b\n\n< c\n\n", "a < b\n\n< c\n\n", 0), ("\n\n<tool_calls>", "\n\n<tool_calls>", 0),
    ("\n\n<|DSML|tool_calls>", "\n\n<|DSML|tool_calls>", 0)])
def test_calls_are_a_part_of_their_own(text, shown, calls):
    stream, texts = fed([*to_ids(text, TOKENIZER), TOKENIZER.eos_id], False)
    message, fault = stream.message()
    assert texts["answer"] == message["content"] == shown and fault == "" and len(message["tool_calls"]) == calls


def test_typed_look_alikes_of_a_call_are_text():
    typed = "\n\n" + spelled(BLOCK)
    assert fed([*TOKENIZER.encode(typed), TOKENIZER.eos_id], False)[1]["answer"] == typed


@pytest.mark.parametrize("text", ["One\n" + BLOCK, BLOCK, "Two\n\n" + BLOCK[:-9], "Three\n\n" + BLOCK + "and more"])
def test_a_call_out_of_form_is_no_answer_to_show_but_is_kept(text):
    stream, texts = fed([*to_ids(text, TOKENIZER), TOKENIZER.eos_id], False)
    message, fault = stream.message()
    assert fault and message["tool_calls"] == [] and message["content"] == spelled(text)
    assert "DSML" not in texts["answer"] and "DSML" in stream.markup


def test_what_is_held_back_comes_with_the_next_token_or_the_end():
    stream = AnswerStream(TOKENIZER)
    newlines, sign = TOKENIZER.encode("\n\n"), TOKENIZER.encode("<")
    assert [stream.put(id)[1] for id in (*newlines, *sign)] == [""] * (len(newlines) + 1)
    assert stream.put(TOKENIZER.encode("x")[0]) == ("answer", "\n\n<x")
    assert stream.put(newlines[0])[1] == "" and stream.put(TOKENIZER.eos_id) == ("answer", TOKENIZER.decode(newlines[:1]))


def test_a_token_costs_the_same_behind_a_long_answer():
    """Counted, not timed: what is joined, searched and copied for a token does not grow with what was said."""
    class Counted(str):
        letters = 0

        def __add__(self, other):
            Counted.letters += len(self) + len(other)
            return Counted(str.__add__(self, other))
    word = TOKENIZER.encode(" self")[0]

    def work(tokens):
        stream, Counted.letters = AnswerStream(TOKENIZER), 0
        stream._held = Counted("")
        for _ in range(tokens):
            stream.put(word)
            stream._held = Counted(stream._held)
        assert len(stream.texts["answer"]) == tokens * len(" self") and all(type(t) is str for t in stream._texts["answer"])
        return Counted.letters / tokens
    assert work(2000) == work(20)


def test_letters_do_not_end_thoughts_the_token_does():
    letters = TOKENIZER.encode(f"a{END_THINK}b")
    stream, texts = fed([*letters, TOKENIZER.special[END_THINK], *TOKENIZER.encode("c"), TOKENIZER.eos_id], True)
    assert texts == {"thoughts": f"a{END_THINK}b", "answer": "c"} and stream.message()[1] == ""


def test_behind_the_thoughts_the_token_is_shown():
    end = TOKENIZER.special[END_THINK]
    assert fed([end, end], True)[1] == {"thoughts": "", "answer": END_THINK} and fed([end], False)[1]["answer"] == END_THINK


def test_an_unfinished_character_is_shown_where_its_part_ends():
    half = TOKENIZER.encode("中")[:2]
    stream = AnswerStream(TOKENIZER, thinking=True)
    assert [stream.put(id) for id in half] == [("thoughts", ""), ("thoughts", "")]
    assert stream.put(TOKENIZER.special[END_THINK]) == ("thoughts", "\ufffd")
    assert stream.put(half[0]) == ("answer", "") and stream.end() == ("answer", "\ufffd")


@pytest.mark.parametrize("ids, thinking, fault", [
    ([], False, "expected <｜end▁of▁sentence｜> at its end"), ([TOKENIZER.eos_id], True, "expected </think>"),
    ([TOKENIZER.special[THINK], TOKENIZER.eos_id], False, "expected no special token in the answer, got <think>")])
def test_what_is_not_well_formed_is_said(ids, thinking, fault):
    message, said = fed(ids, thinking)[0].message()
    assert fault in said and message["role"] == "assistant" and message["tool_calls"] == []
