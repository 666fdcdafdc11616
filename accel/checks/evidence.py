"""The record of what was proven of each kernel on each target: data/accel/evidence.json.

Only the commands that did the work write it: `check --record`, and `evidence add` for a file of `selftest` from elsewhere. Each
row carries a seal over its content, so that one changed by hand is refused; one whose kernel or tile has changed since is stale.
Not here: the work.
"""

import hashlib
import json
from datetime import date
from pathlib import Path

from accel.checks import source
from accel.checks.cases import CASES
from accel.checks.finding import LEVELS
from accel.tiles import TARGETS
from v4mini.shapes import Refused
from v4mini.writing import make_folder, write_whole

FORMAT = "v4mini evidence 1"


def _seal(row):
    text = json.dumps({name: value for name, value in row.items() if name != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def row_of(finding, versions, command, machine):        # Finding -> {...}, sealed
    """What is kept of a finding: what was run, on what source, with which versions, when, and what came of it."""
    row = {"case": finding.case, "kernel": finding.kernel, "target": finding.target, "level": finding.level,
           "source": source.digest(finding.kernel, finding.target), "date": date.today().isoformat(), "versions": versions,
           "command": command, "machine": machine, "numbers": finding.numbers}
    return {**row, "seal": _seal(row)}


def read(path):                                         # -> rows
    """Refused: a file of another form, a row altered since it was written, a case or target that is not known."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"{path}: expected JSON as `python -m accel selftest` writes it, got something else ({error}).") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("rows"), list):
        raise Refused(f"{path}: expected {FORMAT!r}, got another form. Try a file that `python -m accel selftest` wrote.")
    for row in found["rows"]:
        known = isinstance(row, dict) and row.get("case") in CASES and row.get("target") in TARGETS and row.get("level") in LEVELS
        if not known:
            raise Refused(f"{path}: expected rows of a known case, target and level, got {str(row)[:80]}.")
        if row.get("seal") != _seal(row):
            raise Refused(f"{path}: expected rows as they were written, got {row['case']!r} on {row['target']} altered since. "
                          f"Try its command again.")
    return found["rows"]


def write(path, rows, known=()):                        # rows replace those known of the same case and target
    """Rows in the order of CASES and TARGETS, one file for all."""
    merged = {(row["case"], row["target"]): row for row in (*known, *rows)}
    order = sorted(merged.values(), key=lambda row: (list(CASES).index(row["case"]), TARGETS.index(row["target"])))
    make_folder(Path(path).parent)
    write_whole(path, json.dumps({"format": FORMAT, "rows": order}, indent=1) + "\n")


def is_stale(row):
    """Has the kernel's code, or its tile, changed since?"""
    return row["source"] != source.digest(row["kernel"], row["target"])


def add(path, into):                                    # -> how many rows were taken in
    """Take in a file that selftest wrote on another machine. Refused where its kernels were others than these."""
    rows = read(path)
    stale = [row for row in rows if is_stale(row)]
    if stale:
        raise Refused(f"{path}: expected rows of these kernels and tiles, got {len(stale)} of {len(rows)} of others, first "
                      f"{stale[0]['case']!r} on {stale[0]['target']}. Try the same version of the project on both machines.")
    write(into, rows, read(into) if Path(into).exists() else ())
    return len(rows)


def labels(rows, targets=TARGETS):                      # -> {case: {target: label}}
    """One label for each case and target; "stale: was compiled" where the source changed; "unrun" where nothing is known."""
    known = {(row["case"], row["target"]): row for row in rows}

    def label(case, target):
        row = known.get((case, target))
        if row is None:
            return "unrun"
        return f"stale: was {row['level']}" if is_stale(row) else row["level"]
    return {case: {target: label(case, target) for target in targets} for case in CASES}
