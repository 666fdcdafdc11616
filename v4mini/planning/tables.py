"""Tables in JSON files: machines, prices, claims. Rows are read, checked field by field, and sorted by name.

A file is one object; each of its keys holds a list of rows, and each row says where its figures are from, and when.
Not here: what a row means (machines.py, prices.py, claims.py), where the project's own files lie (the command line knows).
"""

import difflib
import json
import math
from datetime import date
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.untrusted import read_file

REQUIRED = object()             # as a default: the field must be there


class Field:
    """What one field of a row may hold. kind: text, number, whole, day, choice, object; least: the smallest number allowed."""

    def __init__(self, kind, default=REQUIRED, least=0, most=math.inf, choices=(), above=False):
        self.kind, self.default, self.least, self.most, self.choices, self.above = kind, default, least, most, choices, above

    def read(self, value):                              # -> the value as it will be used; raises ValueError(what was wanted)
        """Check one value."""
        if value is None and self.default is not REQUIRED:
            return self.default
        return getattr(self, f"_{self.kind}")(value)

    def _text(self, value):
        if not isinstance(value, str) or not value.strip():
            raise ValueError("some text")
        return value

    def _choice(self, value):
        if value not in self.choices:
            raise ValueError("one of " + ", ".join(self.choices))
        return value

    def _number(self, value):
        wanted = f"a number {'above' if self.above else 'of at least'} {self.least:g}"
        wanted += "" if self.most == math.inf else f" and at most {self.most:g}"
        if type(value) not in (int, float) or not math.isfinite(value) or not self.least <= value <= self.most:
            raise ValueError(wanted)
        if self.above and value == self.least:
            raise ValueError(wanted)
        return float(value)

    def _whole(self, value):
        if type(value) is not int or not self.least <= value <= self.most:
            raise ValueError(f"a whole number of at least {self.least}")
        return value

    def _object(self, value):
        if not isinstance(value, dict):
            raise ValueError("an object in braces")
        return value

    def _day(self, value):
        return day(value)


# How sure a figure is: the maker's or provider's own; restated by others; computed from other figures; published by whoever
# measured it, and not repeated; chosen here.
SURE = ("official", "secondary", "derived", "claimed", "example", "not said")
SOURCED = {"source": Field("text"), "date": Field("day"), "note": Field("text", ""),       # every row's
           "sure": Field("choice", "not said", choices=SURE)}


MOST_BYTES = 16 << 20           # of a file of tables


def day(text):                                          # "2026-04-24" -> date; raises ValueError
    """A date as ISO 8601 writes it."""
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError("a date such as 2026-04-24") from None


def read_table(path, tables):                           # -> {table: [row as a dict]}
    """Read one file. tables: {key: {field: Field}}; a file may leave keys out, but have no others. Raises Refused."""
    path = Path(path)
    found = _json(path)
    unknown = sorted(set(found) - set(tables) - {"about"})
    if unknown:
        raise Refused(f"{path}: expected {', '.join(tables)}, got {unknown[0]!r}. {_near(unknown[0], tables)}")
    return {key: _rows(path, key, found.get(key, []), fields) for key, fields in tables.items()}


def _json(path):
    hint = "Name a JSON file of rows, such as data/machines.json."
    if not path.exists():
        raise Refused(f"{path}: no such file. {hint}")
    try:
        found = json.loads(read_file(path, MOST_BYTES, "table", hint).decode("utf-8"))
    except Refused:
        raise
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: cannot be read: {error}. Is it a JSON file?") from None
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: not JSON ({error}). Compare with data/machines.json.") from None
    if not isinstance(found, dict):
        raise Refused(f"{path}: expected an object of tables, got a JSON {type(found).__name__}. See data/machines.json.")
    return found


def _rows(path, key, rows, fields):
    if not isinstance(rows, list):
        raise Refused(f"{path}: {key} must be a list of rows, got {type(rows).__name__}. Put the row into brackets.")
    return [_row(f"{path}: {key}, {_label(row, number)}", row, fields) for number, row in enumerate(rows, 1)]


def _label(row, number):                                # "row 3 (h200)"
    name = row.get("model") or row.get("name") if isinstance(row, dict) else None
    return f"row {number} ({name})" if isinstance(name, str) else f"row {number}"


def _row(where, row, fields):
    if not isinstance(row, dict):
        raise Refused(f"{where}: expected an object of fields, got {type(row).__name__}. Compare with the rows beside it.")
    for name in row:
        if name not in fields:
            raise Refused(f"{where}: no field is called {name!r}. {_near(name, fields)}")
    read = {}
    for name, field in fields.items():
        if name not in row and field.default is REQUIRED:
            raise Refused(f"{where}: the field {name!r} is missing. Every row needs it.")
        try:
            read[name] = field.read(row.get(name))
        except ValueError as wanted:
            raise Refused(f"{where}: {name} must be {wanted}, got {str(row[name])[:60]!r}. Correct the file.") from None
    return read


def _near(name, known):
    return nearest(name, known) or f"There are {', '.join(map(str, known))}."


def nearest(name, known):                               # -> "Did you mean a or b?", or ""
    """A sentence with the names most like this one."""
    close = difflib.get_close_matches(str(name).lower(), list(map(str, known)), n=3, cutoff=0.45)
    return f"Did you mean {' or '.join(close)}?" if close else ""
