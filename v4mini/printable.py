"""A stranger's text made harmless to a terminal. Not here: where it comes from (untrusted.py)."""

import json
import unicodedata

# Control characters move the cursor, colour, retitle or answer for the user; format characters hide text or turn its order;
# line separators begin a line that nobody wrote; half a surrogate pair cannot be printed at all.
_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text, keep=""):           # -> text
    """`text` with every control, format and line character as ⟨its UTF-8 bytes⟩, except those in `keep`.

    Letters of every script stay as they are, wide spaces and emoji too; a joined emoji needs keep="\\u200d".
    """
    if text.isprintable():
        return text
    return "".join(c if c in keep or unicodedata.category(c) not in _HARMFUL
                   else f"⟨{c.encode('utf-8', 'surrogatepass').hex()}⟩" for c in text)


def printable_json(text):               # JSON -> the same JSON
    """Harmful characters inside its strings as JSON's own escapes, so that nothing is lost for whoever parses it."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in _HARMFUL else json.dumps(c)[1:-1] for c in text)
