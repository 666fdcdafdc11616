"""A conversation as the text of a file, and back.

    {"format": "v4mini conversation 1", "thinking": false, "effort": null, "drop_thinking": true, "messages": [...]}

Messages are those of OpenAI's API, with V4's fields, as encode_chat takes them. Not here: files (cli/).
"""

import json

from v4mini.shapes import Refused
from v4mini.text.chat_messages import checked

FORMAT = "v4mini conversation 1"
FIELDS = ("format", "thinking", "effort", "drop_thinking", "messages")


def file_text(talk):                              # Conversation -> text
    """What is needed to go on with it later, with the same model or another."""
    settings = {name: talk.settings[name] for name in ("thinking", "effort", "drop_thinking")}
    return json.dumps({"format": FORMAT, **settings, "messages": talk.messages}, ensure_ascii=False, indent=1) + "\n"


def from_file(talk, fields, source):            # Conversation, parsed JSON, path for sentences
    """Put what a file holds in the place of what was said; nothing is changed if it is Refused."""
    unknown = sorted(set(fields) - set(FIELDS))
    if fields.get("format") != FORMAT or unknown:
        got = f"the field {unknown[0]!r:.40}" if fields.get("format") == FORMAT else f"format {fields.get('format')!r:.40}"
        raise Refused(f"{source}: expected a conversation that /save wrote, with format {FORMAT!r}, got {got}.")
    for name in ("thinking", "drop_thinking"):
        if type(fields.get(name)) is not bool:
            raise Refused(f"{source}: expected true or false as {name}, got {fields.get(name)!r:.40}. Was it edited?")
    effort = fields.get("effort")
    efforts = talk.settings["instructions"].efforts
    if effort is not None and (effort not in efforts or not fields["thinking"]):
        raise Refused(f"{source}: expected an effort out of {', '.join(efforts)} beside thinking, got {effort!r:.40}. "
                      "Was it said to another release?")
    messages = fields.get("messages")
    if not isinstance(messages, list):
        raise Refused(f"{source}: expected a list of messages, got {messages!r:.40}. Was it edited?")
    try:
        messages = checked(messages) if messages else []
    except Refused as refused:
        raise Refused(f"{source}: {refused}") from None
    talk.messages[:] = messages
    talk.settings |= {name: fields[name] for name in ("thinking", "effort", "drop_thinking")}
