"""The routing explorer: click a word or an expert and see who answers for whom, token by token and layer by layer.

Not here: running the model (what_if.py), other sources of a routing (reading.py), pictures and tables from arrays
(viz/routing.py), what all explorers share (explorer.py), what the page does with a hand (routing.js).
"""

from dataclasses import asdict, replace

import numpy as np
from traitlets import Bool, Dict, Int, Set, Unicode, observe, validate

from v4mini.shapes import Refused
from v4mini.viz import routing as views
from v4mini.widgets.corpus import own_sources, read_corpus
from v4mini.widgets.explorer import Explorer, in_range
from v4mini.widgets.packed import pack_corpus, pack_reading
from v4mini.widgets.reading import Reading, read_text
from v4mini.widgets.what_if import AS_IT_IS, WhatIf

TEXT = "def add(self, a, b):\n    return self.a + self.b\n"
SWITCHES = ("top_k", "use_bias", "use_table", "use_shared", "off", "moved")
PLACES = ("layer", "token", "expert")


class RoutingExplorer(Explorer):
    """Show it as the last line of a cell; or set layer, token, text and the switches from code, and ask for views.

    A switch runs the whole model again with the changed router, so a different choice reaches all later layers.
    The picture and the tables need no widgets: draw(figure), choice(), answers(), print(explorer).

    model, tokenizer: as v4.load and v4.Tokenizer.load give them; or `reading`, one of read_recording, read_vllm, read_experts:
    then nothing can be run, so text and switches stay as they are. beside: a text, a Reading or another explorer (of another
    model, say) to be shown at its side. corpus: the texts over which an expert's tokens are counted when asked for.
    """

    script, places, hint = "routing", PLACES, "for words and experts to click on"
    text = Unicode(TEXT)
    layer = Int(0)
    token = Int(0)
    expert = Int(0)
    top_k = Int(1)              # experts a token
    use_bias = Bool(True)
    use_table = Bool(True)
    use_shared = Bool(True)
    off = Set()                 # {(layer, expert)}
    moved = Dict()              # {(layer, expert): by}, added to the bias

    def __init__(self, model=None, tokenizer=None, text=TEXT, layer=0, token=0, *, reading=None, beside=None, corpus=None):
        if (model is None) == (reading is None):
            raise Refused("RoutingExplorer: expected a model or a reading, got both or none.")
        self.model, self.tokenizer, self._texts, self._counted = model, tokenizer, corpus, None
        self._ready = False
        self._usual = reading.layers[-1].chosen.shape[1] if model is None else model.config.n_activated_experts
        super().__init__(text=text if reading is None else "", top_k=self._usual)
        self._read(reading)
        self.beside = _as_reading(beside, model, tokenizer)
        self._ready = True
        self.layer, self.token = layer, token
        self.expert = int(self.routes.chosen[self.token, 0])

    # ---- plain data ----

    @property
    def what_if(self):                                  # -> WhatIf
        moved = tuple(sorted((*place, by) for place, by in self.moved.items() if by))
        return WhatIf(None if self.top_k == self._usual else self.top_k, self.use_bias, self.use_table, self.use_shared,
                      frozenset(self.off), moved)

    @property
    def layers(self):                                   # -> [Routes]
        return self._now.layers

    @property
    def routes(self):                                   # -> Routes of the selected layer
        return self.layers[self.layer]

    @property
    def load(self):                                     # -> [L, E] int
        """Tokens per expert in each layer."""
        return self._now.load

    @property
    def corpus(self):                                   # -> Corpus, counted when first asked for, with the model as it is
        """What each expert is asked about over many texts; by default the sources of v4mini.ops."""
        self._needs_a_model("corpus")
        if self._counted is None:
            self._counted = read_corpus(self.model, self.tokenizer, self._texts or own_sources())
        return self._counted

    def together(self, layer):                          # -> [E, E] int
        """How many tokens ask two experts of a layer at once; the diagonal is the load."""
        return self._now.together(layer)

    def probability(self, token, id, as_it_is=False):   # -> float: of `id` to come next behind `token`
        """With the switches as they stand, or the model as it is. Refused for a recording, which holds no logits."""
        self._needs_a_model("probability")
        return float((self._own if as_it_is else self._now).probability(token)[id])

    def choice(self):                                   # -> header, rows
        """The selected token in the selected layer: every expert's score, affinity, bias, and what became of it."""
        own, t = self.routes, self.token
        if own.affinities is None:
            return ["expert", "chosen"], [[int(expert), "yes"] for expert in own.chosen[t]]
        return views.choice_rows(None if own.scores is None else own.scores[t], own.affinities[t], own.chosen[t], own.weights[t],
                                 own.bias)

    def answers(self):                                  # -> header, rows
        """The whole text in the selected layer: each expert's load, and the tokens it answers for."""
        return views.answer_rows(self.routes.chosen, self.pieces, self._now.n_experts)

    def draw(self, figure):
        """The explorer's picture on a matplotlib figure of yours (about 10 by 7 inches)."""
        if self.routes.affinities is None:
            raise Refused("draw: expected affinities, got expert numbers alone. Use answers() or load.")
        return views.draw_explorer(figure, [asdict(own) for own in self.layers], self.pieces, self.layer, self.token)

    def switch(self, layer, expert, on=False):
        """Switch one expert off, or on again: a gate then takes the next best; a table's other experts get its weight."""
        self.off = self.off - {(layer, expert)} if on else self.off | {(layer, expert)}

    def move_bias(self, layer, expert, by):
        """Add `by` to an expert's bias; 0 takes it back."""
        self.moved = {place: old for place, old in self.moved.items() if place != (layer, expert)} | {(layer, expert): float(by)}

    def difference(self):                               # -> a sentence on what the switches changed
        if self.model is None:
            return "This is a recording: it can be looked at, not run."
        if self.what_if == AS_IT_IS:
            return "The router is the model's own."
        moved = views.changed(self._own.layers[self.layer].chosen, self.routes.chosen)
        said = self._now.logits.argmax(1) != self._own.logits.argmax(1)
        return (f"What if: {', '.join(self._switched())}. {_of(moved)} tokens have other experts in layer {self.layer} than "
                f"in the model as it is; the best next token is another after {_of(said)}.")

    def reset(self):
        """All switches back to the model's own router."""
        with self.hold_trait_notifications():
            self.top_k, self.use_bias, self.use_table, self.use_shared = self._usual, True, True, True
            self.off, self.moved = set(), {}

    def __repr__(self):
        own, t = self.routes, self.token
        experts = " and ".join(map(str, own.chosen[t].tolist()))
        weights = "" if own.weights is None else " with weight " + " and ".join(f"{weight:.2f}" for weight in own.weights[t])
        switched = f"; {', '.join(self._switched())}" if self._switched() else ""
        return (f"RoutingExplorer, {_tokens(len(self.ids))}{switched}: in layer {self.layer} the {own.kind} sends token {t}, "
                f"{self.pieces[t]!r}, to {'expert' if own.chosen.shape[1] == 1 else 'experts'} {experts} "
                f"of {self._now.n_experts}{weights}.")

    def tables(self):                                   # -> [(caption, header, rows)]
        """choice() and answers()."""
        return [("", *self.choice()), ("", *self.answers())]

    # ---- one run of the model ----

    def _read(self, reading=None):
        self._own = self._now = read_text(self.model, self.tokenizer, self.text) if reading is None else reading
        self.ids, self.pieces, self.left_out = self._own.ids, self._own.pieces, self._own.left_out
        if self.model is not None:
            self._route()

    def _route(self):
        self._needs_a_model("what if")
        self._now = self._own if self.what_if == AS_IT_IS else read_text(self.model, self.tokenizer, self.text, self.what_if)

    def _needs_a_model(self, what):
        if self.model is None:
            raise Refused(f"{what}: expected an explorer with a model, got a recording. It can be looked at, not run again.")

    def _switched(self):                                # -> [what is not as it was]
        words = [(f"{self.top_k} experts a token instead of {self._usual}", self.top_k != self._usual),
                 ("bias off", not self.use_bias), ("table off", not self.use_table), ("shared expert off", not self.use_shared)]
        return [*(text for text, on in words if on), *(f"expert {e} of layer {i} off" for i, e in sorted(self.off)),
                *(f"bias of expert {e} in layer {i} {by:+.2f}" for i, e, by in self.what_if.moved)]

    def _range(self, name):                             # -> smallest, largest
        return {"layer": (0, len(self._own.layers) - 1), "token": (0, len(self.ids) - 1), "expert": (0, self._own.n_experts - 1),
                "top_k": (1, self._own.n_experts)}[name]

    @validate("layer", "token", "expert", "top_k")
    def _in_range(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if not self._ready:
            return value
        return in_range(name, value, *self._range(name))

    @observe("text", *SWITCHES)
    def _changed(self, change):
        if not self._ready:
            return
        if change["name"] == "text":
            self._needs_a_model("text")
            self._read()
            self.token = min(self.token, len(self.ids) - 1)
        else:
            try:
                self._route()
            except Refused:                             # such as an expert too many switched off: nothing has moved
                self._ready = False
                setattr(self, change["name"], change["old"])
                self._ready = True
                raise
        self._send()

    # ---- the page ----

    def _once(self):
        return {"other": pack_reading(self.beside) if self.beside else {}}

    def _data(self):
        about = {"text": self.text, "usual": self._usual, "can_run": self.model is not None, "difference": self.difference(),
                 "scale": 1.0 if self.model is None else self.model.config.route_scale,
                 "switches": {"top_k": self.top_k, "use_bias": self.use_bias, "use_table": self.use_table,
                              "use_shared": self.use_shared, "off": sorted(map(list, self.off)),
                              "moved": [[*place, by] for place, by in sorted(self.moved.items())]}}
        now = {} if self._now is self._own else pack_reading(self._now, self.tokenizer, self._own)
        return {"data": pack_reading(self._own, self.tokenizer), "now": now | {"about": about}}

    def _hear(self, asked):
        if "text" in asked:
            self.text = str(asked["text"])
        if "switches" in asked:
            self._take(asked["switches"])
        if "corpus" in asked:
            self._view.corpus = pack_corpus(self.corpus, self._own.n_experts)

    def _take(self, switches):
        """All switches at once, and one run of the model."""
        off, moved = ({tuple(place) for place in switches["off"]}, {(i, e): float(by) for i, e, by in switches["moved"]})
        before = {name: getattr(self, name) for name in SWITCHES}
        self._ready = False
        try:
            self.top_k, self.off, self.moved = int(switches["top_k"]), off, moved
            self.use_bias, self.use_table, self.use_shared = (bool(switches[name]) for name in SWITCHES[1:4])
            self._route()
        except Refused:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        finally:
            self._ready = True
        self._send()


def _as_reading(beside, model, tokenizer):              # -> Reading or None
    if beside is None or isinstance(beside, Reading):
        return beside
    other = beside._now if isinstance(beside, RoutingExplorer) else read_text(model, tokenizer, beside)
    return replace(other, source="the other text")


def _tokens(count):                                     # -> "1 token", "2 tokens"
    return f"{count} token" + "s" * (count != 1)


def _of(flags):                                         # -> "3 of 18"
    return f"{int(np.sum(flags))} of {len(flags)}"
