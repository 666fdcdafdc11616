"""Lesson 01: joining pairs, cutting a word by learned pairs, a conversation as one string, the parameters of a call."""

import json
import re

from v4mini.lessons.exercise import Exercise
from v4mini.text.chat import encode_chat
from v4mini.text.dsml import CLOSE, CLOSE_CALL, OPEN_CALL, read_calls
from v4mini.text.marks import marked


def join(parts, pair):                      # (str, ...), (str, str) -> (str, ...)
    joined, at = [], 0
    while at < len(parts):
        found = tuple(parts[at: at + 2]) == tuple(pair)
        joined.append(parts[at] + parts[at + 1] if found else parts[at])
        at += 2 if found else 1
    return tuple(joined)


def cut(word, merges):                      # str, ((str, str), ...) in the order they were learned -> (str, ...)
    parts = tuple(word)
    while True:
        there = [pair for pair in merges if pair in zip(parts, parts[1:])]
        if not there:
            return parts
        parts = join(parts, there[0])


def conversation(messages, thinking):       # [{"role", "content", ...}], bool -> str
    return encode_chat(messages, thinking).text


def parameters(text):                       # the inside of an invoke -> {name: value}
    block = f'>\n{OPEN_CALL} name="x">\n{marked(text) or chr(10)}{CLOSE_CALL}\n{CLOSE}'
    (call,) = read_calls(block, 0)[1]
    return json.loads(call["function"]["arguments"])


def _join_cases(rng):
    yield "by pencil: an in banana", (tuple("banana"), ("a", "n"))
    yield "the pair is not there", (tuple("banana"), ("n", "b"))
    yield "three a's: the first two join", (tuple("aaa"), ("a", "a"))
    yield "four a's: two and two", (tuple("aaaa"), ("a", "a"))
    yield "parts that were joined before", (("b", "an", "an", "a"), ("an", "an"))
    yield "the last two", (("x", "y", "z"), ("y", "z"))
    yield "no parts at all", ((), ("a", "b"))


def _join_backwards_from_a_list(parts, pair):
    parts, at = list(parts), 0
    while at + 1 < len(parts):
        if (parts[at], parts[at + 1]) == tuple(pair):
            parts[at: at + 2] = [parts[at] + parts[at + 1]]
        at += 1
    return tuple(parts)


def _join_overlapping(parts, pair):
    pairs = list(zip(parts, parts[1:]))
    return tuple(a + b if (a, b) == pair else a for a, b in pairs) + tuple(parts[-1:])


def _join_once(parts, pair):
    parts = list(parts)
    for at in range(len(parts) - 1):
        if (parts[at], parts[at + 1]) == pair:
            return (*parts[:at], parts[at] + parts[at + 1], *parts[at + 2:])
    return tuple(parts)


LEARNED = (("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w"), ("w", "e"), ("n", "e"), ("ne", "w"))


def _cut_cases(rng):
    yield "two pairs: the one learned first wins", ("abc", (("b", "c"), ("a", "b")))
    yield "the other way round", ("abc", (("a", "b"), ("b", "c")))
    yield "lowest, by the toy's pairs", ("lowest", LEARNED)
    yield "a word that was never seen", ("newlowest", LEARNED)
    yield "nothing to join", ("xyz", LEARNED)
    yield "one letter", ("l", LEARNED)
    yield "no pairs", ("low", ())
    word = "".join(rng.choice(list("lowestn"), 40))
    yield "forty letters at random", (word, LEARNED)


def _cut_pair_after_pair(word, merges):     # a part made by one pair is used by later ones only, so one pass is enough
    parts = tuple(word)
    for pair in merges:
        parts = join(parts, pair)
    return parts


def _cut_from_the_left(word, merges):
    parts = list(word)
    while True:
        places = [at for at in range(len(parts) - 1) if (parts[at], parts[at + 1]) in merges]
        if not places:
            return tuple(parts)
        parts[places[0]: places[0] + 2] = [parts[places[0]] + parts[places[0] + 1]]


def _cut_longest_first(word, merges):
    known, parts = {a + b for a, b in merges}, []
    while word:
        size = next(size for size in range(len(word), 0, -1) if size == 1 or word[:size] in known)
        parts.append(word[:size])
        word = word[size:]
    return tuple(parts)


def _said(role, content, thoughts=None):
    return {"role": role, "content": content} | ({"reasoning_content": thoughts} if thoughts else {})


def _chat_cases(rng):
    ask, answer = _said("user", "1+1?"), _said("assistant", "2", "One and one.")
    yield "one question", ([ask], False)
    yield "one question, thinking", ([ask], True)
    yield "a system message first", ([_said("system", "Be brief."), ask], False)
    yield "a second question: the first answer is past", ([ask, answer, _said("user", "Sure?")], False)
    yield "the same, thinking: old thoughts are gone", ([ask, answer, _said("user", "Sure?")], True)
    yield "thoughts of now stay", ([ask, answer, _said("user", "Sure?"), _said("assistant", "Yes.", "I counted.")], True)
    yield "chat mode shows no thoughts", ([ask, answer], False)


def _chat_from_the_end(messages, thinking):
    text, now = "", thinking
    for place, message in reversed(list(enumerate(messages))):
        if message["role"] == "user":
            opened = place == len(messages) - 1 or messages[place + 1]["role"] == "assistant"
            header = ("<｜Assistant｜>" + ("<think>" if now else "</think>")) if opened else ""
            text, now = f"<｜User｜>{message['content']}{header}{text}", False
        elif message["role"] == "assistant":
            thoughts = message.get("reasoning_content", "") + "</think>" if now else ""
            text = f"{thoughts}{message['content']}<｜end▁of▁sentence｜>{text}"
        else:
            text = message["content"] + text
    return "<｜begin▁of▁sentence｜>" + text


def _chat_that_remembers_thoughts(messages, thinking):
    return encode_chat(messages, thinking, drop_thinking=False).text


def _chat_with_line_breaks(messages, thinking):
    return encode_chat(messages, thinking).text.replace("<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>\n")


def _parameter(name, value, is_text):
    return f'<｜DSML｜parameter name="{name}" string="{str(is_text).lower()}">{value}</｜DSML｜parameter>\n'


def _parameter_cases(rng):
    yield "one text", (_parameter("city", "Paris", True),)
    yield "a number", (_parameter("days", "3", False),)
    yield "a text that looks like a number", (_parameter("zip", "10117", True),)
    yield "two of them, one a list", (_parameter("city", "Paris", True) + _parameter("parts", '["am", "pm"]', False),)
    yield "a text of three lines, with marks in it", (_parameter("code", "if a < b:\n    print(\"</b>\")\n", True),)
    yield "a text of nothing", (_parameter("note", "", True),)
    yield "true, null and what is nested", (_parameter("a", "true", False) + _parameter("b", "null", False)
                                            + _parameter("c", '{"d": [1, {"e": ">"}]}', False),)
    yield "no parameters", ("",)


VALUE = r'<｜DSML｜parameter name="(.*?)" string="(true|false)">(.*?)</｜DSML｜parameter>\n'


def _parameters_by_pattern(text):
    return {name: value if is_text == "true" else json.loads(value) for name, is_text, value in re.findall(VALUE, text, re.S)}


def _parameters_guessed(text):
    def guess(value):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return {name: guess(value) for name, _, value in re.findall(VALUE, text, re.S)}


def _parameters_line_by_line(text):
    return {name: value if is_text == "true" else json.loads(value) for name, is_text, value in re.findall(VALUE, text)}


EXERCISES = [
    Exercise("tokens.join", _join_cases, ours=join, differently=_join_backwards_from_a_list,
             wrong=(_join_overlapping, _join_once), tolerance=0,
             hints=("Walk from left to right with a place `at`. Look at parts[at] and the one after it.",
                    "If they are the pair, append the two as one string and go on two places; otherwise append one, go on one.",
                    "Give back a tuple. A part that was just used must not be used again: aaa becomes aa, a.")),
    Exercise("tokens.cut", _cut_cases, ours=cut, differently=_cut_pair_after_pair, wrong=(_cut_from_the_left, _cut_longest_first),
             tolerance=0,
             hints=("Begin with single letters: tuple(word).",
                    "Of all pairs that stand side by side now, join the one that was learned first, wherever it stands.",
                    "One loop over merges does it, for a part can only be joined further by pairs that were learned later.")),
    Exercise("chat.encode", _chat_cases, ours=conversation, differently=_chat_from_the_end,
             wrong=(_chat_that_remembers_thoughts, _chat_with_line_breaks), tolerance=0,
             hints=("First find the place of the last user message. Thoughts count from there on only.",
                    "After a user: <｜Assistant｜>, then <think> if thinking and this is the last user, otherwise </think>.",
                    "An assistant behind the last user, if thinking: thoughts, </think>, answer, EOS. Any other: answer, EOS.")),
    Exercise("dsml.parameters", _parameter_cases, ours=parameters, differently=_parameters_by_pattern,
             wrong=(_parameters_guessed, _parameters_line_by_line), tolerance=0,
             hints=("text.split('</｜DSML｜parameter>\\n') gives one piece for each parameter, and an empty one at the end.",
                    "In a piece, the head ends at the first '>' behind string=\"true\" or string=\"false\". All else is the "
                    "value, line breaks and '<' included.",
                    "string=\"true\": the value as it is. string=\"false\": json.loads(value). Never guess from the value.")),
]
