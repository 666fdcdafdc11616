"""check: what can be proven of the kernels here. Not here: the proving (checks/)."""

from importlib import import_module

import click

from accel.checks import evidence, planted
from accel.checks.cases import CASES, SIZES
from accel.checks.finding import MEANING
from accel.cli.front import evidence_option, machine, main, progress
from accel.tiles import TARGETS
from v4mini.cli.main import json_option, say, say_json
from v4mini.shapes import Refused

MODULE = {"interpreter": "interpreter", "sm_90a": "nvidia", "sm_100a": "nvidia",
          "ascend910b": "ascend", "ascend910c": "ascend", "ascend950": "ascend"}


@main.command()
@click.option("--target", "targets", multiple=True, default=["interpreter"], show_default=True, type=click.Choice(TARGETS),
              help="For whom; several of one family may be given.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)),
              help="Only this one; may be repeated.  [default: all]")
@click.option("--size", type=click.Choice((*SIZES, "both")), default="both", show_default=True,
              help="Sizes of the interpreter's cases.")
@click.option("--planted/--no-planted", "is_planted", default=True, show_default=True,
              help="Also plant known mistakes: each must be noticed.")
@click.option("--record", is_flag=True, help="Write what was found into the record.")
@evidence_option
@json_option
def check(targets, names, size, is_planted, record, evidence_file, as_json):
    """Prove what can be proven of the kernels on this machine, without the one they are for.

    \b
    python -m accel check --target interpreter      numbers, in torch and triton's environment
    python -m accel check --target sm_90a           machine code within budget; numbers of the same source in the interpreter
    python -m accel check --target ascend910b       numbers of the lowered code, room on the chip; triton-ascend's environment
    """
    families = {MODULE[target] for target in targets}
    if len(families) > 1:
        raise Refused(f"target: expected targets of one family, got {', '.join(targets)}. Run one command for each family.")
    if record:
        evidence.expect_place(evidence_file)
    family = import_module(f"accel.checks.{families.pop()}")
    names = names or tuple(CASES)
    versions = family.prepare()
    findings = [one for target in targets for one in _findings(family, target, names, size)]
    mistakes = _planted(family, targets[0], names) if is_planted else []
    good = [one for one in findings if not one.problem]
    if record:
        command = "python -m accel check --target " + " --target ".join(targets)
        known = evidence.read(evidence_file) if evidence_file.exists() else ()
        evidence.write(evidence_file, [evidence.row_of(one, versions, command, machine()) for one in good], known)
    is_ok = len(good) == len(findings) and all(noticed for _, noticed, _ in mistakes)
    if as_json:
        rows = [{"what": what, "noticed": noticed, "by": by} for what, noticed, by in mistakes]
        found = [one._asdict() for one in findings]
        say_json({"ok": is_ok, "versions": versions, "findings": found, "planted": rows})
    else:
        _say(findings, mistakes, versions)
    raise SystemExit(0 if is_ok else 1)


def _findings(family, target, names, size):
    for name in names:
        progress(f"{target}: {name}")
        if target == "interpreter":
            yield family.check(name, sizes=SIZES if size == "both" else (size,))
        elif family.__name__.endswith("nvidia"):
            yield family.check(name, target, names=names)
        else:
            yield family.check(name, target)


def _planted(family, target, names):                    # -> [(what, was it noticed, by what)]
    if target.startswith("sm_"):
        return [*family.planted_numbers(names), *(_one(family, target, m) for m in planted.CODE if m.case in names)]
    return [_one(family, target, mistake) for mistake in planted.NUMBERS if mistake.case in names]


def _one(family, target, mistake):
    progress(f"{target}: planted: {mistake.what}")
    function = planted.with_mistake(mistake)
    try:
        problem = family.spoilt(mistake.case, target, function)
    except (Refused, RuntimeError) as error:            # a compiler that refuses has noticed as well
        problem = f"{type(error).__name__}: {str(error).splitlines()[0][:100]}"
    return mistake.what, bool(problem), problem


def _say(findings, mistakes, versions):
    say("with " + ", ".join(f"{name} {number}" for name, number in versions.items()))
    for one in findings:
        say(f"{one.case:22} {one.target:12} {one.problem or one.level + '  ' + _short(one.numbers)}")
    for level in dict.fromkeys(one.level for one in findings if not one.problem):
        say(f"{level}: {MEANING[level]}")
    if mistakes:
        noticed = sum(seen for _, seen, _ in mistakes)
        say(f"planted mistakes: {noticed} of {len(mistakes)} noticed")
        for what, seen, by in mistakes:
            say(f"  {what:42} {by if seen else 'NOT NOTICED'}")


def _short(numbers):                                    # {"tiny": {"error": 1e-7, ...}, "registers": 80} -> one line
    parts = []
    for name, value in numbers.items():
        if isinstance(value, dict):
            value = value.get("error", value.get("accepted"))
        parts.append(f"{name} {value:.1e}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts)
