"""DSML, V4's markup for tool calls: a list of calls to text, and text to the list, strictly.

    <｜DSML｜tool_calls>
    <｜DSML｜invoke name="weather">
    <｜DSML｜parameter name="city" string="true">Paris</｜DSML｜parameter>
    <｜DSML｜parameter name="days" string="false">3</｜DSML｜parameter>
    </｜DSML｜invoke>
    </｜DSML｜tool_calls>

Calls have the form that OpenAI's API gave them: {"type": "function", "function": {"name": ..., "arguments": JSON text}}.
There is no escaping. As ids, ｜DSML｜ is one token and a look-alike in a value is letters, so both can be told apart; in a
text they cannot. Texts here have marks for special tokens (marks.py).

Source: the release's encoding_dsv4.py, encode_arguments_to_dsml and parse_tool_calls.
Not here: where in an answer calls may stand (parse.py), describing tools to the model (instructions.py).
"""

import json
import re

from v4mini.shapes import Refused
from v4mini.text.marks import MARKS, plain, spelled
from v4mini.text.special import DSML

D = MARKS[DSML]
OPEN, CLOSE = f"<{D}tool_calls>", f"</{D}tool_calls>"
OPEN_CALL, CLOSE_CALL = f"<{D}invoke", f"</{D}invoke>"
OPEN_VALUE, CLOSE_VALUE = f"<{D}parameter", f"</{D}parameter>"
START = "\n\n" + OPEN[:-1]                      # what ends an answer's text and begins its calls

_CALL = re.compile(r' name="([^"\n]*)">\n\n?')      # two newlines: no parameters
_VALUE = re.compile(r' name="([^"\n]*)" string="(true|false)">')


def write_calls(calls):                         # [call] -> text with marks
    """The block of an assistant's calls. Arguments that are not JSON become one parameter of the name "arguments"."""
    blocks = []
    for name, arguments in named_calls(calls):
        values = "\n".join(_written(name, key, value) for key, value in arguments.items())
        blocks.append(f'{OPEN_CALL} name="{name}">\n{values}\n{CLOSE_CALL}')
    return "\n".join([OPEN, *blocks, CLOSE])


def named_calls(calls):                         # -> [(name, arguments as a dict)]; checks OpenAI's form
    if not isinstance(calls, list | tuple):
        raise Refused(f"tool_calls: expected a list of calls, got {type(calls).__name__}. For one call, a list of one.")
    return [_name_and_arguments(call) for call in calls]


def read_calls(text, start, tools=None):        # text with marks, behind START -> place behind the block, [call]
    """Parse a block, or refuse it with the place where it goes wrong. tools: refuse calls of any other."""
    known = None if tools is None else tool_names(tools)
    reader = _Reader(text, start)
    calls = []
    reader.take(">\n", "tool_calls")
    while not reader.comes(CLOSE):
        calls.append(_read_call(reader, known))
    return reader.place, calls


def tool_names(tools):                          # -> [name]; checks OpenAI's form
    """The names of tools given as [{"type": "function", "function": {"name": ..., "parameters": ...}}]."""
    if not isinstance(tools, list | tuple):
        raise Refused(f"tools: expected a list of tools, got {type(tools).__name__}. For one tool, a list of one.")
    names = []
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise Refused(f'tools: expected {{"type": "function", "function": {{"name": ...}}}}, got {tool!r:.80}.')
        names.append(_fit(name, "tool name"))
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise Refused(f"tools: expected each name once, got {min(twice)!r} twice. Rename one.")
    return names


def to_json(value):  # -> JSON text, as the release writes it: spaces after , and :, letters as they are
    try:
        return plain(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"JSON: expected dicts, lists, text, finite numbers, got something else ({error!s:.80}).") from None


def from_json(text):                            # -> value; raises ValueError for what is not JSON, NaN and Infinity too
    """Python's json takes NaN and Infinity, which no other reader of JSON does."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deep") from None


class _NotANumber(ValueError):
    """A name such as NaN where JSON has numbers."""


def _no_constant(name):
    raise _NotANumber(name)


def _name_and_arguments(call):
    function = call.get("function") if isinstance(call, dict) else None
    name, arguments = (function.get(key) for key in ("name", "arguments")) if isinstance(function, dict) else (None, None)
    if not (isinstance(name, str) and isinstance(arguments, str)):
        raise Refused(f'tool call: expected {{"function": {{"name": text, "arguments": JSON text}}}}, got {call!r:.80}. '
                      "For arguments in a dict: json.dumps(arguments).")
    try:
        parsed = from_json(arguments)
    except _NotANumber as constant:
        raise Refused(f"call of {name}: expected JSON arguments, got {constant} in {arguments!r:.60}. JSON has finite numbers "
                      "only: use null or text.") from None
    except ValueError:
        return _fit(name, "tool name"), {"arguments": arguments}
    if not isinstance(parsed, dict):
        raise Refused(f"call of {name}: expected arguments with names, a JSON object, got {arguments:.60}. Put it in {{...}}.")
    return _fit(name, "tool name"), parsed


def _written(name, key, value):
    is_text = isinstance(value, str)
    return (f'{OPEN_VALUE} name="{_fit(key, f"parameter of {name}")}" string="{"true" if is_text else "false"}">'
            f"{plain(value) if is_text else to_json(value)}{CLOSE_VALUE}")


def _fit(name, what):                           # nothing in a name is escaped
    if '"' in name or not name.isprintable():
        raise Refused(f"{what}: expected a name without quotes and line breaks, got {name!r:.60}. DSML has no escape for them.")
    return name


class _Reader:
    """A text and a place in it. What does not come as it must is refused, with what stands there."""

    def __init__(self, text, place):
        self.text, self.place = text, place

    def comes(self, expected):                  # -> bool; if so, go on behind it
        found = self.text.startswith(expected, self.place)
        self.place += len(expected) if found else 0
        return found

    def take(self, expected, inside):
        if not self.comes(expected):
            raise self.refused(repr(spelled(expected)), inside)

    def match(self, pattern, expected, inside):
        found = pattern.match(self.text, self.place)
        if not found:
            raise self.refused(expected, inside)
        self.place = found.end()
        return found.groups()

    def until(self, expected, inside):          # -> text up to it; go on behind it
        end = self.text.find(expected, self.place)
        if end < 0:
            raise self.refused(f"{spelled(expected)} somewhere", inside)
        found, self.place = self.text[self.place: end], end + len(expected)
        return found

    def refused(self, expected, inside):
        rest = spelled(self.text[self.place: self.place + 40])
        return Refused(f"DSML: expected {expected} in {inside}, got {repr(rest) if rest else 'the end'}. "
                       "Did the model lose the form? Ask again, or treat the answer as text.")


def _read_call(reader, known):
    reader.take(OPEN_CALL, "tool_calls")
    name = spelled(*reader.match(_CALL, 'name="...">', "invoke"))
    if known is not None and name not in known:
        raise Refused(f"DSML: expected a call of {' or '.join(known) or 'no tool at all'}, got {name!r:.60}. "
                      "Tell the model that there is no such tool.")
    values = {}
    while not reader.comes(CLOSE_CALL):
        reader.take(OPEN_VALUE, f"invoke {name}")
        key, is_text = map(spelled, reader.match(_VALUE, 'name="..." string="true" or "false">', f"a parameter of {name}"))
        value = spelled(reader.until(CLOSE_VALUE, f"parameter {key} of {name}"))
        reader.take("\n", f"invoke {name}, behind parameter {key}")
        if key in values:
            raise Refused(f"DSML: expected each parameter of {name} once, got {key!r:.60} twice. Ask the model again.")
        values[key] = to_json(value) if is_text == "true" else _checked_json(name, key, value)
    reader.take("\n", "tool_calls, behind an invoke")
    arguments = "{" + ", ".join(f"{to_json(key)}: {value}" for key, value in values.items()) + "}"
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


def _checked_json(name, key, value):            # kept as it was written
    try:
        from_json(value)
    except ValueError:
        raise Refused(f"DSML: expected JSON for {key} of {name}, as string=\"false\" says, got {value!r:.60}. "
                      'Texts need string="true".') from None
    return value
