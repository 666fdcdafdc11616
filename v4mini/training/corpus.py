"""Text as token ids, and rows of it in an order that never repeats within an epoch.

Not here: where texts come from (text/stdlib.py), other things to learn from (facts.py, synthetic.py).
"""

from dataclasses import dataclass

import numpy as np

from v4mini.shapes import Refused


@dataclass(frozen=True)
class Corpus:
    """Documents one after the other, each between BOS and EOS."""

    ids: np.ndarray             # [n] int64
    ends: np.ndarray            # [documents] int64, rising
    nbytes: int                 # of their text in UTF-8

    @classmethod
    def of(cls, texts, tokenizer):                      # strings -> Corpus
        """Encode texts. Raises Refused if there are none."""
        pieces = []
        nbytes = 0
        for text in texts:
            pieces.append([tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id])
            nbytes += len(text.encode("utf-8", "replace"))
        if not pieces:
            raise Refused("corpus: expected at least one text, got none.")
        return cls(np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces]), nbytes)

    def __len__(self):
        return len(self.ids)

    def counts(self, vocab_size):                       # -> [V] how often each id comes
        return np.bincount(self.ids, minlength=vocab_size)

    def cut(self, start, stop):                         # -> [[ids of one document's part], ...]
        """The tokens from start to stop, parted where a document ends."""
        inside = self.ends[(self.ends > start) & (self.ends < stop)]
        return np.split(self.ids[start:stop], inside - start)


class Rows:
    """Rows of `length` tokens that cover a corpus in random order, then again in another, beginning elsewhere.

    Its whole state are three numbers: what was drawn for this epoch, and how many rows of it are used.
    """

    def __init__(self, corpus, length, seed=None, used=0):
        if len(corpus) < 2 * length:
            raise Refused(f"corpus: expected at least {2 * length:,} tokens, two rows, got {len(corpus):,}. Take shorter rows.")
        self.corpus, self.length, self.seed, self.used = corpus, length, seed, used
        self._order = None

    def next(self, rng):                                # -> [[ids], ...], together `length` tokens
        """The next row. rng is asked only when an epoch begins."""
        if self.seed is None or self.used == self._count():
            self.seed = int(rng.integers(2**53))
            self.used = 0
            self._order = None
        if self._order is None:
            own = np.random.default_rng(self.seed)
            self._phase = int(own.integers(self.length))
            self._order = own.permutation(self._count())
        start = self._phase + int(self._order[self.used]) * self.length
        self.used += 1
        return self.corpus.cut(start, start + self.length)

    def _count(self):                                   # whole rows behind any phase
        return (len(self.corpus) - self.length + 1) // self.length
