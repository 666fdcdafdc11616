"""Batches for each stage of a recipe: rows of text, facts and synthetic tasks, drawn from one random generator.

Not here: the rows themselves (corpus.py, facts.py, synthetic.py), which stage asks for what (recipe.py).
"""

import numpy as np

from v4mini.shapes import Refused
from v4mini.training import synthetic
from v4mini.training.batch import Batch
from v4mini.training.corpus import Rows
from v4mini.training.facts import Marks, fact_row
from v4mini.training.lengths import length_rows
from v4mini.training.positions import scattered

KINDS = ("text", "facts", "lengths", "copying", "brackets", "sums")
ANSWERS = 0.9               # of the weight of a row that is no text


class Batches:
    """All randomness of a training run is in `rng`; `state` and `restore` put it into a checkpoint."""

    def __init__(self, corpus, tokenizer, config, rng):
        self.corpus, self.tokenizer, self.span, self.rng = corpus, tokenizer, config.max_seq_len, rng
        self.marks = Marks.of(tokenizer)
        self.rows = None

    def batch(self, stage):                             # Stage -> Batch
        """The next `stage.rows` rows of `stage.length` tokens: each parts of documents, texts of all lengths, or one sequence."""
        kinds = self.rng.choice(list(stage.mix), stage.rows, p=np.array(list(stage.mix.values())) / sum(stage.mix.values()))
        sequences, weights, positions = [], [], []
        for kind in kinds:
            parts = self.row(str(kind), stage)
            for ids, weight in parts:
                jumps = self.rng.random() < (stage.text_jumps if kind == "text" else 1.0)
                sequences.append(ids)
                weights.append(weight)
                positions.append(scattered(self.rng, len(ids), self.span, jumps))
        return Batch(np.concatenate(sequences), np.cumsum([len(ids) for ids in sequences]), np.concatenate(positions),
                     np.concatenate(weights))

    def row(self, kind, stage):                         # -> [(ids [n], weights [n]), ...], together stage.length tokens
        """One row of a kind. Raises Refused for a kind that does not exist."""
        if kind == "text":
            if self.rows is None or self.rows.length != stage.length:
                self.rows = Rows(self.corpus, stage.length)
            return [(ids, np.ones(len(ids), np.float32)) for ids in self.rows.next(self.rng)]
        if kind == "facts":
            found = [fact_row(self.rng, self.corpus.ids, self.marks, stage.length, stage.difficulty)]
        elif kind == "lengths":
            found = length_rows(self.rng, self.corpus.ids, self.marks, stage.length)
        elif kind in KINDS:
            found = [getattr(synthetic, kind)(self.rng, self.corpus.ids, self.tokenizer, stage.length)]
        else:
            raise Refused(f"mix: expected some of {', '.join(KINDS)}, got {kind!r}.")
        weights = row_weights(np.concatenate([is_answer for _, is_answer in found]))
        ends = np.cumsum([len(ids) for ids, _ in found])[:-1]
        return list(zip([ids for ids, _ in found], np.split(weights, ends)))

    def state(self):                                    # -> plain JSON values
        """What `restore` needs to go on with the very next batch."""
        rows = self.rows and {"length": self.rows.length, "seed": self.rows.seed, "used": self.rows.used}
        return {"rng": self.rng.bit_generator.state, "rows": rows}

    def restore(self, state):
        """Go on where another Batches over the same texts was."""
        self.rng.bit_generator.state = state["rng"]
        self.rows = state["rows"] and Rows(self.corpus, **state["rows"])


def row_weights(is_answer, share=ANSWERS):              # [T] bool -> [T] float32, their sum T
    """What the prediction after each token weighs: the answers `share` of the row, all else the rest, evenly.

    A row of a synthetic task weighs as much as a row of text, however few answers it has.
    """
    T = len(is_answer)
    known = is_answer[1:]
    weights = np.zeros(T, np.float32)
    answers = int(known.sum())
    rest = T - 1 - answers
    if answers == 0 or rest == 0:
        weights[:-1] = T / (T - 1)
    else:
        weights[:-1] = np.where(known, share * T / answers, (1 - share) * T / rest)
    return weights
