"""What the model said, taken apart: thoughts, answer, calls. Strictly: what is not well formed is refused.

Source: the release's encoding_dsv4.py, parse_message_from_completion_text. Stricter than it: no special token at all may be
left over, values that call themselves JSON must be JSON, and a missing end is told from a wrong one.
Not here: the markup of calls (dsml.py), taking apart while tokens still come (chat_stream.py).
"""

from v4mini.shapes import Refused
from v4mini.text.dsml import START, read_calls
from v4mini.text.marks import MARKS, first_mark, from_ids, marked, spelled
from v4mini.text.special import END_THINK, EOS


def parse_answer(text, thinking=False, tools=None):     # -> message
    """Take apart the text behind <｜Assistant｜><think> (thinking) or <｜Assistant｜></think>, its EOS included.

    Gives {"role": "assistant", "content", "reasoning_content", "tool_calls"}, which encode_chat takes back. In a text, letters
    that look like a special token are one; parse_ids can tell. tools: refuse calls of any other.
    """
    if not isinstance(text, str):
        raise Refused(f"answer: expected text, got {type(text).__name__}. For token ids: parse_ids(ids, tokenizer).")
    return _parsed(marked(text), thinking, tools)


def parse_ids(ids, tokenizer, thinking=False, tools=None):      # -> message
    """The same from token ids, where look-alikes of special tokens are letters and stay in the text."""
    return _parsed(from_ids(ids, tokenizer), thinking, tools)


def _parsed(text, thinking, tools):
    place = 0
    thoughts = ""
    calls = []
    if thinking:
        place, thoughts, stop = _until(text, place, MARKS[END_THINK], START)
        if stop != MARKS[END_THINK]:
            raise Refused(f"answer: expected {END_THINK} behind the thoughts, got {'a call' if stop else 'the end'} without it. "
                          "Was it cut short, or asked for in chat mode?")
    place, content, stop = _until(text, place, MARKS[EOS], START)
    if stop == START:
        place, calls = read_calls(text, place, tools)
        place, between, stop = _until(text, place, MARKS[EOS])
        if between:
            raise Refused(f"answer: expected {EOS} behind the calls, got {_shown(between)}. Nothing may follow calls.")
    if stop is None:
        raise Refused(f"answer: expected {EOS} at its end, got {_shown(text[-20:])}. Was it cut short? Allow more new tokens.")
    if place < len(text):
        raise Refused(f"answer: expected nothing behind {EOS}, got {_shown(text[place:])}. Stop generating there.")
    for part, name in ((thoughts, "thoughts"), (content, "answer")):
        if first_mark(part):
            raise Refused(f"answer: expected no special token in the {name}, got {first_mark(part)}. "
                          "Did the model begin another turn?")
    return {"role": "assistant", "content": content, "reasoning_content": thoughts, "tool_calls": calls}


def _until(text, place, *stops):                # -> place behind the stop, text before it, the stop or None
    found = min(((at, stop) for stop in stops if (at := text.find(stop, place)) >= 0), default=(len(text), None))
    return found[0] + len(found[1] or ""), text[place: found[0]], found[1]


def _shown(text):
    return repr(spelled(text[:60])) if text else "nothing"
