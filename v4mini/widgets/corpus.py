"""What each expert is asked about over many texts: counts, and the same counts in each half of the texts as a control.

Not here: one text (reading.py), the tables of a page (routing.py).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from v4mini.viz.routing import load
from v4mini.widgets.reading import read_text

TOP = 12                        # tokens named for one expert
MOST_TOKENS = 256               # read of one text


def own_sources():                                      # -> [texts]: what is at hand on every machine
    """The source files of v4mini.ops, in the order of their names."""
    folder = Path(__file__).parents[1] / "ops"
    return [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))]


@dataclass(frozen=True)
class Corpus:
    """The routing of many texts, one behind the other; BOS is left out."""

    ids: np.ndarray             # [N]
    pieces: dict                # {id: text}
    chosen: list                # by layer: [N, K]
    half: int                   # tokens of the first half of the texts

    def times(self, layer, expert, id, part=slice(None)):       # -> int
        """How often a token `id` asked this expert. part: which of the N tokens count."""
        asked = (self.chosen[layer][part] == expert).any(axis=1)
        return int(np.sum(asked & (self.ids[part] == id)))

    def occurrences(self, id):                          # -> int
        return int(np.sum(self.ids == id))

    def top(self, layer, expert):                       # -> [(id, times, occurrences, in first half, in second half)]
        """The tokens that asked this expert most often, the most frequent first."""
        asked = (self.chosen[layer] == expert).any(axis=1)
        first, second = (Counter(self.ids[part][asked[part]].tolist()) for part in (slice(self.half), slice(self.half, None)))
        return [(id, times, self.occurrences(id), first[id], second[id]) for id, times in (first + second).most_common(TOP)]

    def load(self, n_experts):                          # -> [L, E] int
        """Tokens per expert in each layer."""
        return np.array([load(chosen, n_experts) for chosen in self.chosen])


def read_corpus(model, tokenizer, texts):               # -> Corpus
    """Run `model` on the first MOST_TOKENS tokens of each text by itself."""
    readings = [read_text(model, tokenizer, text, most=MOST_TOKENS) for text in texts]
    lengths = [len(reading.ids) - 1 for reading in readings]
    pieces = {id: piece for reading in readings for id, piece in zip(reading.ids[1:], reading.pieces[1:])}
    chosen = [np.concatenate([own.chosen[1:] for own in layer]) for layer in zip(*(reading.layers for reading in readings))]
    ids = np.concatenate([np.asarray(reading.ids[1:], np.int64) for reading in readings])
    return Corpus(ids, pieces, chosen, sum(lengths[: (len(lengths) + 1) // 2]))
