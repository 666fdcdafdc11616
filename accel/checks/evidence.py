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
from accel.tiles import FUSED, TARGETS
from v4mini.shapes import Refused
from v4mini.untrusted import brief, parse_json, read_file
from v4mini.writing import expect_writable, make_folder, write_whole

FORMAT = "v4mini evidence 1"
MOST_BYTES = 16 << 20
FIELDS = {"case": str, "kernel": str, "target": str, "level": str, "source": str, "date": str, "versions": dict, "command": str,
          "machine": str, "numbers": dict, "seal": str}
KERNEL = {**{case: kernel for case, (kernel, _) in CASES.items()},     # what each case that may be recorded runs
          **{f"fused {name}": fused.function for name, fused in FUSED.items()}}


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
    found = parse_json(read_file(path, MOST_BYTES, "evidence", "Name a file that `python -m accel selftest` wrote."), str(path))
    if found.get("format") != FORMAT or not isinstance(found.get("rows"), list):
        raise Refused(f"{path}: expected {FORMAT!r}, got another form. Try a file that `python -m accel selftest` wrote.")
    for row in found["rows"]:
        if not _is_known(row):
            raise Refused(f"{path}: expected rows of a known case, target and level, got {brief(row)}. Is it of this version?")
        if row.get("seal") != _seal(row):
            raise Refused(f"{path}: expected rows as they were written, got {row['case']!r} on {row['target']} altered since. "
                          f"Try its command again.")
    return found["rows"]


def _is_known(row):                                     # has it all fields, and are its case, target and level there?
    if not isinstance(row, dict) or any(type(row.get(name)) is not kind for name, kind in FIELDS.items()):
        return False
    is_there = row["case"] in KERNEL and row["target"] in TARGETS and row["level"] in LEVELS
    return is_there and row["kernel"] == KERNEL[row["case"]] and all(type(v) is str for v in row["versions"].values())


def write(path, rows, known=(), **beside):              # rows replace those known of the same case and target
    """Rows in the order of KERNEL and TARGETS, one file for all. beside: plain values that the file holds too, unread."""
    merged = {(row["case"], row["target"]): row for row in (*known, *rows)}
    order = sorted(merged.values(), key=lambda row: (list(KERNEL).index(row["case"]), TARGETS.index(row["target"])))
    make_folder(Path(path).parent)
    write_whole(path, json.dumps({"format": FORMAT, "rows": order, **beside}, indent=1) + "\n")


def expect_place(path):
    """Refused where the record could not be written: asked before the work, which may take hours."""
    make_folder(Path(path).parent)
    expect_writable(path)


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


def labels(rows, targets=TARGETS, cases=tuple(CASES)):  # -> {case: {target: label}}
    """One label for each case and target; "stale: was compiled" where the source changed; "unrun" where nothing is known."""
    known = {(row["case"], row["target"]): row for row in rows}

    def label(case, target):
        row = known.get((case, target))
        if row is None:
            return "unrun"
        return f"stale: was {row['level']}" if is_stale(row) else row["level"]
    return {case: {target: label(case, target) for target in targets} for case in cases}
