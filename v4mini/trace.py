"""Trace: named values of a run, for looking at. Not here: drawing them (viz/)."""

import numpy as np

ALWAYS = ("streams", "ffn.experts", "ffn.weights", "attn.index_picks")


class Trace(dict):
    """Collects what layers note, as arrays by name: trace["layers.3.ffn.experts"] is [T, K].

    Values that cost extra work are noted only when asked for: Trace("attn.weights").
    With several sequences a value that belongs to one of them is a list, one item a sequence. `always` are the names that are
    collected without being asked for.
    """

    def __init__(self, *extra, always=ALWAYS):
        super().__init__()
        self.wanted = {*always, *extra}

    def under(self, prefix):                            # -> the note of one layer
        return Note(self, prefix)

    def add(self, other):                               # Trace
        """What another trace of the same call collected, as far as it is wanted here."""
        for key, value in other.items():
            kind, number, name = key.split(".", 2)
            for one in value if isinstance(value, list) else [value]:
                self.under(f"{kind}.{number}")(name, one)


class Note:
    """note(name, value) stores under prefix.name; note.wants(name) tells whether anybody looks.

    host: how the engine that computed a value makes a NumPy array of it.
    """

    def __init__(self, trace, prefix, host=np.asarray):
        self.trace, self.prefix, self.host = trace, prefix, host

    def wants(self, name):
        return self.trace is not None and name in self.trace.wanted

    def __call__(self, name, value):
        if not self.wants(name):
            return
        key = f"{self.prefix}.{name}"
        value = tuple(map(self.host, value)) if isinstance(value, tuple) else self.host(value)
        if key in self.trace:
            held = self.trace[key]
            self.trace[key] = [*held, value] if isinstance(held, list) else [held, value]
        else:
            self.trace[key] = value
