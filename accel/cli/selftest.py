"""selftest: every operation on the device of this machine, and a file to send back. Not here: the running (checks/device.py)."""

import os
from pathlib import Path

import click

from accel.checks import device, evidence
from accel.checks.cases import CASES
from accel.checks.finding import Finding
from accel.cli.front import machine, main, progress
from accel.tiles import FUSED
from v4mini.cli.main import data_folder, json_option, say, say_json


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("accel-selftest.json"), show_default=True,
              help="The file that `python -m accel evidence add` takes in.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)),
              help="Only this one; may be repeated.  [default: all]")
@click.option("--interpreter", is_flag=True, help="Try this command without a device: the same steps in Triton's interpreter.")
@json_option
def selftest(out, names, interpreter, as_json):
    """Run every operation on the GPU or NPU of this machine, compare with NumPy, print a table, and write one file.

    If you have such a machine, the file is what this project lacks: `python -m accel evidence add FILE` takes it in. It is
    written after each operation: Ctrl-C leaves what was done.
    """
    evidence.expect_place(out)
    if interpreter:
        from accel.checks.interpreter import prepare

        kind, target, versions, name = "cpu", "interpreter", prepare(), machine()
    else:
        os.environ.pop("TRITON_INTERPRET", None)
        kind, target, versions, name = device.find()
    progress(f"{name}, tiles of {target}")
    roof = device.copy_roof(kind, 1 << 20 if interpreter else device.COPIED)
    cases = [*(names or CASES), *(f"fused {op}" for op in FUSED if kind == "npu" and target in FUSED[op].targets and not names)]

    def keep(findings):
        rows = [evidence.row_of(one, versions, "python -m accel selftest", name) for one in findings if not one.problem]
        evidence.write(out, rows, copy_bytes_a_second=roof, decode=steps)
    steps = {}
    findings, is_whole = kept(cases, lambda case: _run(case, target, kind, interpreter, roof), keep)
    if kind == "cuda" and is_whole and not names:
        steps = _decode()
        keep(findings)
    good = [one for one in findings if not one.problem]
    if as_json:
        found = [one._asdict() for one in findings]
        say_json({"target": target, "device": name, "versions": versions, "findings": found, "decode": steps})
    else:
        for one in findings:
            say(f"{one.case:22} {one.problem or _short(one.numbers)}")
        for ends, taken in steps.get("kinds", {}).items():
            say(f"decode, blocks that end: {ends:8} {taken['milliseconds']:.3f} ms a token, median of {taken['steps']}")
        if "problem" in steps:
            say(steps["problem"])
        say(f"{len(good)} of {len(findings)} operations right on {name}; {out} holds what was measured.")
        if not is_whole:
            say(f"Stopped after {len(findings)} of {len(cases)}; --case names the others.")
    raise SystemExit(0 if len(good) == len(cases) and "problem" not in steps else 1)


def _decode():                                          # the bundled model in CUDA graphs, beside NumPy
    progress("decode in three graphs")
    try:
        from accel.checks.decode import measure
        from accel.cuda import CudaDecoder
        from v4mini.inference.load import load

        folder = data_folder() / "mini"
        return measure(load(folder, "cuda"), load(folder, "numpy"), CudaDecoder)
    except Exception as error:
        return {"problem": f"decode: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"}


def kept(cases, run, keep):                             # -> findings, were all run
    """Run one case after the other and keep what there is after each. Ctrl-C ends it."""
    findings = []
    try:
        for case in cases:
            findings.append(run(case))
            keep(findings)
    except KeyboardInterrupt:
        return findings, False
    return findings, True


def _run(case, target, kind, interpreter, roof):        # a kernel that the compiler or the device refuses is a finding as well
    progress(case)
    try:
        if case.startswith("fused "):
            return device.check_fused(case.removeprefix("fused "), target, kind)
        if interpreter:
            return device.check(case, target, kind, runs=device.RUNS[:1], timed=1, roof=roof)
        return device.check(case, target, kind, roof=roof)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:200]
        return Finding(case, evidence.KERNEL[case], target, "unrun", f"{type(error).__name__}: {reason}", {})


def _short(numbers):
    errors = ", ".join(f"{name} {value['error']:.1e}" for name, value in numbers.items() if isinstance(value, dict))
    times = f", {numbers['microseconds']} us, {numbers['bytes']:,} bytes" if "microseconds" in numbers else ""
    return errors + times + (f", {numbers['of_copy_roof']:.0%} of the copy's bandwidth" if "of_copy_roof" in numbers else "")
