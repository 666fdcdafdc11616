"""selftest: every operation on the device of this machine, and a file to send back. Not here: the running (checks/device.py)."""

import os
from pathlib import Path

import click

from accel.checks import device, evidence
from accel.checks.cases import CASES
from accel.cli.front import machine, main, progress
from v4mini.cli.main import json_option, say, say_json


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("accel-selftest.json"), show_default=True,
              help="The file that `python -m accel evidence add` takes in.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)),
              help="Only this one; may be repeated.  [default: all]")
@click.option("--interpreter", is_flag=True, help="Try this command without a device: the same steps in Triton's interpreter.")
@json_option
def selftest(out, names, interpreter, as_json):
    """Run every operation on the GPU or NPU of this machine, compare with NumPy, print a table, and write one file.

    If you have such a machine, the file is what this project lacks: `python -m accel evidence add FILE` takes it in.
    """
    evidence.expect_place(out)
    if interpreter:
        from accel.checks.interpreter import prepare

        kind, target, versions, name = "cpu", "interpreter", prepare(), machine()
    else:
        os.environ.pop("TRITON_INTERPRET", None)
        kind, target, versions, name = device.find()
    progress(f"{name}, tiles of {target}")
    findings = [_run(case, target, kind, interpreter) for case in names or CASES]
    good = [one for one in findings if not one.problem]
    evidence.write(out, [evidence.row_of(one, versions, "python -m accel selftest", name) for one in good])
    if as_json:
        found = [one._asdict() for one in findings]
        say_json({"target": target, "device": name, "versions": versions, "findings": found})
    else:
        for one in findings:
            say(f"{one.case:22} {one.problem or _short(one.numbers)}")
        say(f"{len(good)} of {len(findings)} operations right on {name}; {out} holds what was measured.")
    raise SystemExit(0 if len(good) == len(findings) else 1)


def _run(case, target, kind, interpreter):              # a kernel that the compiler or the device refuses is a finding as well
    progress(case)
    if interpreter:
        return device.check(case, target, kind, runs=device.RUNS[:1], timed=0)
    try:
        return device.check(case, target, kind)
    except Exception as error:
        from accel.checks.finding import Finding
        return Finding(case, CASES[case][0], target, "unrun", f"{type(error).__name__}: {str(error).splitlines()[0][:200]}", {})


def _short(numbers):
    errors = ", ".join(f"{name} {value['error']:.1e}" for name, value in numbers.items() if isinstance(value, dict))
    return errors + (f", {numbers['microseconds']} us" if "microseconds" in numbers else "")
