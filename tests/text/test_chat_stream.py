"""An answer token by token: the parts join to what parsing the whole gives."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.conversations import answers, hostile

from v4mini.text.chat import encode_chat
from v4mini.text.chat_stream import AnswerStream
from v4mini.text.special import END_THINK, THINK
from v4mini.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")


def fed(ids, thinking):
    stream = AnswerStream(TOKENIZER, thinking)
    parts = [*map(stream.put, ids), stream.end()]
    return stream, {part: "".join(text for at, text in parts if at == part) for part in ("thoughts", "answer")}


@given(answers(hostile), st.booleans())
def test_parts_are_those_of_the_message(message, thinking):
    ask = [{"role": "user", "content": "?"}]
    ids = encode_chat([*ask, message], thinking).ids(TOKENIZER)[len(encode_chat(ask, thinking).ids(TOKENIZER)):]
    stream, texts = fed(ids, thinking)
    parsed, fault = stream.message()
    assert fault == "" and texts["thoughts"] == parsed["reasoning_content"] == (message.get("reasoning_content", "") if thinking else "")
    assert texts["answer"].startswith(message["content"])
    assert bool(parsed["tool_calls"]) == (texts["answer"] != message["content"]) == bool(message.get("tool_calls"))


@given(st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=30), st.booleans())
def test_any_tokens_are_shown_and_kept(ids, thinking):
    stream, texts = fed(ids, thinking)
    message, fault = stream.message()
    if fault:
        assert (message["reasoning_content"], message["content"]) == (texts["thoughts"], texts["answer"])


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
