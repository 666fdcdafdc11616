"""Special tokens as single letters that nobody can type.

While a conversation is put together it is one str, and each special token in it is one lone surrogate: a code point that
no UTF-8 can hold. What a user, a tool or a file wrote goes through plain(), which leaves none in it. So '<think>' from the
format and the seven letters '<think>' from a user differ until they are ids, and nobody can forge a turn.

Not here: where the format puts special tokens (chat.py, dsml.py), their names and ids (special.py).
"""

import re

from v4mini.shapes import Refused
from v4mini.text.special import SPECIALS

MARKS = {name: chr(0xD800 + number) for number, (_, _, name) in enumerate(SPECIALS)}   # only first halves: two make no pair
NAMES = {mark: name for name, mark in MARKS.items()}

_MARK = re.compile(f"[{''.join(NAMES)}]")
_NAME = re.compile("|".join(sorted(map(re.escape, MARKS), key=len, reverse=True)))


def plain(text):                                # -> text without marks, fit for UTF-8
    """Surrogate pairs become their character, lone ones U+FFFD; all other text stays as it is."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def marked(text):                               # -> text in which each special token's name has become its mark
    """For text that may hold special tokens: instructions, or what a model said. Never for what a user typed."""
    return _NAME.sub(lambda found: MARKS[found[0]], plain(text))


def spelled(text):                              # -> text in which each mark has become the token's name again
    """For people and for tokenizers that take one string. It no longer tells a token from letters that look like it."""
    return _MARK.sub(lambda found: NAMES[found[0]], text)


def first_mark(text):                           # -> name of the first special token in it, or None
    found = _MARK.search(text)
    return found and NAMES[found[0]]


def to_ids(text, tokenizer):                    # -> list of ids
    """Marks become their one id; what lies between them is encoded as ordinary text. Raises Refused for unknown tokens."""
    ids = []
    start = 0
    for found in _MARK.finditer(text):
        name = NAMES[found[0]]
        if name not in tokenizer.special:
            raise Refused(f"tokenizer: expected one with the special token {name}, got one without. Is it DeepSeek-V4's?")
        ids += tokenizer.encode(text[start: found.start()]) + [tokenizer.special[name]]
        start = found.end()
    return ids + tokenizer.encode(text[start:])


def from_ids(ids, tokenizer):                   # -> text with marks
    """The way back: bytes that are no UTF-8 become U+FFFD; special tokens that a chat does not know become their names."""
    mark_of = {tokenizer.special[name]: mark for name, mark in MARKS.items() if name in tokenizer.special}
    text, run = [], []
    for id in ids:
        if id in mark_of:
            text += [tokenizer.decode(run), mark_of[id]]
            run = []
        else:
            run.append(id)
    return "".join([*text, tokenizer.decode(run)])
