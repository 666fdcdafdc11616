"""What can be typed in a chat besides messages, and how messages come in. Not here: answering (chat.py), the file (text/)."""

import contextlib
import os
import sys
from pathlib import Path

from v4mini import Refused
from v4mini.cli.main import note
from v4mini.printable import printable
from v4mini.viz.tables import counted

HELP = '''\
/system TEXT   set the system message; without TEXT, show it     /reset       forget what was said
/save FILE     write the conversation into a file                /load FILE   go on with one
/result TEXT   give what a tool returned, once for each call     /help        this list
/quit          leave (so does Ctrl-D)
A message of several lines begins with """ and goes on until a line that ends with """.
Ctrl-C stops an answer and keeps the conversation. A message that begins with / is written with two: //etc/hosts.'''
QUOTES = '"""'
LARGEST_FILE = 64 << 20                                 # bytes of a conversation
LONGEST_MESSAGE = 64 << 20                              # letters; a million tokens are some 5 MB


def typed_lines():                                      # yields str, without its newline
    """Lines of the terminal or of stdin, until they end; "> " asks for a line."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history in input(), where the system has it)
    while True:
        try:
            line = input("> ") + "\n" if sys.stdin.isatty() else sys.stdin.readline(LONGEST_MESSAGE + 1)
        except KeyboardInterrupt:
            note("\n/quit or Ctrl-D leaves.")
            continue
        except EOFError:
            return
        if not line:
            return
        yield expect_short(line).rstrip("\n")


def all_of_stdin():                                     # -> text
    """One message. Refused if it has no end."""
    return expect_short(sys.stdin.read(LONGEST_MESSAGE + 1))


def expect_short(text):                                 # -> text
    """A device or a command that never stops may stand at the other end of stdin."""
    if len(text) > LONGEST_MESSAGE:
        raise Refused(f"message: expected at most {LONGEST_MESSAGE:,} letters, got more. Write a shorter one.")
    return text


def questions(talk, lines):                             # yields what is to be answered: text, or a list of messages
    """Messages out of lines, several lines joined by newlines; commands are obeyed on the way."""
    commands, lines = Commands(talk), iter(lines)
    for line in lines:
        if line.startswith(QUOTES):
            text = _until_quotes(line, lines)
            if text.strip():
                yield text
        elif line.startswith("/") and not line.startswith("//"):
            word, _, rest = line.strip().partition(" ")
            if word == "/quit":
                return
            results = commands.obey(word, rest.strip())
            if results:
                yield results
        elif line.strip():
            yield line[1:] if line.startswith("//") else line


def _until_quotes(first, lines):                        # -> text between the quotes, or up to the end of all lines
    text = first[len(QUOTES):]
    pieces = [text]
    letters = len(text)
    while not text.rstrip().endswith(QUOTES):
        text = next(lines, None)
        if text is None:
            return "\n".join(pieces).strip("\n")
        pieces.append(text)
        letters += len(text) + 1
        if letters > LONGEST_MESSAGE:
            expect_short("\n".join(pieces))
    pieces[-1] = pieces[-1].rstrip()[: -len(QUOTES)]
    return "\n".join(pieces).strip("\n")


class Commands:
    """The words with a slash. A mistake is a sentence, and the conversation stays as it was."""

    def __init__(self, talk):
        self.talk = talk
        self.results = []

    def obey(self, word, rest):                         # -> results of tools once all are there, else None
        known = {"/help": self.help, "/reset": self.reset, "/system": self.system, "/save": self.save, "/load": self.load,
                 "/result": self.result}
        if word not in known:
            return note(f"{printable(word)}: expected {', '.join(known)} or /quit. "
                        "A message that begins with / is written with two.")
        try:
            return known[word](rest)
        except BrokenPipeError:
            raise
        except Exception as error:
            return note(fault_text(error))

    def help(self, _):
        note(HELP)

    def reset(self, _):
        self.talk.messages[:] = self._system()
        self.results = []
        note("Forgotten.")

    def system(self, text):
        system = self._system()
        if not text:
            return note((system[0]["content"] if system else None) or "There is none.")
        tools = {field: value for message in system for field, value in message.items() if field in ("tools", "response_format")}
        self.talk.messages[:] = [{"role": "system", "content": text, **tools}, *self.talk.messages[len(system):]]
        return note("Set. What was said so far stays, and is read again.")

    def save(self, name):
        from v4mini.text.conversation_file import file_text
        from v4mini.writing import write_whole

        write_whole(_expect_name("/save", name), file_text(self.talk))
        note(f"{printable(name)}: {counted(len(self.talk.messages), 'message')} saved. /load goes on with them.")

    def load(self, name):
        from v4mini.text.conversation_file import from_file
        from v4mini.untrusted import parse_json, read_file

        raw = read_file(_expect_name("/load", name), LARGEST_FILE, "conversation", "Name a file that /save wrote.")
        from_file(self.talk, parse_json(raw, printable(name)), printable(name))
        self.results = []
        note(f"{printable(name)}: {counted(len(self.talk.messages), 'message')}. The next question goes on with them.")

    def result(self, text):
        last = self.talk.messages[-1] if self.talk.messages else {}
        calls = last.get("tool_calls") or []
        if not calls:
            raise Refused("/result: expected a call of a tool before it, got none. Its answer shows calls as `call NAME`.")
        call = calls[len(self.results)]
        self.results.append({"role": "tool", "content": text} | ({"tool_call_id": call["id"]} if call.get("id") else {}))
        if len(self.results) < len(calls):
            return note(f"Result {len(self.results)} of {len(calls)}; {calls[len(self.results)]['function']['name']} is next.")
        results, self.results = self.results, []
        return results

    def _system(self):
        return [message for message in self.talk.messages if message["role"] == "system"]


def fault_text(error):                                  # -> a line
    """What went wrong, in a chat that goes on."""
    if isinstance(error, Refused):
        return f"v4mini: {error}"
    kind = "out of memory" if isinstance(error, MemoryError) else f"{type(error).__name__} {error}".strip()
    return printable(f"v4mini: {kind}. The conversation is kept; /save FILE writes it down.")


def _expect_name(command, name):
    if not name:
        raise Refused(f"{command}: expected the name of a file, got none. Write {command} talk.json.")
    return Path(os.path.expanduser(name))             # pathlib's raises where there is no such user
