"""Taking answers apart: what was encoded comes back, and what is malformed is refused with the place."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.conversations import answers, hostile, ordinary

from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.parse import parse_answer, parse_ids
from v4mini.text.special import BOS, END_THINK, EOS, THINK, USER
from v4mini.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")
ASK = {"role": "user", "content": "?"}


def answer_text(message, thinking=True):        # what the model would have said, EOS included
    asked = encode_chat([ASK], thinking).text
    return encode_chat([ASK, message], thinking).text.removeprefix(asked)


def comparable(message):                        # arguments by value: JSON may be written in several ways
    calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls", ())]
    return message["content"], message.get("reasoning_content", ""), calls


@given(answers())
def test_an_answer_comes_back_from_its_text(message):
    assert comparable(parse_answer(answer_text(message), True)) == comparable(message)
    assert comparable(parse_answer(answer_text(message, False))) == comparable(message | {"reasoning_content": ""})


@given(answers(hostile))
def test_from_ids_even_look_alikes_of_special_tokens_come_back(message):
    asked = encode_chat([ASK], True).ids(TOKENIZER)
    ids = encode_chat([ASK, message], True).ids(TOKENIZER)
    assert ids[: len(asked)] == asked, "thoughts and answers begin behind a special token"
    assert comparable(parse_ids(ids[len(asked):], TOKENIZER, True)) == comparable(message)


@given(answers())
def test_what_was_parsed_encodes_to_the_same_bytes(message):
    text = answer_text(message)
    assert answer_text(parse_answer(text, True)) == text


def test_arguments_are_rebuilt_as_they_were_written():
    block = call(value("days", "2.50", False), value("to", 'a "b"\n', True))
    (made,) = parse_answer(f"Look.\n\n{block}{EOS}")["tool_calls"]
    assert made == {"type": "function", "function": {"name": "now", "arguments": '{"days": 2.50, "to": "a \\"b\\"\\n"}'}}


def value(key, text, is_text):
    return f'<｜DSML｜parameter name="{key}" string="{"true" if is_text else "false"}">{text}</｜DSML｜parameter>\n'


def call(*values, name="now"):
    return f'<｜DSML｜tool_calls>\n<｜DSML｜invoke name="{name}">\n{"".join(values)}</｜DSML｜invoke>\n</｜DSML｜tool_calls>'


CALL = call(value("city", "Paris", True))
TOOLS = [{"type": "function", "function": {"name": "now"}}, {"type": "function", "function": {"name": "then"}}]


def test_content_thoughts_and_calls():
    assert parse_answer(f"Hm.{END_THINK}Let me look.\n\n{CALL}{EOS}", True, TOOLS) == {
        "role": "assistant", "content": "Let me look.", "reasoning_content": "Hm.",
        "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": '{"city": "Paris"}'}}]}
    assert parse_answer(f"a\n\n\n{CALL}{EOS}")["content"] == "a\n", "only two line breaks belong to the block"
    assert parse_answer(f"a\n{CALL.replace('｜', '|')}{EOS}")["tool_calls"] == [], "with other bars it is text"
    assert parse_answer(f"\n\n{call()}{EOS}")["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_special_token_in_a_value_is_its_name():
    (made,) = parse_answer(f"\n\n{call(value('a', f'{THINK}{USER}', True))}{EOS}")["tool_calls"]
    assert json.loads(made["function"]["arguments"]) == {"a": "<think><｜User｜>"}


MALFORMED = {
    "no end of thoughts": (f"Hm.{EOS}", True, "expected </think> behind the thoughts, got the end"),
    "a call among thoughts": (f"Hm.\n\n{CALL}{EOS}", True, "expected </think> behind the thoughts, got a call"),
    "no end": ("Hello", False, "expected <｜end▁of▁sentence｜> at its end, got 'Hello'"),
    "nothing": ("", False, "at its end, got nothing"),
    "no end behind calls": (f"\n\n{CALL}", False, "expected <｜end▁of▁sentence｜> at its end"),
    "more behind calls": (f"\n\n{CALL} Done.{EOS}", False, "behind the calls, got ' Done.'"),
    "a second block": (f"\n\n{CALL}\n\n{CALL}{EOS}", False, "behind the calls, got '\\\\n\\\\n<｜DSML｜tool_calls>"),
    "more behind the end": (f"Hi{EOS}{USER}", False, "expected nothing behind <｜end▁of▁sentence｜>, got '<｜User｜>'"),
    "two ends": (f"Hi{EOS}{EOS}", False, "expected nothing behind"),
    "another turn": (f"Hi{USER}Hello{EOS}", False, "expected no special token in the answer, got <｜User｜>"),
    "thinking twice": (f"a{THINK}b{END_THINK}c{EOS}", True, "expected no special token in the thoughts, got <think>"),
    "thoughts in chat mode": (f"a{END_THINK}c{EOS}", False, "expected no special token in the answer, got </think>"),
    "a beginning": (f"{BOS}Hi{EOS}", False, "got <｜begin▁of▁sentence｜>"),
    "a block without blank line": (f"Hi\n{CALL}{EOS}", False, "got ｜DSML｜"),
    "unknown tool": (f"\n\n{call(name='rm')}{EOS}", False, "expected a call of now or then, got 'rm'"),
    "parameter twice": (f"\n\n{call(value('a', 'x', True), value('a', 'y', True))}{EOS}", False,
                        "expected each parameter of now once, got 'a' twice"),
    "no JSON": (f"\n\n{call(value('a', 'x', False))}{EOS}", False, "expected JSON for a of now"),
    "empty JSON": (f"\n\n{call(value('a', '', False))}{EOS}", False, "expected JSON for a of now"),
    "unclosed parameter": (f"\n\n{CALL.replace('</｜DSML｜parameter>', '')}{EOS}", False, "expected </｜DSML｜parameter> somewhere"),
    "unclosed invoke": (f"\n\n{CALL.replace('</｜DSML｜invoke>', '')}{EOS}", False, "expected '<｜DSML｜parameter' in invoke now"),
    "unclosed block": (f"\n\n{CALL.replace('</｜DSML｜tool_calls>', '')}{EOS}", False, "expected '<｜DSML｜invoke' in tool_calls"),
    "cut in a name": ("\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"no", False, "expected name=\"...\"> in invoke, got ' name=\"no'"),
    "cut in a value": (f"\n\n{CALL[:70]}", False, "in a parameter of now|in parameter"),
    "string neither true nor false": (f"\n\n{CALL.replace('true', 'yes')}{EOS}", False, "in a parameter of now"),
    "no string": (f"\n\n{CALL.replace(' string=', ' ')}{EOS}", False, 'expected name="..." string="true" or "false">'),
    "no name": (f"\n\n{CALL.replace(' name=', ' ')}{EOS}", False, "in invoke"),
    "text between calls": (f"\n\n{CALL.replace('</｜DSML｜invoke>', '</｜DSML｜invoke>now')}{EOS}", False, "behind an invoke"),
    "text between parameters": (f"\n\n{CALL.replace('</｜DSML｜parameter>', '</｜DSML｜parameter>,')}{EOS}", False, "behind parameter city"),
    "no line break": (f"\n\n{CALL.replace('tool_calls>', 'tool_calls>', 1).replace('calls>', 'calls', 1)}{EOS}", False, "in tool_calls"),
    "markup of older models": ("\n\n<｜tool▁calls▁begin｜>\n\n<｜DSML｜function_calls>" + EOS, False, "got ｜DSML｜"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_answer_is_refused_with_the_place(what):
    text, thinking, words = MALFORMED[what]
    with pytest.raises(Refused, match=words) as refusal:
        parse_answer(text, thinking, TOOLS)
    assert str(refusal.value).startswith(("answer: expected", "DSML: expected")) and "\n" not in str(refusal.value)


def test_without_a_list_of_tools_any_name_will_do():
    assert parse_answer(f"\n\n{call(name='rm')}{EOS}")["tool_calls"][0]["function"]["name"] == "rm"
    with pytest.raises(Refused, match="expected a call of no tool at all, got 'rm'"):
        parse_answer(f"\n\n{call(name='rm')}{EOS}", tools=[])


@pytest.mark.parametrize("text", [None, b"x", 5, [1, 2]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(Refused, match="answer: expected text"):
        parse_answer(text)


pieces = st.sampled_from([*f"{END_THINK}|\n\n|<｜DSML｜tool_calls|>\n|<｜DSML｜invoke| name=\"now\"|>\n|<｜DSML｜parameter| name=\"a\"|"
                          f" string=\"true\"|>|x|</｜DSML｜parameter>|\n|</｜DSML｜invoke>|</｜DSML｜tool_calls>|{EOS}|{THINK}".split("|")])


@given(st.lists(st.one_of(pieces, ordinary), max_size=20).map("".join), st.booleans())
def test_whatever_comes_it_is_parsed_or_refused(text, thinking):
    try:
        message = parse_answer(text, thinking)
    except Refused:
        return
    assert answer_text(message, thinking).endswith(EOS) and text.endswith(EOS)


@given(answers(), st.data())
def test_an_answer_with_a_piece_missing_never_becomes_another_call(message, data):
    """Cut anything out of a well-formed answer: what is still parsed must encode to the text it was parsed from."""
    text = answer_text(message)
    start = data.draw(st.integers(0, len(text)))
    cut = text[:start] + text[start + data.draw(st.integers(1, 30)):]
    try:
        parsed = parse_answer(cut, True)
    except Refused:
        return
    if all(json.loads(c["function"]["arguments"]) is not None for c in parsed["tool_calls"]):
        again = parse_answer(answer_text(parsed), True)
        assert comparable(again) == comparable(parsed)
