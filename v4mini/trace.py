"""Trace: named values of a run, for looking at. Not here: drawing them (viz/)."""

import numpy as np

ALWAYS = ("streams", "ffn.experts", "ffn.weights", "attn.index_picks")


class Trace(dict):
    """Collects what layers note, as arrays by name: trace["layers.3.ffn.experts"] is [T, K].

    Values that cost extra work are noted only when asked for: Trace("attn.weights").
    With several sequences a value that belongs to one of them is a list, one item a sequence.
    """

    def __init__(self, *extra):
        super().__init__()
        self.wanted = {*ALWAYS, *extra}

    def under(self, prefix):                            # -> the note of one layer
        return Note(self, prefix)


class Note:
    """note(name, value) stores under prefix.name; note.wants(name) tells whether anybody looks."""

    def __init__(self, trace, prefix):
        self.trace, self.prefix = trace, prefix

    def wants(self, name):
        return self.trace is not None and name in self.trace.wanted

    def __call__(self, name, value):
        if not self.wants(name):
            return
        key = f"{self.prefix}.{name}"
        value = tuple(map(np.asarray, value)) if isinstance(value, tuple) else np.asarray(value)
        if key in self.trace:
            held = self.trace[key]
            self.trace[key] = [*held, value] if isinstance(held, list) else [held, value]
        else:
            self.trace[key] = value
