"""glossary and sizes: the course's words and the letters of its shapes, one call away in every lesson.

Not here: the words themselves (terms.py) and the letters (v4mini/shapes.py).
"""

import difflib

from v4mini.lessons.places import notebooks
from v4mini.lessons.terms import TERMS
from v4mini.shapes import LETTERS, Refused
from v4mini.viz.tables import text_table


def glossary(word=None):
    """Print what a word means and which lesson introduces it; without a word, all of them. Raises Refused for an unknown one."""
    if word is None:
        print(text_table(["lesson", "word", "meaning"], [[term.lesson, term.name, term.meaning] for term in TERMS]))
        return
    term = _find(str(word))
    (notebook,) = notebooks([term.lesson])
    print(f"{term.name}: {term.meaning} (lesson {term.lesson}, {notebook.name})")


def sizes():
    """Print the letters that stand for array sizes, as in [T, H, hd], with their values in V4-Flash and in the bundled mini."""
    from v4mini.config import Config

    shown = [(Config.flash(), "V4-Flash"), (Config.mini(), "the mini")]
    rows = [[letter, meaning, *(_value(config, field) for config, _ in shown)] for letter, (meaning, field) in LETTERS.items()]
    print(text_table(["letter", "what it counts", *(name for _, name in shown)], rows))


def _value(config, field):
    return f"{getattr(config, field):,}" if field else "by the text"


def _find(word):                            # -> Term; in any case, one or several of it
    known = {name.lower(): term for term in TERMS for name in (term.name, f"{term.name}s")}
    for term in TERMS:
        if term.look_for != "" and term.uses.fullmatch(word):
            return term
    if word.lower() in known:
        return known[word.lower()]
    near = difflib.get_close_matches(word.lower(), known, n=2, cutoff=0.5)
    advice = f"Did you mean {' or '.join(known[name].name for name in near)}?" if near else "glossary() prints all of them."
    raise Refused(f"glossary: expected one of {len(TERMS)} words, got {word!r}. {advice}")
