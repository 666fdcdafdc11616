"""An answer taken apart while its tokens come: thoughts, answer and calls; of the first two, text that may be shown at once.

Not here: the strict reading of a finished answer (parse.py), where tokens come from.
"""

from v4mini.shapes import Refused
from v4mini.text.dsml import OPEN, START
from v4mini.text.marks import MARKS, spelled
from v4mini.text.parse import parse_ids
from v4mini.text.special import DSML, END_THINK
from v4mini.text.tokenizer import StreamDecoder

THOUGHTS, ANSWER, CALLS = "thoughts", "answer", "calls"
BLOCK = OPEN[:-1]                               # without the newlines it is not well formed, and no text for a reader either
BEGINNINGS = (START, BLOCK)


class AnswerStream:
    """Feed it each new token. Parts end at tokens, not at letters that look like them.

    Calls begin at <｜DSML｜tool_calls, or at the two newlines before it. An answer's text that may be the beginning of that is
    held back until the next tokens tell. Of calls no text is given: message() has them, and `markup` how they were written.
    Each token costs the same, however long the answer is.
    """

    def __init__(self, tokenizer, thinking=False):
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._stream = StreamDecoder(tokenizer)
        self._held = ""                         # with marks; always a beginning of one of BEGINNINGS
        self._texts = {THOUGHTS: [], ANSWER: [], CALLS: []}
        self.part = THOUGHTS if thinking else ANSWER
        self.ids = []

    @property
    def texts(self):                            # -> {part: text so far}, calls as their markup
        return {part: "".join(pieces) for part, pieces in self._texts.items()}

    @property
    def markup(self):                           # -> the text of the calls so far, as the model wrote it
        return "".join(self._texts[CALLS])

    def put(self, id):                          # -> (part, text): which part it belongs to, and the characters it completes
        """One more token, EOS too. Of the tokens that only structure the answer, no text is given."""
        self.ids.append(id)
        special = self._tokenizer.special
        if id == self._tokenizer.eos_id:
            return self.end()
        if self.part == THOUGHTS and id == special.get(END_THINK):
            part, text = self.end()
            self.part = ANSWER
            return part, text
        if id == special.get(DSML):             # a mark, so that letters which look like it are told from it
            return self._keep(self._stream.end() + MARKS[DSML])
        return self._keep(self._stream.put(id))

    def end(self):                              # -> (part, text): what an unfinished character leaves, and what was held back
        part, text = self._keep(self._stream.end())
        held, self._held = spelled(self._held), ""
        self._texts[part].append(held)
        return part, text + (held if part != CALLS else "")

    def message(self, tools=None):              # -> message, "" or why it is not well formed
        """The answer so far as encode_chat takes it back: parsed if it is well formed, otherwise as plain text."""
        try:
            return parse_ids(self.ids, self._tokenizer, self._thinking, tools), ""
        except Refused as refused:
            texts = self.texts
            return {"role": "assistant", "content": texts[ANSWER] + spelled(self._held) + texts[CALLS],
                    "reasoning_content": texts[THOUGHTS], "tool_calls": []}, str(refused)

    def _keep(self, text):                      # text with marks -> (part, text to show)
        if self.part == ANSWER:
            text = self._held + text
            begins = text.find(BLOCK)
            if begins >= 0:
                begins -= 2 if text.startswith(START, begins - 2) else 0
                self._held = ""
                self._texts[ANSWER].append(spelled(text[:begins]))
                self._texts[CALLS].append(spelled(text[begins:]))
                self.part = CALLS
                return (ANSWER if begins else CALLS), spelled(text[:begins])
            known = len(text) - _may_begin(text)
            text, self._held = text[:known], text[known:]
        text = spelled(text)
        self._texts[self.part].append(text)
        return self.part, "" if self.part == CALLS else text


def _may_begin(text):                           # -> how many of its last characters may be the beginning of a block of calls
    return next((n for n in range(min(len(text), len(START) - 1), 0, -1)
                 if any(beginning.startswith(text[-n:]) for beginning in BEGINNINGS)), 0)
