"""What all explorers share: values that code and a hand may set, a page that is made when it is first shown, tables without one.

Not here: what an explorer computes (attention.py, routing.py ...), how a page gets its script (view.py).
"""

from html import escape

from traitlets import HasTraits

from v4mini.shapes import Refused
from v4mini.viz.tables import text_table
from v4mini.widgets import page, view


class Explorer(HasTraits):
    """Show it as the last line of a cell. What a page can do by hand can be done by setting attributes, too.

    script: the page's file; places: attributes that the page sets and that set the page. An explorer says in `tables` what it
    shows, in `_data` what its page is sent, in `_hear` what it does when a hand asks for something.
    """

    script = ""
    places = ()
    _view = None
    _hears = False

    def tables(self):                                   # -> [(caption, header, rows)]
        """The tables of a page without scripts; print(explorer) has them too."""
        raise NotImplementedError

    def _data(self):                                    # -> {attribute of the page: dict}, sent again when something changes
        raise NotImplementedError

    def _once(self):                                    # -> the same, sent only when the page is made
        return {}

    def _hear(self, asked):
        pass

    def _repr_mimebundle_(self, include=None, exclude=None):
        tables = "".join(page.table(header, rows, caption) for caption, header, rows in self.tables())
        bundle = {"text/plain": repr(self), "text/html": f"<p>{escape(repr(self))}</p>{tables}<p>Run this cell {self.hint}.</p>"}
        if view.has_anywidget():
            bundle["application/vnd.jupyter.widget-view+json"] = {"version_major": 2, "version_minor": 0,
                                                                  "model_id": self.view.model_id}
        return bundle

    def __str__(self):
        return "\n\n".join([repr(self), *(text_table(header, rows) for _, header, rows in self.tables())])

    @property
    def view(self):                                     # -> anywidget.AnyWidget, made when first asked for
        """The page's widget. Raises ImportError without anywidget."""
        if self._view is None:
            self._view = view.new_view(self.script, place=self._place(), **self._once(), **self._data())
            self._view.observe(self._answer, "asked")
            if self.places:
                self.observe(self._placed, list(self.places))
        return self._view

    def _place(self):
        return {name: getattr(self, name) for name in self.places}

    def _placed(self, change):
        if not self._hears:                             # the page knows where its own hand went
            self._view.place = self._place()

    def _send(self):
        if self._view is not None:
            with self._view.hold_sync():
                for name, value in (self._data() | {"said": ""}).items():
                    setattr(self._view, name, value)

    def _answer(self, change):                          # what a hand did on the page
        asked, self._hears = change["new"], True
        try:
            for name in self.places:
                if name in asked:
                    setattr(self, name, type(getattr(self, name))(asked[name]))
            self._hear(asked)
        except Refused as refused:
            self._send()                                # the page goes back to what holds
            self._view.said = str(refused)
        finally:
            self._hears = False


def in_range(name, value, low, high):                   # -> value
    """Raise Refused unless low <= value <= high."""
    if not low <= value <= high:
        raise Refused(f"{name}: expected {low} to {high}, got {value}.")
    return value
