"""Pieces of a page: tables, a text cut into tokens, as HTML for light and dark. Not here: what they say (routing.py)."""

from html import escape

WORDS = ("answers for",)            # columns that hold words: to the left, all others to the right

TOKEN = "border-radius:3px;padding:1px 3px;margin:2px;display:inline-block;font-family:monospace;line-height:1.5"


def table(header, rows, marked=None, plain=False):      # -> HTML; marked: the column that makes a row bold
    """plain: no looks of its own, for pages that bring theirs and for the outputs kept in a notebook."""
    cell, line, whole = "", "", ""
    if not plain:
        cell, line = "padding:2px 10px;border:0;white-space:nowrap", "border-top:1px solid #8884"
        whole = "border-collapse:collapse;margin-top:4px;line-height:1.5"
    looks = [cell + _aligned(name in WORDS, plain) for name in header]
    parts = ["".join(f"<th{_style(look)}>{name}</th>" for name, look in zip(header, looks))]
    lines = [""]
    for row in rows:
        parts.append("".join(f"<td{_style(look)}>{escape(str(value))}</td>" for value, look in zip(row, looks)))
        lines.append(line + (";font-weight:bold" if marked is not None and row[marked] else ""))
    body = "".join(f"<tr{_style(look)}>{part}</tr>" for part, look in zip(parts, lines))
    return f"<table{_style(whole)}>{body}</table>"


def strip(pieces, selected, shaded, left_out=""):       # [T] texts, int, [T] bool -> HTML
    """The text as a row of tokens: one framed, some shaded. left_out: a remark at its end."""
    spans = []
    for t, piece in enumerate(pieces):
        look = "background:#56B4E966;" if shaded[t] else ""
        look += f"outline:{'2px solid #D55E00' if t == selected else '1px solid #8886'}"
        spans.append(f'<span style="{look};{TOKEN}">{escape(piece)}</span>')
    remark = f" <i>{escape(left_out)}</i>" if left_out else ""
    return f'<div style="max-height:8em;overflow:auto;padding:3px">{"".join(spans)}{remark}</div>'


def side_by_side(*parts):                               # (title, HTML), ... -> HTML
    shown = "".join(f"<div><b>{escape(title)}</b>{html}</div>" for title, html in parts)
    return f'<div style="display:flex;gap:32px;flex-wrap:wrap;align-items:flex-start">{shown}</div>'


def _aligned(words, plain):
    return ";text-align:left;white-space:normal" if words else "" if plain else ";text-align:right"


def _style(text):
    return f' style="{text.strip(";")}"' if text else ""
