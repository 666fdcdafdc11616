"""Facts hidden in text, and questions about them: what teaches a model to fetch from afar.

    <authority> k k k <title> v v           somewhere in a text: a fact, key and value
    <query>     k k k <title> v v           later: the question, and its answer

The three marks are special tokens of V4 that plain text never holds; keys and values are ordinary tokens, a to z and
0 to 9, which the text around is full of. Not here: positions (positions.py), how much of it is learnt when (recipe.py).
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from v4mini.shapes import Refused
from v4mini.text.special import AUTHORITY, DOMAIN, QUERY, TITLE

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
MARKS = (AUTHORITY, TITLE, QUERY)
VALUE = 2                                               # tokens of a value
LONGEST_TEXT = 60                                       # tokens between two of them


class Marks(NamedTuple):
    """The token ids that facts are written with."""

    fact: int
    is_: int
    ask: int
    length: int | None                                  # asks how long the text is (lengths.py)
    letters: np.ndarray                                 # [36]

    @classmethod
    def of(cls, tokenizer):                             # -> Marks
        """Those of a tokenizer. Raises Refused if it cannot write them."""
        missing = [name for name in MARKS if name not in tokenizer.special]
        if missing:
            raise Refused(f"facts: wanted the special token {missing[0]}, got a tokenizer without. Use the bundled one or V4's.")
        return cls(*(tokenizer.special[name] for name in MARKS), tokenizer.special.get(DOMAIN),
                   np.array([tokenizer.encode(letter)[0] for letter in LETTERS]))


@dataclass(frozen=True)
class Difficulty:
    """How hard the questions of a row are."""

    keys: tuple[int, ...] = (3,)        # lengths of keys, each as likely
    gap: float = 8.0                    # mean tokens of text between two facts or questions
    far: float = 0.8                    # share of questions about facts further back than `window`
    similar: float = 0.3                # share of keys that differ from an earlier one in a single token
    window: int = 128
    spread: float = 1.0                 # each row's own gap is up to so many times as long, log-uniformly


def fact_row(rng, text, marks, tokens, difficulty):     # -> ids [tokens] int64, is_answer [tokens] bool
    """One row of text, facts and ever more questions. Every fact is asked for once at most."""
    row = []
    answers = []
    facts = {}
    open_keys = []
    gap = difficulty.gap * (difficulty.spread**rng.random() if difficulty.spread > 1 else 1)
    while len(row) < tokens:
        length = min(int(rng.geometric(1 / gap)), LONGEST_TEXT)
        start = int(rng.integers(len(text) - LONGEST_TEXT))
        row += text[start: start + length].tolist()
        answers += [False] * length
        key = None
        if open_keys and rng.random() < 0.15 + 0.7 * min(1.0, len(row) / tokens):
            key = _asked(rng, open_keys, facts, len(row), difficulty)
        if key is None:
            key = new_key(rng, facts, marks, int(rng.choice(difficulty.keys)), difficulty.similar)
            facts[key] = tuple(rng.choice(marks.letters, VALUE).tolist()), len(row)
            open_keys.append(key)
            row += written(marks, marks.fact, key, facts[key][0])
            answers += [False] * (len(key) + 2 + VALUE)
        else:
            open_keys.remove(key)
            row += written(marks, marks.ask, key, facts[key][0])
            answers += [False] * (len(key) + 2) + [True] * VALUE
    return np.array(row[:tokens]), np.array(answers[:tokens])


def _asked(rng, open_keys, facts, now, difficulty):     # -> key, or None: nothing to ask that is far enough
    old = [key for key in open_keys if now - facts[key][1] > difficulty.window]
    among = old if rng.random() < difficulty.far else open_keys
    return among[int(rng.integers(len(among)))] if among else None


def written(marks, mark, key, value):                   # -> [ids]
    """A fact or a question with its answer, as tokens."""
    return [mark, *key, marks.is_, *value]


def new_key(rng, taken, marks, length, similar):        # -> tuple of ids, not among `taken`
    """A key nobody has; with probability `similar` it differs in one token from one that somebody has."""
    same = [key for key in taken if len(key) == length]
    if len(same) > 0.6 * len(marks.letters)**length:    # one-token keys run out
        length, same = length + 1, [key for key in taken if len(key) == length + 1]
    while True:
        key = rng.choice(marks.letters, length).tolist()
        if same and rng.random() < similar:
            near = list(same[int(rng.integers(len(same)))])
            place = int(rng.integers(length))
            near[place] = key[place]
            key = near
        if tuple(key) not in taken:
            return tuple(key)


class Needle(NamedTuple):
    """A fact in a haystack."""

    place: int                                          # of its first token
    key: tuple
    value: tuple


def haystack(rng, text, marks, tokens, needles, others=0, similar=0.0, keys=3):     # -> ids [tokens], [Needle]
    """Text with `needles` facts at all depths, evenly, and `others` anywhere. Facts overwrite text; each at any phase.

    similar: share of the others' keys that differ from an earlier key in one token.
    """
    width = keys + 2 + VALUE
    cell = 16
    cells = tokens // cell
    if needles + others > cells:
        raise Refused(f"haystack: expected at most {cells} facts in {tokens} tokens, got {needles + others}. Take a longer one.")
    start = int(rng.integers(max(1, len(text) - tokens)))
    ids = np.resize(text[start: start + tokens], tokens).astype(np.int64)
    even = np.linspace(0, cells - 1, needles).astype(int)
    rest = rng.permutation(np.setdiff1d(np.arange(cells), even))[:others]
    found = []
    taken = {}
    for number, place in enumerate([*even, *rest]):
        key = new_key(rng, taken, marks, keys, similar if number >= needles else 0.0)
        value = tuple(rng.choice(marks.letters, VALUE).tolist())
        taken[key] = value
        first = int(place) * cell + int(rng.integers(cell - width + 1))
        ids[first: first + width] = written(marks, marks.fact, key, value)
        found.append(Needle(first, key, value))
    return ids, found[:needles]
