"""V4's chat encoding: a conversation becomes one string, and at once token ids.

    <BOS> system <｜User｜> question <｜Assistant｜> <think> thoughts </think> answer <EOS> <｜User｜> ...

Nothing stands between messages, not even a line break. Thinking is asked for by opening <think>, and told off by </think>.
Once a new question comes, older thoughts go: the past of a chat changes.

Source: the release's encoding_dsv4.py, encode_messages and render_message; the same bytes, but that special tokens never
come from what somebody wrote, and orders of messages that the model has not seen are refused.
Not here: checking and merging messages (chat_messages.py), the way back (parse.py), the texts of instructions.
"""

from dataclasses import dataclass

from v4mini.shapes import Refused
from v4mini.text.chat_messages import TASKS, checked, last_user, still_seen, turns
from v4mini.text.dsml import to_json, write_calls
from v4mini.text.instructions import MINI
from v4mini.text.marks import MARKS, marked, plain, spelled, to_ids
from v4mini.text.special import ACTION, ASSISTANT, BOS, END_THINK, EOS, LATEST_REMINDER, THINK, USER


@dataclass(frozen=True)
class Prompt:
    """An encoded conversation. `marked` is its text with one letter for each special token (marks.py)."""

    marked: str

    @property
    def text(self):
        """One string, byte for byte what the release makes. A special token and letters that look like it are the same here."""
        return spelled(self.marked)

    def ids(self, tokenizer):                   # -> list of ids
        """What the model reads. A special token that somebody typed is letters."""
        return to_ids(self.marked, tokenizer)


def encode_chat(messages, thinking=False, effort=None, drop_thinking=True, context=(), instructions=MINI, bos=True):
    """Encode messages as OpenAI's API has them: dicts with role and content; also V4's fields, see chat_messages.FIELDS;
    null fields, contents in text parts and prefix as agents have them, see chat_messages.checked.

    thinking: whether the assistant thinks before it answers. effort: how hard, one of instructions.efforts.
    drop_thinking: leave out the thoughts of turns before the last user's; kept anyway if a message brings tools.
    context: earlier messages whose text the model has read already; only that of `messages` is given, without BOS.
    Raises Refused for roles, orders, calls, tasks and efforts that are none.
    """
    if effort is not None and effort not in instructions.efforts:
        raise Refused(f"effort: expected one of {', '.join(instructions.efforts)}, got {effort!r:.40} "
                      f"(from {instructions.source}). Leave it out for the default.")
    context, before = list(context), len(context)
    messages = checked([*context, *messages] if isinstance(messages, list | tuple) and messages else messages)
    context, messages = messages[:before], messages[before:]
    earlier = turns(context)
    everything = earlier + turns(messages, before=context)
    drop = drop_thinking and not any(message.get("tools") for message in everything)
    if thinking and drop:
        earlier, everything = still_seen(earlier), still_seen(everything)
    asked = last_user(everything) if drop else -1       # from here on thoughts stay
    text = MARKS[BOS] if bos and not context else ""
    for place in range(len(earlier), len(everything)):
        if place == 0 and thinking and effort is not None:
            text += marked(instructions.efforts[effort])
        text += _message(everything, place, thinking, asked, instructions)
        text += _header(everything, place, thinking, asked)
    return Prompt(text)


def _message(messages, place, thinking, asked, instructions):
    message = messages[place]
    role = message["role"]
    content = message.get("content") or ""
    if role == "user":
        pieces = (plain(text) if kind == "text" else f"<tool_result>{plain(text)}</tool_result>" for kind, text in content)
        return MARKS[USER] + "\n\n".join(pieces)
    if role == "latest_reminder":
        return MARKS[LATEST_REMINDER] + plain(content)
    if role == "assistant":
        answers_task = place > 0 and messages[place - 1].get("task")
        thoughts = ""
        if thinking and not answers_task and place > asked:
            thoughts = plain(message.get("reasoning_content") or "") + MARKS[END_THINK]
        calls = "\n\n" + write_calls(message["tool_calls"]) if message.get("tool_calls") else ""
        return thoughts + plain(content) + calls + ("" if message.get("wo_eos") else MARKS[EOS])
    return (MARKS[USER] if role == "developer" else "") + plain(content) + _added(message, instructions)


def _added(message, instructions):              # what a system or developer message brings besides its text
    text = ""
    if message.get("tools"):
        text += "\n\n" + instructions.with_tools([to_json(tool["function"]) for tool in message["tools"]])
    if message.get("response_format"):
        text += "\n\n" + instructions.with_schema(to_json(message["response_format"]))
    return text


def _header(messages, place, thinking, asked):  # what makes the assistant speak
    message = messages[place]
    following = messages[place + 1]["role"] if place + 1 < len(messages) else None
    if following not in (None, "assistant", "latest_reminder"):
        return ""
    task = message.get("task")
    if task and task != "action":
        return MARKS[TASKS[task]]
    if message["role"] not in ("user", "developer") and not task:
        return ""
    thinks = thinking and (task or place >= asked)
    return MARKS[ASSISTANT] + MARKS[THINK if thinks else END_THINK] + (MARKS[ACTION] if task else "")
