"""schemas: calls of torch_npu's fused ops, held against a wheel of torch_npu. Not here: the holding (checks/schemas.py)."""

from pathlib import Path

import click

from accel.checks import evidence, planted
from accel.cli.front import evidence_option, machine, main
from accel.tiles import FUSED
from v4mini.cli.main import json_option, say, say_json


@main.command()
@click.argument("wheel", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--record", is_flag=True, help="Write what was found into the record.")
@evidence_option
@json_option
def schemas(wheel, record, evidence_file, as_json):
    """Hold the calls of torch_npu's fused ops against WHEEL, with no NPU and no CANN: it is read and not installed.

    \b
    python -m pip download --no-deps torch-npu==2.13.0
    python -m accel schemas torch_npu-2.13.0-*.whl

    The wheel's own Meta functions are run: name a file that you trust. --json gives one object: ok, version, schemas, findings,
    planted.
    """
    from accel.checks import schemas as checks

    if record:
        evidence.expect_place(evidence_file)
    there = checks.read(wheel)
    kept = checks.register(there)
    findings = [checks.check(name, target) for name, fused in FUSED.items() for target in fused.targets]
    mistakes = [(one.what, checks.spoilt(one)) for one in planted.CALLS]
    good = [one for one in findings if not one.problem]
    if record:
        known = evidence.read(evidence_file) if evidence_file.exists() else ()
        rows = [evidence.row_of(one, checks.versions(there), "python -m accel schemas", machine()) for one in good]
        evidence.write(evidence_file, rows, known)
    is_ok = len(good) == len(findings) and all(by for _, by in mistakes)
    del kept
    if as_json:
        rows = [{"what": what, "noticed": bool(by), "by": by} for what, by in mistakes]
        found = [one._asdict() for one in findings]
        say_json({"ok": is_ok, "version": there.version, "schemas": there.schemas, "findings": found, "planted": rows})
    else:
        _say(findings, mistakes, there.version)
    raise SystemExit(0 if is_ok else 1)


def _say(findings, mistakes, version):
    say(f"torch_npu {version}")
    for one in findings:
        op = FUSED[one.case.removeprefix("fused ")].op
        say(f"{one.case:16} {op:28} {one.target:12} {one.problem or one.level}")
    say(f"planted mistakes: {sum(bool(by) for _, by in mistakes)} of {len(mistakes)} noticed")
    for what, by in mistakes:
        say(f"  {what:42} {by or 'NOT NOTICED'}")
