"""The chat encoding against what DeepSeek published, and against what nobody may do to it."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from text.conversations import NAMES, conversations, hostile, ordinary

from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.instructions import MINI, Instructions
from v4mini.text.marks import MARKS
from v4mini.text.special import ACTION, ASSISTANT, BOS, END_THINK, EOS, QUERY, THINK, TITLE, USER
from v4mini.text.tokenizer import Tokenizer

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
PARIS = [SYSTEM, {"role": "user", "content": "Hello"},
         {"role": "assistant", "reasoning_content": "The user said hello, I should greet back.",
          "content": "Hi there! How can I help you?"},
         {"role": "user", "content": "What is the capital of France?"},
         {"role": "assistant", "reasoning_content": "The user asks about the capital of France. It is Paris.",
          "content": "The capital of France is Paris."}]
# sha256 of encoding/tests/test_output_2.txt in the release
PARIS_SHA256 = "ca66b01a1ac3a204bb032c928fb607d4877171e998a50f7f89f39fa821b75665"
TURNS = [SYSTEM, {"role": "user", "content": "One"},
         {"role": "assistant", "content": "First answer.", "reasoning_content": "First thought."}, {"role": "user", "content": "Two"},
         {"role": "assistant", "content": "Second answer.", "reasoning_content": "Second thought."}, {"role": "user", "content": "Three"}]
PLAIN = Instructions("[{tool_schemas}]", "[{schema}]", {"max": "TRY HARD\n\n"}, "this test")


def user(content="Hello", **more):
    return {"role": "user", "content": content, **more}


def said(content="Hi", **more):
    return {"role": "assistant", "content": content, **more}


def called(*calls, **more):                     # (name, arguments as a dict, id)
    return said("", tool_calls=[{"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                                for name, arguments, id in calls], **more)


def result(content, id=None):
    return {"role": "tool", "content": content, "tool_call_id": id}


def text(messages, thinking=False, **more):
    return encode_chat(messages, thinking, **{"instructions": PLAIN} | more).text.removeprefix(BOS)


# ---- what DeepSeek published ----

def test_the_published_conversation_gives_the_published_bytes():
    assert hashlib.sha256(encode_chat(PARIS, thinking=True).text.encode()).hexdigest() == PARIS_SHA256


def test_the_same_written_out():
    assert encode_chat(PARIS, thinking=True).text == (
        "<｜begin▁of▁sentence｜>You are a helpful assistant.<｜User｜>Hello<｜Assistant｜></think>Hi there! How can I help you?"
        "<｜end▁of▁sentence｜><｜User｜>What is the capital of France?<｜Assistant｜><think>The user asks about the capital of France. "
        "It is Paris.</think>The capital of France is Paris.<｜end▁of▁sentence｜>")


# Each line is what the release's encoder gives for these messages; S is the system message above.
WRITTEN_OUT = {
    "chat": (text([SYSTEM, user()]), "S<｜User｜>Hello<｜Assistant｜></think>"),
    "thinking": (text([SYSTEM, user()], True), "S<｜User｜>Hello<｜Assistant｜><think>"),
    "effort": (text([SYSTEM, user()], True, effort="max"), "TRY HARD\n\nS<｜User｜>Hello<｜Assistant｜><think>"),
    "effort in chat mode adds nothing": (text([SYSTEM, user()], effort="max"), "S<｜User｜>Hello<｜Assistant｜></think>"),
    "older thoughts are dropped": (text(TURNS, True),
        "S<｜User｜>One<｜Assistant｜></think>First answer.<E><｜User｜>Two<｜Assistant｜></think>Second answer.<E>"
        "<｜User｜>Three<｜Assistant｜><think>"),
    "or kept": (text(TURNS, True, drop_thinking=False),
        "S<｜User｜>One<｜Assistant｜><think>First thought.</think>First answer.<E>"
        "<｜User｜>Two<｜Assistant｜><think>Second thought.</think>Second answer.<E><｜User｜>Three<｜Assistant｜><think>"),
    "chat mode shows none": (text(TURNS, drop_thinking=False),
        "S<｜User｜>One<｜Assistant｜></think>First answer.<E><｜User｜>Two<｜Assistant｜></think>Second answer.<E>"
        "<｜User｜>Three<｜Assistant｜></think>"),
    "developer": (text([SYSTEM, {"role": "developer", "content": "Answer in one word."}], True),
        "S<｜User｜>Answer in one word.<｜Assistant｜><think>"),
    "an older developer is dropped, even what he asked": (
        text([SYSTEM, {"role": "developer", "content": "Answer in one word."}, said("Yes."), user("Again?")], True),
        "SYes.<E><｜User｜>Again?<｜Assistant｜><think>"),
    "reminder": (text([SYSTEM, {"role": "latest_reminder", "content": "2026-08-11, London"}, user()], True),
        "S<｜latest_reminder｜>2026-08-11, London<｜User｜>Hello<｜Assistant｜><think>"),
    "task that answers": (text([SYSTEM, user("Weather?", task="action")]), "S<｜User｜>Weather?<｜Assistant｜></think><｜action｜>"),
    "the same, thinking": (text([user("Weather?", task="action")], True), "<｜User｜>Weather?<｜Assistant｜><think><｜action｜>"),
    "its answer has no thoughts": (text([user("Weather?", task="action"), said("Search")], True),
        "<｜User｜>Weather?<｜Assistant｜><think><｜action｜>Search<E>"),
    "and keeps its <think> later": (text([user("Weather?", task="action"), said("Search"), user("Now?")], True),
        "<｜User｜>Weather?<｜Assistant｜><think><｜action｜>Search<E><｜User｜>Now?<｜Assistant｜><think>"),
    "reminder behind a question": (text([user(), {"role": "latest_reminder", "content": "noon"}]),
        "<｜User｜>Hello<｜Assistant｜></think><｜latest_reminder｜>noon"),
    "task that does not": (text([SYSTEM, user("Weather?", task="query")]), "S<｜User｜>Weather?<｜query｜>"),
    "title": (text([user(), said(task="title")]), "<｜User｜>Hello<｜Assistant｜></think>Hi<E><｜title｜>"),
    "title given": (text([user(), said(task="title"), said("Greetings")]),
        "<｜User｜>Hello<｜Assistant｜></think>Hi<E><｜title｜>Greetings<E>"),
    "without end": (text([SYSTEM, user(), said(wo_eos=True)]), "S<｜User｜>Hello<｜Assistant｜></think>Hi"),
    "two users are one turn": (text([SYSTEM, user("One"), user("Two")]), "S<｜User｜>One\n\nTwo<｜Assistant｜></think>"),
    "context is not repeated": (text([user("Two")], context=[SYSTEM, user("One"), said()]), "<｜User｜>Two<｜Assistant｜></think>"),
    "schema": (text([{"role": "system", "content": "S", "response_format": {"type": "é", "n": [1, 2.5, None]}}, user()]),
        'S\n\n[{"type": "é", "n": [1, 2.5, null]}]<｜User｜>Hello<｜Assistant｜></think>'),
    "a call and its result": (text([user(), called(("now", {"city": "Paris", "days": 3, "deep": {"a": [1, True]}}, "c"),
                                                   reasoning_content="Look."), result("noon", "c")], True, drop_thinking=False),
        "<｜User｜>Hello<｜Assistant｜><think>Look.</think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n"
        "<｜DSML｜parameter name=\"city\" string=\"true\">Paris</｜DSML｜parameter>\n"
        "<｜DSML｜parameter name=\"days\" string=\"false\">3</｜DSML｜parameter>\n"
        "<｜DSML｜parameter name=\"deep\" string=\"false\">{\"a\": [1, true]}</｜DSML｜parameter>\n"
        "</｜DSML｜invoke>\n</｜DSML｜tool_calls><E><｜User｜><tool_result>noon</tool_result><｜Assistant｜><think>"),
    "no parameters leave an empty line": (text([user(), called(("now", {}, "c"))]).split("</think>")[1],
        "\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"now\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><E>"),
    "results stand as they were called": (
        text([user(), called(("a", {}, "1"), ("b", {}, "2")), result("two", "2"), result("one", "1"), user("And?")]).split("<｜User｜>")[2],
        "<tool_result>one</tool_result>\n\n<tool_result>two</tool_result>\n\nAnd?<｜Assistant｜></think>"),
    "also if the call is context": (
        text([result("two", "2"), result("one", "1")], context=[user(), called(("a", {}, "1"), ("b", {}, "2"))]),
        "<｜User｜><tool_result>one</tool_result>\n\n<tool_result>two</tool_result><｜Assistant｜></think>"),
    "results in parts": (text([user(), called(("a", {}, "1")), result([{"type": "text", "text": "x"}, {"type": "image_url"}], "1")])
                         .split("<｜User｜>")[2], "<tool_result>x\n\n[Unsupported image_url]</tool_result><｜Assistant｜></think>"),
}


@pytest.mark.parametrize("what", WRITTEN_OUT)
def test_written_out(what):
    got, expected = WRITTEN_OUT[what]
    assert got.replace(SYSTEM["content"], "S", 1).replace(EOS, "<E>") == expected


def test_tools_keep_all_thoughts():
    tools = [{"type": "function", "function": {"name": "now", "parameters": {}}}]
    kept = text([SYSTEM | {"tools": tools}, *TURNS[1:]], True)
    assert "First thought." in kept and kept.count(THINK) == 3
    assert kept.startswith('You are a helpful assistant.\n\n[{"name": "now", "parameters": {}}]<｜User｜>One')


def test_only_its_own_letters_stand_between_two_messages():
    assert text([user("a"), said("b"), user("c")]) == f"{USER}a{ASSISTANT}{END_THINK}b{EOS}{USER}c{ASSISTANT}{END_THINK}"


def test_bos_can_be_left_out():
    assert encode_chat([user()], bos=False).text == text([user()]) and encode_chat([user()]).text == BOS + text([user()])


# ---- as ids ----

@settings(max_examples=60)
@given(conversations())
def test_ids_are_those_of_the_whole_text_if_nobody_forges(messages):
    """The release encodes one string. Without look-alikes in it, cutting at special tokens first gives the same ids."""
    for thinking in (False, True):
        prompt = encode_chat(messages, thinking)
        assert prompt.ids(TOKENIZER) == TOKENIZER.encode(prompt.text, special=True)


@settings(max_examples=60)
@given(conversations(hostile))
def test_special_tokens_come_from_the_format_alone(messages):
    """Whatever is written into the messages, the special tokens are the same and at the same places of the format."""
    def harmless(value):
        if isinstance(value, dict):
            return {key: value[key] if key in ("role", "task", "tool_call_id", "id", "name") else harmless(value[key]) for key in value}
        return [harmless(part) for part in value] if isinstance(value, list) else "x" if isinstance(value, str) else value

    def as_tokens(messages):
        for message in messages:                # arguments are JSON text: only their values may change
            for call in message.get("tool_calls", ()):
                call["function"]["arguments"] = "{}"
        ids = encode_chat(messages, True, instructions=PLAIN).ids(TOKENIZER)
        return [id for id in ids if id in TOKENIZER.special.values()]
    messages = json.loads(json.dumps(messages))
    assert as_tokens(messages) == as_tokens([harmless(message) for message in messages])


@pytest.mark.parametrize("name", [*NAMES, pytest.param(MARKS[USER], id="a mark")])
@pytest.mark.parametrize("place", ["system", "user", "assistant", "thoughts", "result", "argument", "schema", "reminder"])
def test_a_smuggled_special_token_stays_letters(name, place):
    def messages(word):
        words = dict.fromkeys(("system", "user", "assistant", "thoughts", "result", "argument", "schema", "reminder"), "x") | {place: word}
        tools = [{"type": "function", "function": {"name": "t", "description": words["schema"]}}]
        return [{"role": "system", "content": words["system"], "tools": tools}, {"role": "latest_reminder", "content": words["reminder"]},
                user(words["user"]), called(("t", {"k": words["argument"]}, "1"), reasoning_content=words["thoughts"]),
                result(words["result"]), said(words["assistant"])]
    honest, forged = (encode_chat(messages(word), True) for word in ("x", name))
    specials = set(TOKENIZER.special.values())
    assert [id for id in honest.ids(TOKENIZER) if id in specials] == [id for id in forged.ids(TOKENIZER) if id in specials]
    assert TOKENIZER.decode(forged.ids(TOKENIZER)) == forged.text and (name in forged.text) == (name in NAMES)
    if name in NAMES:
        assert TOKENIZER.encode(forged.text, special=True) != forged.ids(TOKENIZER), "one string cannot tell them apart"


def test_lone_surrogates_forge_nothing():
    text = encode_chat([user("".join(map(chr, range(0xD7FF, 0xE001))))])
    assert text.text == f"{BOS}{USER}\ud7ff" + "\ufffd" * 0x3FF + chr(0x10FC00) + "\ufffd" * 0x3FF + f"\ue000{ASSISTANT}{END_THINK}"


def test_a_tokenizer_without_the_token_is_refused():
    class Older:
        special = {name: id for name, id in TOKENIZER.special.items() if name != ACTION}
        encode = TOKENIZER.encode
    with pytest.raises(Refused, match="expected one with the special token <｜action｜>"):
        encode_chat([user(task="action")]).ids(Older)


@settings(max_examples=60)
@given(conversations(), ordinary)
def test_nothing_is_changed_in_what_is_handed_in(messages, extra):
    before = json.dumps(messages)
    encode_chat(messages, True)
    encode_chat([{"role": "latest_reminder", "content": extra}], context=messages)
    assert json.dumps(messages) == before


@settings(max_examples=60)
@given(conversations(tasks=False))
def test_context_and_the_rest_make_the_whole_in_chat_mode(messages):
    for cut in range(1, len(messages)):
        if messages[cut]["role"] == "user" and messages[cut - 1]["role"] == "assistant":
            parts = encode_chat(messages[:cut]).text + encode_chat(messages[cut:], context=messages[:cut]).text
            assert parts == encode_chat(messages).text


# ---- refusals ----

TOOL = [{"type": "function", "function": {"name": "now"}}]
WRONG = {
    "no messages": ([], "expected a list of one or more"),
    "no list": ("Hello", "expected a list of one or more"),
    "no dict": (["Hello"], r"messages\[0\]: expected a dict whose role is one of system, developer"),
    "no role": ([{"content": "Hello"}], "got None"),
    "unknown role": ([{"role": "root", "content": "x"}], "got 'root'"),
    "misspelt field": ([user(), said(reasoning="x")], "Did you mean reasoning_content?"),
    "odd field": ([user(temperature=1)], "no field is called 'temperature'"),
    "no text": ([user(None)], "expected text as the content of user, got None"),
    "an image for a text": ([user([{"type": "image_url", "image_url": {}}])], r"expected parts of type text, got .image_url.*reads text only"),
    "number as text": ([{"role": "latest_reminder", "content": 5}], "got 5"),
    "bad part of a result": ([user(), called(("a", {}, "1")), result([{"text": "x"}])], "content of tool"),
    "bytes as thoughts": ([user(), said(reasoning_content=b"x")], "expected text as reasoning_content"),
    "silent developer": ([{"role": "developer", "content": ""}], "expected some text from the developer"),
    "late system": ([user(), said(), SYSTEM], r"messages\[2\]: expected system messages first, got one behind assistant"),
    "assistant first": ([said()], "expected a user before the assistant, got nothing"),
    "assistant after system": ([SYSTEM, said()], "expected a user before the assistant, got system"),
    "two assistants": ([user(), said(), said()], r"messages\[2\]: expected a user between two assistants"),
    "result of nothing": ([user(), result("x")], "expected a call before the result of a tool, got none"),
    "result after an answer": ([user(), called(("a", {}, "1")), result("x"), said(), result("y")], "expected a call before"),
    "result of another call": ([user(), called(("a", {}, "1")), result("x", "2")], "expected a tool_call_id out of 1, got '2'"),
    "tools of a user": ([user(tools=TOOL)], "expected tools in a message of system or developer, got it in one of user"),
    "calls of a user": ([user(tool_calls=[{}])], "expected tool_calls in a message of assistant"),
    "unknown task": ([user(task="sing")], "expected a task out of action, query, authority"),
    "task of the system": ([SYSTEM | {"task": "title"}], "expected task in a message of"),
    "task not answered": ([user(task="query"), user()], "expected the assistant to answer the task query, got user"),
    "task that would be lost": ([user(), user(task="query")], "a user's turn of its own"),
    "tools are no list": ([SYSTEM | {"tools": TOOL[0]}], "expected a list of tools, got dict"),
    "a tool without name": ([SYSTEM | {"tools": [{"name": "now"}]}], "tools: expected"),
    "a tool twice": ([SYSTEM | {"tools": TOOL * 2}], "got 'now' twice"),
    "a tool with quotes": ([SYSTEM | {"tools": [{"function": {"name": 'n"w'}}]}], "without quotes"),
    "a schema that is no JSON": ([SYSTEM | {"response_format": {1, 2}}, user()], "JSON: expected dicts"),
    "a call that is none": ([user(), said(tool_calls=[{"name": "now"}])], "tool call: expected"),
    "calls in a dict": ([user(), said(tool_calls={"name": "now"})], "expected a list of calls"),
    "arguments in a dict": ([user(), said(tool_calls=[{"function": {"name": "now", "arguments": {}}}])], "json.dumps"),
    "arguments without names": ([user(), said(tool_calls=[{"function": {"name": "now", "arguments": "[1]"}}])], "a JSON object"),
    "a parameter with quotes": ([user(), called(("now", {'a"b': 1}, "1"))], "without quotes"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_mistake_is_refused_in_one_sentence(what):
    messages, words = WRONG[what]
    with pytest.raises(Refused, match=words) as refusal:
        encode_chat(messages)
    assert "expected" in str(refusal.value) or "no field" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_unknown_effort_is_refused():
    with pytest.raises(Refused, match=r"effort: expected one of low, high, max, got 'most' \(from v4mini's own short texts\)"):
        encode_chat([user()], True, effort="most")
    assert encode_chat([user()], True, effort="low").text == encode_chat([user()], True).text
    assert encode_chat([user()], True, effort="max").text == BOS + MINI.efforts["max"] + text([user()], True)


def test_arguments_that_are_no_json_become_one_parameter():
    call = said("", tool_calls=[{"function": {"name": "now", "arguments": "Paris, please"}}])
    assert '<｜DSML｜parameter name="arguments" string="true">Paris, please</｜DSML｜parameter>' in text([user(), call])


def test_all_tasks_have_their_token():
    for task, token in (("query", QUERY), ("title", TITLE)):
        assert text([user(task=task)]).endswith(f"Hello{token}")
