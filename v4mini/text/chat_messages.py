"""A conversation as a list of dicts, as OpenAI's API has them: checked, and brought to the turns that V4 knows.

Tools do not speak for themselves in V4: their results go into the user's next turn, in the order of the calls.
Agents hold messages in many spellings: fields that are null or empty say nothing, texts come in parts, a tool gives null.

Not here: turns as text (chat.py), the markup of calls (dsml.py).
"""

import difflib

from v4mini.shapes import Refused
from v4mini.text.dsml import named_calls, tool_names
from v4mini.text.special import ACTION, AUTHORITY, DOMAIN, QUERY, READ_URL, TITLE

ROLES = ("system", "developer", "user", "assistant", "tool", "latest_reminder")
TASKS = {"action": ACTION, "query": QUERY, "authority": AUTHORITY, "domain": DOMAIN, "title": TITLE, "read_url": READ_URL}
FIELDS = {"role", "content", "name", "id", "mask",                  # the last three change nothing
          "tools", "response_format", "tool_calls", "tool_call_id", "reasoning_content", "task", "wo_eos"}
ONLY_IN = {"tools": ("system", "developer"), "response_format": ("system", "developer"), "tool_calls": ("assistant",),
           "reasoning_content": ("assistant",), "tool_call_id": ("tool",), "task": ("user", "developer", "assistant")}


def checked(messages):                          # [message] -> [message], each with the fields that V4 knows
    """Bring messages to one spelling. Raises Refused for those that no turn can be made of, and for an order unknown to V4.

    Unknown fields that are null or empty are passed over. The text parts of a content are joined by two newlines, as the
    release joins them. A tool's null is an empty result. `prefix` of the last message is wo_eos: the model goes on with it.
    """
    if not isinstance(messages, list | tuple) or not messages:
        raise Refused(f"messages: expected a list of one or more, got {messages!r:.60}. "
                      "Such as [{'role': 'user', 'content': 'Hi'}].")
    found = []
    for number, message in enumerate(messages):
        _check_role(message, number)
        message = _in_one_spelling(message, number, is_last=number == len(messages) - 1)
        found.append(message)
        _check_fields(message, number)
        _check_content(message, number)
        _check_order(found, number)
    return found


def _in_one_spelling(message, number, is_last):
    message = {field: value for field, value in message.items() if field in FIELDS or not _is_empty(value)}
    if "prefix" in message:
        message["wo_eos"] = _checked_prefix(message.pop("prefix"), message, number, is_last)
    content = message.get("content")
    if message["role"] == "tool":
        message["content"] = "" if content is None else content
    elif isinstance(content, list | tuple):
        message["content"] = _joined(content, number) if content else None
    return message


def _is_empty(value):                           # 0 is a number, not nothing
    return value is None or value is False or (isinstance(value, str | list | tuple | dict) and not value)


def _checked_prefix(prefix, message, number, is_last):
    if prefix is not True or message["role"] != "assistant" or not is_last:
        raise Refused(f"messages[{number}]: expected prefix to be True and in the last message, one of the assistant's, got "
                      f"{prefix!r:.20} in one of {message['role']}. A finished answer needs none; one that another answer "
                      "follows takes wo_eos.")
    return True


def _joined(parts, number):                     # [{"type": "text", "text": ...}] -> text
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else part
        if kind != "text":
            raise Refused(f"messages[{number}]: expected parts of type text, got {kind!r:.40}. V4 reads text only.")
        if not isinstance(part.get("text"), str | None):
            raise Refused(f"messages[{number}]: expected text in a part of type text, got {part['text']!r:.40}.")
    return "\n\n".join(part.get("text") or "" for part in parts)


def turns(messages, before=()):                 # [message] -> [message], without role "tool"
    """Results of tools and texts of the user that follow each other become one user turn: its content is a list of pieces.

    A piece is ("text", str) or ("result", str). Results stand in the order of the calls they answer, which may be in `before`.
    """
    merged = []
    order = {}
    for message in before:
        order = _order_of_calls(message, order)
    for message in messages:
        order = _order_of_calls(message, order)
        if message["role"] not in ("user", "tool"):
            merged.append(message)
            continue
        piece = _piece(message, order)
        if merged and merged[-1]["role"] == "user":
            merged[-1]["content"].append(piece)
        else:
            merged.append(message | {"role": "user", "content": [piece]})
    return [message | {"content": _in_order(message["content"])} if message["role"] == "user" else message for message in merged]


def still_seen(messages):                       # turns -> turns that are left once a new user turn begins
    """What the developer had said before it goes. (So do the thoughts of the assistant, see chat.py.)"""
    last = last_user(messages)
    return [message for place, message in enumerate(messages) if place >= last or message["role"] != "developer"]


def last_user(messages):                        # -> place of the last user or developer turn, -1 if there is none
    return max((place for place, message in enumerate(messages) if message["role"] in ("user", "developer")), default=-1)


def _order_of_calls(message, order):            # -> {id: place} of the newest calls
    calls = message.get("tool_calls") if message["role"] == "assistant" else None
    return {call["id"]: place for place, call in enumerate(calls) if call.get("id")} if calls else order


def _piece(message, order):                     # -> kind, text, place among the results
    if message["role"] == "user":
        return "text", message["content"], None
    return "result", _result(message["content"]), order.get(message.get("tool_call_id"), 0)


def _in_order(pieces):                          # results change places among themselves, texts stay where they are
    results = iter(sorted((piece for piece in pieces if piece[0] == "result"), key=lambda piece: piece[2]))
    return [(next(results) if piece[0] == "result" else piece)[:2] for piece in pieces]


def _result(content):                           # what a tool gave: text, or a list of parts as in OpenAI's API
    if isinstance(content, str):
        return content
    texts = (part.get("text") or "" if part["type"] == "text" else f"[Unsupported {part['type']}]" for part in content)
    return "\n\n".join(texts)


def _check_role(message, number):
    if not isinstance(message, dict) or message.get("role") not in ROLES:
        got = message.get("role") if isinstance(message, dict) else message
        advice = " Give message.model_dump()." if hasattr(message, "model_dump") else ""
        raise Refused(f"messages[{number}]: expected a dict whose role is one of {', '.join(ROLES)}, got {got!r:.60}.{advice}")


def _check_fields(message, number):
    for field in message:
        if field not in FIELDS:
            near = difflib.get_close_matches(str(field), FIELDS, n=1)
            raise Refused(f"messages[{number}]: no field is called {field!r:.40}. "
                          + (f"Did you mean {near[0]}?" if near else "Leave it out."))
        expected = ONLY_IN.get(field)
        if expected and message[field] and message["role"] not in expected:
            raise Refused(f"messages[{number}]: expected {field} in a message of {' or '.join(expected)}, got it in one of "
                          f"{message['role']}. The model would never see it there.")
    if message.get("task") is not None and message["task"] not in TASKS:
        raise Refused(f"messages[{number}]: expected a task out of {', '.join(TASKS)}, got {message['task']!r:.40}.")
    if message.get("tools"):
        tool_names(message["tools"])
    if message.get("tool_calls"):
        named_calls(message["tool_calls"])


def _check_content(message, number):
    role = message["role"]
    content = message.get("content")
    may_lack = role in ("system", "assistant") and content is None
    listed = role == "tool" and isinstance(content, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str)
        and (part["type"] != "text" or isinstance(part.get("text"), str | None)) for part in content)
    if not (isinstance(content, str) or may_lack or listed):
        raise Refused(f"messages[{number}]: expected text as the content of {role}, got {content!r:.60}. V4 reads text only.")
    if role == "developer" and not content:
        raise Refused(f"messages[{number}]: expected some text from the developer, got none. Leave the message out.")
    if not isinstance(message.get("reasoning_content"), str | None):
        raise Refused(f"messages[{number}]: expected text as reasoning_content, got {message['reasoning_content']!r:.60}.")


def _check_order(messages, number):
    message = messages[number]
    before = messages[:number]
    role = message["role"]
    previous = before[-1] if before else {"role": "nothing"}
    if role == "system" and any(m["role"] != "system" for m in before):
        raise Refused(f"messages[{number}]: expected system messages first, got one behind {previous['role']}. In the middle "
                      "of a conversation, use latest_reminder or developer.")
    if role == "assistant" and previous["role"] in ("nothing", "system"):
        raise Refused(f"messages[{number}]: expected a user before the assistant, got {previous['role']}. Who was answered?")
    if role == "assistant" and previous["role"] == "assistant" and not (previous.get("task") or previous.get("wo_eos")):
        raise Refused(f"messages[{number}]: expected a user between two assistants, got none. Join the two messages.")
    if role == "tool":
        _check_answered(message, before, number)
    if message.get("task") and role == "user" and previous["role"] in ("user", "tool"):
        raise Refused(f"messages[{number}]: expected a task in a user's turn of its own, got it behind {previous['role']}, where "
                      "it would be lost. Join it with the message before.")
    if previous.get("task") and role not in ("assistant", "latest_reminder"):
        raise Refused(f"messages[{number}]: expected the assistant to answer the task {previous['task']}, got {role}. "
                      "A task is last, or its answer follows.")


def _check_answered(message, before, number):
    asked = next((m for m in reversed(before) if m["role"] not in ("user", "tool")), {})
    calls = asked.get("tool_calls") if asked.get("role") == "assistant" else None
    if not calls:
        raise Refused(f"messages[{number}]: expected a call before the result of a tool, got none. Who called it?")
    ids = [call.get("id") for call in calls if call.get("id")]
    if ids and message.get("tool_call_id") and message["tool_call_id"] not in ids:
        raise Refused(f"messages[{number}]: expected a tool_call_id out of {', '.join(map(str, ids))}, "
                      f"got {message['tool_call_id']!r:.40}.")
