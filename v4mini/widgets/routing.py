"""The routing explorer: type a text and see, token by token and layer by layer, which experts answer.

Not here: running the model (what_if.py), pictures and tables from arrays (viz/routing.py), their HTML (page.py).
"""

import io
import warnings
from dataclasses import asdict
from html import escape

import numpy as np
from traitlets import Bool, HasTraits, Int, Unicode, link, observe, validate

from v4mini.shapes import Refused
from v4mini.viz import routing as views
from v4mini.viz.tables import text_table
from v4mini.widgets import page
from v4mini.widgets.what_if import AS_IT_IS, WhatIf, read_routing

TEXT = "def add(self, a, b):\n    return self.a + self.b\n"
MOST_TOKENS = 256           # what is read of a long text; each change runs the model once on it
CHOSEN = 5                  # the column "chosen" of a choice


class RoutingExplorer(HasTraits):
    """Show it as the last line of a cell; or set layer, token, text and the switches from code, and ask for views.

    A switch runs the whole model again with the changed router, so a different choice reaches all later layers.
    The picture and the tables need no widgets: draw(figure), choice(), answers(), print(explorer).
    """

    text = Unicode(TEXT)
    layer = Int(0)
    token = Int(0)
    top_k = Int(1)              # experts a token
    use_bias = Bool(True)
    use_table = Bool(True)

    def __init__(self, model, tokenizer, text=TEXT, layer=0, token=0):
        self.model, self.tokenizer = model, tokenizer
        self._box, self._ready = None, False
        super().__init__(text=text, top_k=model.config.n_activated_experts)
        self._read()
        self._ready = True
        self.layer, self.token = layer, token

    # ---- plain data ----

    @property
    def what_if(self):                                  # -> WhatIf
        usual = self.model.config.n_activated_experts
        return WhatIf(None if self.top_k == usual else self.top_k, self.use_bias, self.use_table)

    @property
    def routes(self):                                   # -> Routes of the selected layer
        return self._layers[self.layer]

    def choice(self):                                   # -> header, rows
        """The selected token in the selected layer: every expert's score, affinity, bias, and what became of it."""
        own, t = self.routes, self.token
        return views.choice_rows(own.scores[t], own.affinities[t], own.chosen[t], own.weights[t], own.bias)

    def answers(self):                                  # -> header, rows
        """The whole text in the selected layer: each expert's load, and the tokens it answers for."""
        return views.answer_rows(self.routes.chosen, self.pieces, self.model.config.n_routed_experts)

    def draw(self, figure):
        """The explorer's picture on a matplotlib figure of yours (about 10 by 7 inches)."""
        return views.draw_explorer(figure, [asdict(own) for own in self._layers], self.pieces, self.layer, self.token)

    def png(self):                                      # -> bytes
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        from v4mini.viz import style

        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")       # the axis shows a box, the page the letter
            style.use()
            figure, file = Figure(figsize=(11, 7.2), dpi=120), io.BytesIO()
            self.draw(figure)
            FigureCanvasAgg(figure).print_png(file)                     # savefig would draw it twice
        return file.getvalue()

    def difference(self):                               # -> a sentence on what the switches changed
        if self.what_if == AS_IT_IS:
            return "The router is the model's own."
        moved = views.changed(self._own[self.layer].chosen, self.routes.chosen)
        said = self._logits.argmax(1) != self._own_logits.argmax(1)
        return (f"What if: {', '.join(self._switched())}. {_of(moved)} tokens have other experts in layer {self.layer} than "
                f"in the model as it is; its best next token changes after {_of(said)}.")

    def reset(self):
        """All switches back to the model's own router."""
        with self.hold_trait_notifications():
            self.top_k, self.use_bias, self.use_table = self.model.config.n_activated_experts, True, True

    def __repr__(self):
        own, t = self.routes, self.token
        experts = " and ".join(map(str, own.chosen[t].tolist()))
        weights = " and ".join(f"{weight:.2f}" for weight in own.weights[t])
        switched = f"; {', '.join(self._switched())}" if self._switched() else ""
        return (f"RoutingExplorer, {_tokens(len(self.ids))}{switched}: in layer {self.layer} the {own.kind} sends token {t}, "
                f"{self.pieces[t]!r}, to {'expert' if own.chosen.shape[1] == 1 else 'experts'} {experts} "
                f"of {own.scores.shape[1]} with weight {weights}.")

    def __str__(self):
        return "\n\n".join([repr(self), text_table(*self.choice()), text_table(*self.answers())])

    # ---- one run of the model ----

    def _read(self):
        encoded = self.tokenizer.encode(self.text)
        self.ids = [self.tokenizer.bos_id, *encoded[: MOST_TOKENS - 1]]
        self.left_out = len(encoded) + 1 - len(self.ids)
        self.pieces = ["BOS", *(self.tokenizer.piece(i) for i in self.ids[1:])]
        self._own, self._own_logits = read_routing(self.model, self.ids)
        self._route()

    def _route(self):
        self._layers, self._logits = self._own, self._own_logits
        if self.what_if != AS_IT_IS:
            self._layers, self._logits = read_routing(self.model, self.ids, self.what_if)

    def _switched(self):                                # -> [what is not as it was]
        usual = self.model.config.n_activated_experts
        return [words for words, on in ((f"{self.top_k} experts a token instead of {usual}", self.top_k != usual),
                                        ("bias off", not self.use_bias), ("table off", not self.use_table)) if on]

    def _range(self, name):                             # -> smallest, largest
        c = self.model.config
        if name == "top_k":
            return 1, c.n_routed_experts
        return 0, (c.n_layers if name == "layer" else len(self.ids)) - 1

    @validate("layer", "token", "top_k")
    def _in_range(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        low, high = self._range(name)
        if not low <= value <= high:
            raise Refused(f"{name}: expected {low} to {high}, got {value}.")
        return value

    @observe("text", "layer", "token", "top_k", "use_bias", "use_table")
    def _changed(self, change):
        if not self._ready:
            return
        if change["name"] == "text":
            self._read()
            with self.hold_trait_notifications():
                self.token = min(self.token, len(self.ids) - 1)
        elif change["name"] not in ("layer", "token"):
            self._route()
        if self._box is not None:
            self._show()

    # ---- the page ----

    def _repr_mimebundle_(self, include=None, exclude=None):
        for_all = (f"<p>{escape(repr(self))}</p>{page.table(*self.choice(), plain=True)}{page.table(*self.answers(), plain=True)}"
                   "<p>Run this cell for sliders and switches.</p>")
        widget = {kind: data for kind, data in self.box._repr_mimebundle_().items() if kind.endswith("widget-view+json")}
        return {"text/plain": repr(self), "text/html": for_all, **widget}

    @property
    def box(self):                                      # -> ipywidgets.VBox, made when first asked for
        if self._box is None:
            self._box = self._build()
            self._show()
        return self._box

    def _build(self):
        import ipywidgets as w

        def slider(name, words, width):
            low, high = self._range(name)
            return w.IntSlider(min=low, max=high, value=getattr(self, name), description=words, continuous_update=False,
                               style={"description_width": "initial"}, layout={"width": width})

        def switch(words):
            return w.ToggleButton(value=True, description=words, layout={"width": "140px"})

        text = w.Textarea(value=self.text, rows=3, continuous_update=False, layout={"width": "99%"},
                          placeholder="type any text, then click elsewhere")
        self._controls = c = {"text": text, "layer": slider("layer", "layer", "33%"), "token": slider("token", "token", "62%"),
                              "top_k": slider("top_k", "experts a token", "33%"), "use_bias": switch("bias chooses"),
                              "use_table": switch("table chooses")}
        reset = w.Button(description="as the model is", icon="undo", layout={"width": "150px"})
        reset.on_click(lambda _: self.reset())
        picture = w.Image(format="png", layout={"width": "99%"})
        self._views = {"strip": w.HTML(), "told": w.HTML(), "picture": picture, "tables": w.HTML()}
        rows = [text, w.HBox([c["layer"], c["token"]]), w.HBox([c["top_k"], c["use_bias"], c["use_table"], reset])]
        box = w.VBox([*rows, *self._views.values()], layout={"width": "100%", "max_width": "1150px"})
        for name, part in {**c, **self._views, "reset": reset, "routing": box}.items():
            part.add_class(f"v4mini-{name.replace('_', '-')}")
        for name, control in c.items():
            link((self, name), (control, "value"))
        return box

    def _show(self):
        self._controls["token"].max = len(self.ids) - 1
        for name in ("use_bias", "use_table"):
            self._controls[name].icon = "check" if getattr(self, name) else "times"
        shown = {"strip": self._strip(), "told": self._told(), "picture": self.png(), "tables": self._tables()}
        for name, value in shown.items():
            self._views[name].value = value

    def _strip(self):                                   # the text, cut into tokens
        loudest = self.routes.chosen[np.arange(len(self.ids)), self.routes.weights.argmax(1)]
        mine = loudest[self.token]
        rest = f"and {_tokens(self.left_out)} more, left out" if self.left_out else ""
        return (page.strip(self.pieces, self.token, loudest == mine, rest)
                + f"<small>framed: the selected token; shaded: expert {mine} counts most for them too in this layer</small>")

    def _told(self):
        own, t = self.routes, self.token
        by = "the table chooses by token id" if own.kind == "table" else "the gate chooses by affinity"
        by += "" if own.bias is None else " + bias"
        chosen = ", ".join(f"<b>{e}</b> with weight <b>{weight:.2f}</b>" for e, weight in zip(own.chosen[t], own.weights[t]))
        row = ""
        if own.table is not None:
            row = f" Its row in the table: token id {self.ids[t]} &rarr; experts {', '.join(map(str, own.table[t].tolist()))}."
        return (f'<div style="line-height:1.5">Layer <b>{self.layer}</b>: {by}. Token <b>{t}</b>, '
                f"<code>{escape(self.pieces[t])}</code>, goes to expert {chosen}.{row}<br>{escape(self.difference())}</div>")

    def _tables(self):
        return page.side_by_side((f"Token {self.token} in layer {self.layer}", page.table(*self.choice(), marked=CHOSEN)),
                                 (f"All tokens in layer {self.layer}", page.table(*self.answers())))


def _tokens(count):                                     # -> "1 token", "2 tokens"
    return f"{count} token" + "s" * (count != 1)


def _of(flags):                                         # -> "3 of 18"
    return f"{int(np.sum(flags))} of {len(flags)}"
