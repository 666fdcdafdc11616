"""Messages in the spellings of agents and their libraries: what means the same encodes to the same bytes, the rest is told."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.conversations import conversations, hostile

from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.parse import parse_answer
from v4mini.text.special import EOS

ASK = {"role": "user", "content": "q"}
CALL = {"id": "a", "type": "function", "function": {"name": "w", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
EMPTY = st.sampled_from([None, "", [], {}, False])
UNKNOWN = st.sampled_from(["refusal", "annotations", "audio", "function_call", "reasoning", "cache_control", "metadata"])


@given(messages=conversations(hostile), thinking=st.booleans(), data=st.data())
def test_fields_that_are_null_or_empty_say_nothing(messages, thinking, data):
    known = ["tools", "response_format", "tool_calls", "reasoning_content", "task", "wo_eos", "name"]
    full = [message | data.draw(st.dictionaries(UNKNOWN, EMPTY, max_size=3))
            | {field: None for field in data.draw(st.lists(st.sampled_from(known), max_size=3)) if field not in message}
            | ({"prefix": None} if data.draw(st.booleans()) else {}) for message in messages]
    assert encode_chat(full, thinking).text == encode_chat(messages, thinking).text


@given(messages=conversations(hostile), thinking=st.booleans(), data=st.data())
def test_a_content_in_parts_is_its_parts_with_two_newlines(messages, thinking, data):
    def in_parts(message):
        content = message.get("content")
        if message["role"] == "tool" or not content or not data.draw(st.booleans()):
            return message
        return message | {"content": [{"type": "text", "text": text, "cache_control": None} for text in content.split("\n\n")]}
    assert encode_chat(list(map(in_parts, messages)), thinking).text == encode_chat(messages, thinking).text


@given(messages=conversations(hostile))
def test_encoding_leaves_the_messages_alone(messages):
    before = json.dumps(messages)
    encode_chat(messages)
    assert json.dumps(messages) == before


@pytest.mark.parametrize("nothing", [None, "", [], [{"type": "text", "text": None}], [{"type": "text"}]])
def test_an_empty_result_of_a_tool_is_an_empty_result(nothing):
    text = encode_chat([ASK, CALLED, {"role": "tool", "tool_call_id": "a", "content": nothing}]).text
    assert text.endswith("<｜User｜><tool_result></tool_result><｜Assistant｜></think>")
    assert encode_chat([ASK, CALLED, {"role": "tool", "tool_call_id": "a"}]).text == text


@pytest.mark.parametrize("thinking", [False, True])
def test_prefix_is_an_answer_that_goes_on(thinking):
    begun = {"role": "assistant", "content": "```python\n", "reasoning_content": "Code."}
    text = encode_chat([ASK, begun | {"prefix": True}], thinking).text
    assert text == encode_chat([ASK, begun | {"wo_eos": True}], thinking).text == encode_chat([ASK, begun], thinking).text[: -len(EOS)]
    assert encode_chat([ASK, begun | {"prefix": False}, ASK]).text == encode_chat([ASK, begun, ASK]).text


WRONG = {
    "a prefix in the past": ([ASK, CALLED | {"prefix": True}, {"role": "tool", "content": ""}], "expected prefix .*last message.*wo_eos"),
    "a prefix of the user": ([ASK | {"prefix": True}], "expected prefix .*of the assistant's"),
    "a prefix that is text": ([ASK, {"role": "assistant", "content": "x", "prefix": "yes"}], "expected prefix to be True"),
    "an image": ([{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url", "image_url": {"url": "x"}}]}],
                 "expected parts of type text, got 'image_url'. V4 reads text only"),
    "a part that is a number": ([{"role": "user", "content": [7]}], "expected parts of type text, got 7"),
    "a number as text": ([{"role": "user", "content": [{"type": "text", "text": 7}]}], "expected text in a part of type text, got 7"),
    "no parts": ([{"role": "user", "content": []}], "expected text as the content of user, got None"),
    "a refusal": ([ASK, {"role": "assistant", "content": None, "refusal": "I cannot."}], "no field is called 'refusal'. Leave it out"),
    "reasoning": ([ASK, {"role": "assistant", "content": "a", "reasoning": "b"}], "'reasoning'. Did you mean reasoning_content"),
    "a number of an unknown field": ([ASK | {"depth": 0}], "no field is called 'depth'"),
    "an object of a library": ([SimpleNamespace(role="user", model_dump=dict)], "expected a dict .*Give message.model_dump"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_rest_is_told_in_one_sentence(what):
    messages, words = WRONG[what]
    with pytest.raises(Refused, match=words) as refusal:
        encode_chat(messages)
    assert "\n" not in str(refusal.value)


CONSTANTS = ["NaN", "Infinity", "-Infinity", '{"a": NaN}', "[1, Infinity]"]


@pytest.mark.parametrize("value", CONSTANTS)
def test_arguments_hold_finite_numbers_only(value):
    call = {"function": {"name": "w", "arguments": f'{{"x": {value}}}'}}
    with pytest.raises(Refused, match="call of w: expected JSON arguments, got -?(NaN|Infinity)"):
        encode_chat([ASK, {"role": "assistant", "content": "", "tool_calls": [call]}])
    said = (f'\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name="w">\n<｜DSML｜parameter name="x" string="false">{value}</｜DSML｜parameter>\n'
            f"</｜DSML｜invoke>\n</｜DSML｜tool_calls>{EOS}")
    with pytest.raises(Refused, match="expected JSON for x of w"):
        parse_answer(said)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_schemas_hold_finite_numbers_only(number):
    tool = {"type": "function", "function": {"name": "w", "parameters": {"default": number}}}
    for more in ({"tools": [tool]}, {"response_format": {"maximum": [number]}}):
        with pytest.raises(Refused, match="JSON: expected .*finite"):
            encode_chat([{"role": "system", "content": "s"} | more, ASK])


def test_a_number_beyond_all_bounds_is_refused_where_it_would_become_infinity():
    call = {"function": {"name": "w", "arguments": '{"x": 1e999}'}}
    with pytest.raises(Refused, match="finite"):
        encode_chat([ASK, {"role": "assistant", "content": "", "tool_calls": [call]}])


def test_text_that_says_nan_is_text():
    call = {"type": "function", "function": {"name": "w", "arguments": '{"x": "NaN", "NaN": 1}'}}
    text = encode_chat([ASK, {"role": "assistant", "content": "", "tool_calls": [call]}]).text
    assert '"x" string="true">NaN<' in text and 'name="NaN" string="false">1<' in text
