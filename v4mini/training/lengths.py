"""How long is the text so far? A question whose answer stands nowhere in the text: it must be counted.

    text <domain> <title> d         a: fewer than 128 tokens before the answer, b: 128 or more, c: 256, d: 512, e: 1,024, ...

One question ends each text, so no answer lies about that could be copied, and texts start at any position. Beyond its width a
window always holds as many rows, and an indexer always picks as many entries; heavy entries grow in number with the text.
Not here: facts (facts.py), how much of it is learnt when (recipe.py).
"""

import numpy as np

from v4mini.shapes import Refused
from v4mini.text.special import DOMAIN

UNIT = 128                  # tokens; from here on a letter for each doubling
SHORTEST = 64
QUESTION = 3                # tokens, the answer among them


def length_letter(tokens):                              # int -> number of a letter: 0 for a
    """The answer after so many tokens."""
    return (tokens // UNIT).bit_length()


def length_row(rng, text, marks, tokens):    # text [n] ids -> ids [tokens], is_answer [tokens]
    """Text that ends with the question and its answer; repeated where there is too little of it.

    Raises Refused where the tokenizer has no <domain>, and for fewer than SHORTEST tokens.
    """
    if marks.length is None or tokens < SHORTEST:
        raise Refused(f"lengths: expected a tokenizer with {DOMAIN} and texts of {SHORTEST} tokens or more, got texts of "
                      f"{tokens}. Leave them out of the mix.")
    start = int(rng.integers(max(1, len(text) - tokens)))
    ids = np.resize(text[start: start + tokens], tokens).astype(np.int64)
    ids[-QUESTION:] = marks.length, marks.is_, marks.letters[length_letter(tokens - 1)]
    return ids, np.arange(tokens) == tokens - 1


def length_rows(rng, text, marks, tokens):   # -> [(ids, is_answer), ...], together `tokens` long
    """Texts of all lengths. The length of the first is drawn evenly: half of all rows hold a text of more than half a row."""
    rows = []
    while tokens:
        length = drawn_length(rng, tokens) if rows else int(rng.integers(min(tokens, SHORTEST), tokens + 1))
        length = tokens if tokens - length < SHORTEST else length
        rows.append(length_row(rng, text, marks, length))
        tokens -= length
    return rows


def drawn_length(rng, longest):                         # -> int, log-uniform
    return int(np.exp(rng.uniform(np.log(SHORTEST), np.log(longest + 1))))
