"""Conversation: questions in, answers out, piece by piece; what was said is the past of what is asked next.

Model and generate are handed in, see chat_memory.py for what is asked of them. Not here: printing (cli/chat.py), the encoding
(chat.py).
"""

from dataclasses import dataclass
from os.path import commonprefix

from v4mini.text.chat import encode_chat
from v4mini.text.chat_memory import ChatMemory
from v4mini.text.chat_stream import AnswerStream
from v4mini.text.instructions import MINI

NEXT = [{"role": "assistant", "content": ""}, {"role": "user", "content": ""}]     # what will follow a question


@dataclass(frozen=True)
class Answer:
    """How a turn went. `ended`: the model said EOS; otherwise it was stopped. `fault`: why it is not well formed, or ""."""

    message: dict
    ended: bool
    fault: str
    read: int                                   # tokens of the prompt that had to be read
    kept: int                                   # tokens of the prompt that the cache held already
    said: int
    markup: str = ""                            # of its calls, as the model wrote it


class Conversation:
    """`messages` is all that was said; change or replace it freely between turns. `answer` is the last one."""

    def __init__(self, model, tokenizer, generate, system=None, thinking=False, effort=None, drop_thinking=True,
                 instructions=MINI):
        self._model, self._tokenizer, self._generate = model, tokenizer, generate
        self.settings = {"thinking": thinking, "effort": effort, "drop_thinking": drop_thinking, "instructions": instructions}
        self.messages = [{"role": "system", "content": system}] if system else []
        self.memory = ChatMemory(model)
        self.answer = None

    def ask(self, question, max_new_tokens=512, progress=None, **sampling):     # yields (part, text)
        """Read the question and answer it: gives ("thoughts", "answer" or "calls", text) as it comes; see AnswerStream.

        question: text of the user, or a list of messages such as the results of tools, which stand there as they are given:
        [{"role": "tool", "content": "21 degrees", "tool_call_id": ...}]. sampling: as generate takes it.
        Closed or interrupted, what was said until then is the answer; if that is nothing, the question is taken back.
        """
        asked = list(question) if isinstance(question, list | tuple) else [{"role": "user", "content": question}]
        before = len(self.messages)
        self.messages += asked
        stream = AnswerStream(self._tokenizer, self.settings["thinking"])
        ended = False
        try:
            ids = self.prompt_ids()
            cache = self.memory.open(ids, self._lasting(ids), progress)
            for token in self._generate(self._model, ids[-1:], max_new_tokens, cache=cache, **sampling):
                self.memory.said(token)
                yield stream.put(token)
            ended = len(stream.ids) < max_new_tokens
            yield stream.put(self._tokenizer.eos_id) if ended else stream.end()
        finally:
            self._close(stream, ended, before)

    def prompt_ids(self):                       # -> ids of all messages, up to where the assistant speaks
        return encode_chat(self.messages, **self.settings).ids(self._tokenizer)

    def _lasting(self, ids):                    # -> how many of them will stay when the next question comes
        return len(commonprefix([ids, encode_chat(self.messages + NEXT, **self.settings).ids(self._tokenizer)]))

    def _close(self, stream, ended, before):
        if not stream.ids:
            del self.messages[before:]
            return
        message, fault = stream.message()
        said = len(stream.ids) - ended
        self.answer = Answer(message, ended, fault, self.memory.read + 1, self.memory.kept, said, stream.markup)
        self.messages.append(message)
