"""Tables as HTML for the outputs kept in a notebook and for pages without scripts. Not here: what they say (explorer.py)."""

from html import escape

WORDS = ("answers for", "text")            # columns that hold words: to the left
LEFT = ' style="text-align:left;white-space:normal"'


def table(header, rows, caption=""):                    # -> HTML
    """Hardly any looks of its own: the page brings them."""
    looks = [LEFT if name in WORDS else "" for name in header]
    parts = ["".join(f"<th{look}>{name}</th>" for name, look in zip(header, looks))]
    parts += ["".join(f"<td{look}>{escape(str(value))}</td>" for value, look in zip(row, looks)) for row in rows]
    body = "".join(f"<tr>{part}</tr>" for part in parts)
    return f"<table>{f'<caption>{escape(caption)}</caption>' if caption else ''}{body}</table>"
