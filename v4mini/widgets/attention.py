"""The attention explorer: click a word and see where it looks: rows of the window, entries picked or heavy, the sink.

Not here: the weights (looks.py), what all explorers share (explorer.py), what the page does with a hand (attention.js).
"""

import numpy as np
from traitlets import Int, Unicode, observe, validate

from v4mini.widgets.explorer import Explorer, in_range
from v4mini.widgets.looks import pack_looks, read_looks

KINDS = {"window": "window", "csa": "CSA", "hca": "HCA"}
MEAN = -1                       # as a head: the mean of all
SHOWN = 10                      # rows, entries or the sink in the table of what is read most


class AttentionExplorer(Explorer):
    """Show it as the last line of a cell; or set text, layer, token and head from code, and ask for tables.

    model, tokenizer: as v4.load and v4.Tokenizer.load give them. The model runs once for each text, with its own engine; what
    is shown are the weights of its softmax. head: MEAN (-1) is the mean of all heads.
    """

    script, places, hint = "attention", ("layer", "token", "head"), "for words to click on"
    text = Unicode()
    layer = Int(0)
    token = Int(0)
    head = Int(MEAN)

    def __init__(self, model, tokenizer, text, layer=0, token=0, head=MEAN):
        self.model, self.tokenizer = model, tokenizer
        self.ids = None
        super().__init__(text=text)
        self._read()
        self.layer, self.token, self.head = layer, token, head

    def weights(self, layer, token, head=MEAN):         # -> names, float32 [n], which sum to 1
        """All that a token reads, the oldest row first, then entries, then the sink, and its share; see Looks.read_by."""
        names, weights = self.looks[layer].read_by(token)
        return names, weights.mean(0) if head == MEAN else weights[head]

    def share(self, layer, token, head=MEAN):           # -> [3]: window, entries, sink
        """What falls on the window, on entries, on the sink."""
        shares = self.looks[layer].shares[token]
        return shares.mean(0) if head == MEAN else shares[head]

    def tables(self):                                   # -> [(caption, header, rows)]
        """By layer, by head, and what is read most."""
        return [(f"Token {self.token}, {self._whose()}, layer by layer", *self.layer_rows()),
                (f"Its heads in layer {self.layer}", *self.head_rows()),
                (f"What it reads most in layer {self.layer}, {self._whose()}", *self.most_read())]

    def layer_rows(self):                               # -> header, rows
        """The selected token in every layer: what is there to be read, and how its weight falls."""
        rows = []
        for layer, own in enumerate(self.looks):
            share = [_percent(value) for value in self.share(layer, self.token, self.head)]
            rows.append([layer, KINDS[own.kind], min(self.token + 1, own.window.shape[2]), self._entries(own), *share])
        return ["layer", "kind", "rows", "entries", "on rows", "on entries", "on the sink"], rows

    def head_rows(self):                                # -> header, rows
        """The selected token in the selected layer, head by head."""
        own = self.looks[self.layer]
        rows = [[head, f"{own.sinks[head]:+.2f}", *map(_percent, own.shares[self.token, head])] for head in range(len(own.sinks))]
        rows.append(["mean", "", *map(_percent, own.shares[self.token].mean(0))])
        return ["head", "sink", "on rows", "on entries", "on the sink"], rows

    def most_read(self):                                # -> header, rows
        """The rows, entries and sink that the selected token reads most."""
        names, weights = self.weights(self.layer, self.token, self.head)
        best = np.argsort(-weights, kind="stable")[:SHOWN]
        return ["read", "weight", "text"], [[self._named(names[i]), f"{weights[i]:.3f}", self._text_of(names[i])] for i in best]

    def __repr__(self):
        window, entries, sink = map(_percent, self.share(self.layer, self.token, self.head))
        own = self.looks[self.layer]
        far = "" if own.kind == "window" else f"{entries} on entries ({self._entries(own)}), "
        return (f"AttentionExplorer, {len(self.ids)} tokens: in layer {self.layer} ({KINDS[own.kind]}) token {self.token}, "
                f"{self.pieces[self.token]!r}, {self._whose()}, has {window} of its weight on "
                f"{min(self.token + 1, own.window.shape[2])} rows, {far}{sink} on the sink.")

    def _whose(self):
        return "mean of heads" if self.head == MEAN else f"head {self.head}"

    def _entries(self, own):                            # -> "3 of 9 picked", "all 2", "-"
        read = int((own.numbers[self.token] >= 0).sum())
        return "-" if own.kind == "window" else f"all {read}" if own.kind == "hca" else f"{read} of {own.seen(self.token)} picked"

    def _named(self, name):                             # -> "token 3", "entry 2", "sink"
        return "sink" if name[0] == "sink" else f"{'token' if name[0] == 'row' else 'entry'} {name[1]}"

    def _text_of(self, name):
        kind, number = name
        tokens = self.looks[self.layer].tokens_of(number) if kind == "entry" else [number] if kind == "row" else []
        return "".join(self.pieces[t] for t in tokens)

    # ---- one run of the model ----

    def _read(self):
        self.ids, self.pieces, self.looks, self.left_out = read_looks(self.model, self.tokenizer, self.text)

    @validate("layer", "token", "head")
    def _in_range(self, proposal):
        name = proposal["trait"].name
        top = {"layer": len(self.looks), "token": len(self.ids), "head": len(self.looks[0].sinks)}[name]
        return in_range(name, proposal["value"], MEAN if name == "head" else 0, top - 1)

    @observe("text")
    def _changed(self, change):
        if self.ids is not None:
            self._read()
            self.token = min(self.token, len(self.ids) - 1)
            self._send()

    def _data(self):
        return {"data": {"ids": self.ids, "pieces": self.pieces, "left_out": self.left_out, "text": self.text,
                         "layers": [pack_looks(own) for own in self.looks]}}

    def _hear(self, asked):
        if "text" in asked:
            self.text = str(asked["text"])


def _percent(share):
    return f"{share:.0%}"
