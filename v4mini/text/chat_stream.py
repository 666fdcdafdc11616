"""An answer taken apart while its tokens come: thoughts and answer, each as text that may be shown at once.

Not here: the strict reading of a finished answer (parse.py), where tokens come from.
"""

from v4mini.shapes import Refused
from v4mini.text.parse import parse_ids
from v4mini.text.special import END_THINK
from v4mini.text.tokenizer import StreamDecoder

THOUGHTS, ANSWER = "thoughts", "answer"


class AnswerStream:
    """Feed it each new token. The end of the thoughts is the token </think>, not letters that look like it."""

    def __init__(self, tokenizer, thinking=False):
        self._tokenizer, self._thinking, self._stream = tokenizer, thinking, StreamDecoder(tokenizer)
        self.part, self.ids, self.texts = THOUGHTS if thinking else ANSWER, [], {THOUGHTS: "", ANSWER: ""}

    def put(self, id):                          # -> (part, text): which part it belongs to, and the characters it completes
        """One more token, EOS too. Of the tokens that only structure the answer, no text is given."""
        self.ids.append(id)
        if id == self._tokenizer.eos_id:
            return self.part, ""
        if self.part == THOUGHTS and id == self._tokenizer.special.get(END_THINK):
            part, text = self.end()
            self.part = ANSWER
            return part, text
        return self._keep(self._stream.put(id))

    def end(self):                              # -> (part, text): what an unfinished character leaves
        return self._keep(self._stream.end())

    def message(self, tools=None):              # -> message, "" or why it is not well formed
        """The answer so far as encode_chat takes it back: parsed if it is well formed, otherwise as plain text."""
        try:
            return parse_ids(self.ids, self._tokenizer, self._thinking, tools), ""
        except Refused as refused:
            return {"role": "assistant", "content": self.texts[ANSWER], "reasoning_content": self.texts[THOUGHTS],
                    "tool_calls": []}, str(refused)

    def _keep(self, text):
        self.texts[self.part] += text
        return self.part, text
