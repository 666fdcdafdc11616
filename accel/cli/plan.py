"""plan: what is proven of each operation on each chip; evidence: the record itself. Not here: its form (checks/evidence.py)."""

from pathlib import Path

import click

from accel.checks import evidence
from accel.checks.cases import CASES
from accel.checks.finding import MEANING
from accel.cli.front import evidence_option, main
from accel.tiles import FUSED, TARGETS
from v4mini.cli.main import json_option, say, say_json
from v4mini.viz.tables import counted


@main.command()
@evidence_option
@json_option
def plan(evidence_file, as_json):
    """What is proven of each operation on each chip, and what is not.

    Labels come from the record that `check --record` and `evidence add` write. Where a kernel's code or tile has changed since,
    the label is stale.
    """
    rows = evidence.read(evidence_file) if evidence_file.exists() else []
    labels = evidence.labels(rows)
    fused = evidence.labels(rows, cases=[f"fused {name}" for name in FUSED])
    fused = {case: {t: by[t] for t in FUSED[case.removeprefix("fused ")].targets} for case, by in fused.items()}
    if as_json:
        say_json({"labels": labels, "fused": fused, "meaning": MEANING})
        return
    say(f"{'':22}" + "".join(f"{target:16}" for target in TARGETS))
    for case, by_target in labels.items():
        say(f"{case:22}" + "".join(f"{by_target[target]:16}" for target in TARGETS).rstrip())
    say("")
    say("Fused ops of torch_npu, off unless AscendBackend(fused=...) names them:")
    for case, by_target in fused.items():
        op = FUSED[case.removeprefix("fused ")].op
        say(f"{case:22}" + f"{op:48}" + "".join(f"{by_target.get(t, 'not there'):16}" for t in TARGETS[3:]).rstrip())
    used = {label for by_target in (*labels.values(), *fused.values()) for label in by_target.values()}
    say("")
    for level, meaning in MEANING.items():
        if level in used:
            say(f"{level}: {meaning}")
    chips = ", ".join(_on_a_chip(labels))
    say(f"Measured on: {chips}." if chips else "None of this ran on a GPU or an NPU.")


def _on_a_chip(labels):                                 # -> targets other than the interpreter with a measured row
    return [target for target in TARGETS if target != "interpreter" and any(labels[case][target] == "measured" for case in CASES)]


@main.group("evidence")
def evidence_group():
    """The record of what was proven: show it, or take in a file that selftest wrote on another machine."""


@evidence_group.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@evidence_option
@json_option
def add(file, evidence_file, as_json):
    """Take in FILE, which `python -m accel selftest` wrote on a machine with a GPU or an NPU.

    Refused if a row was altered since, or if the kernels there were others than these.
    """
    taken = evidence.add(file, evidence_file)
    say_json({"rows": taken}, indent=None) if as_json else say(f"{counted(taken, 'row')} of {file} in the record now.")


@evidence_group.command()
@evidence_option
@json_option
def show(evidence_file, as_json):
    """Every row: what ran where, when, with which versions, and what came of it."""
    rows = evidence.read(evidence_file) if evidence_file.exists() else []
    if as_json:
        say_json([{**row, "stale": evidence.is_stale(row)} for row in rows])
        return
    for row in rows:
        versions = ", ".join(f"{name} {number}" for name, number in row["versions"].items())
        stale = "stale: was " if evidence.is_stale(row) else ""
        say(f"{row['case']:22} {row['target']:12} {stale}{row['level']}, {row['date']}, {versions}; {row['machine']}")
