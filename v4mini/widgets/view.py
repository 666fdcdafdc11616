"""An explorer's place on a page: one anywidget, which sends data to a script of ours and hears what a hand does there.

A script is made of files one behind the other, those that explorers share first: a module without imports, nothing is fetched.
Not here: what is sent (packed.py), what is done with an answer (explorer.py).
"""

from pathlib import Path

FOLDER = Path(__file__).parent
PARTS = {"routing": ("kit", "heat", "tokens", "reading", "routing", "routing_tables"),
         "attention": ("kit", "heat", "tokens", "attention"), "memory": ("kit", "memory"),
         "mixer": ("kit", "heat", "mixer"), "dial": ("kit", "dial")}


def has_anywidget():                                    # -> bool; without it explorers show their tables
    """Is the package there that carries a page's script?"""
    try:
        import anywidget  # noqa: F401
    except ImportError:
        return False
    return True


def source(name):                                       # "routing" -> the module's text
    return "\n".join((FOLDER / f"{part}.js").read_text(encoding="utf-8") for part in PARTS[name])


def new_view(name, **data):
    """A widget whose page runs NAME.js. data: what it is sent first; `asked` is what comes back, a dict that changes.

    Raises ImportError without anywidget.
    """
    import anywidget
    from traitlets import Dict, Unicode

    class View(anywidget.AnyWidget):
        """data: sent to the page; asked: what a hand wants; said: an error, in words."""

        _esm = source(name)
        _css = (FOLDER / "kit.css").read_text(encoding="utf-8")
        data = Dict().tag(sync=True)
        now = Dict().tag(sync=True)
        other = Dict().tag(sync=True)
        corpus = Dict().tag(sync=True)
        place = Dict().tag(sync=True)
        asked = Dict().tag(sync=True)
        said = Unicode().tag(sync=True)

    return View(**data)
