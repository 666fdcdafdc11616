"""check: what can be proven of the kernels here. Not here: the proving (checks/)."""

import click

from accel.checks import evidence, planted, workers
from accel.checks.cases import CASES, SIZES
from accel.checks.finding import MEANING
from accel.cli.front import evidence_option, machine, main, progress
from accel.tiles import TARGETS
from v4mini.cli.main import json_option, say, say_json
from v4mini.shapes import Refused

FAMILIES = {"interpreter": ("interpreter",), "nvidia": ("sm_90a", "sm_100a"),
            "ascend": ("ascend910b", "ascend910c", "ascend950")}
ALIASES = {"sm_90": "sm_90a", "sm_100": "sm_100a"}


def _target(context, option, names):                    # as they were typed -> as they are recorded, each once
    return tuple(dict.fromkeys(ALIASES.get(name, name) for name in names))


@main.command()
@click.option("--target", "targets", multiple=True, default=["interpreter"], show_default=True, callback=_target,
              type=click.Choice((*TARGETS, *ALIASES)),
              help="For whom; may be repeated, but Ascend's go into a command of their own.")
@click.option("--case", "names", multiple=True, type=click.Choice(list(CASES)),
              help="Only this one; may be repeated.  [default: all]")
@click.option("--size", type=click.Choice((*SIZES, "both")), default="both", show_default=True,
              help="Sizes of the interpreter's cases.")
@click.option("--planted/--no-planted", "is_planted", default=True, show_default=True,
              help="Also plant known mistakes: each must be noticed.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="How many work at once.")
@click.option("--record", is_flag=True, help="Write what was found into the record.")
@evidence_option
@json_option
def check(targets, names, size, is_planted, processes, record, evidence_file, as_json):
    """Prove what can be proven of the kernels on this machine, without the one they are for.

    \b
    python -m accel check --target interpreter      numbers, in torch and triton's environment
    python -m accel check --target sm_90            machine code within budget; numbers of the same source in the interpreter
    python -m accel check --target ascend910b       numbers of the lowered code, room on the chip; triton-ascend's environment

    --json gives one object: ok, versions (of each family of targets), findings (case, kernel, target, level, problem, numbers),
    planted (what, target, noticed, by).
    """
    wanted = {family: [t for t in targets if t in members] for family, members in FAMILIES.items()}
    if wanted["ascend"] and len(wanted["ascend"]) < len(targets):
        raise Refused(f"target: expected targets of one environment, got {', '.join(targets)}. Try one command "
                      "in each: triton-ascend and triton destroy each other.")
    if record:
        evidence.expect_place(evidence_file)
    sizes = SIZES if size == "both" else (size,)
    findings, mistakes, versions = _prove(wanted, names or tuple(CASES), sizes, is_planted, processes)
    good = [one for one in findings if not one.problem]
    if record:
        known = evidence.read(evidence_file) if evidence_file.exists() else ()
        evidence.write(evidence_file, [_row(one, versions) for one in good], known)
    is_ok = len(good) == len(findings) and all(seen for _, _, seen, _ in mistakes)
    if as_json:
        rows = [dict(zip(("what", "target", "noticed", "by"), one)) for one in mistakes]
        found = [one._asdict() for one in findings]
        say_json({"ok": is_ok, "versions": versions, "findings": found, "planted": rows})
    else:
        _say(findings, mistakes, versions)
    raise SystemExit(0 if is_ok else 1)


def _row(one, versions):
    family = next(family for family, members in FAMILIES.items() if one.target in members)
    return evidence.row_of(one, versions[family], f"python -m accel check --target {one.target}", machine())


def _prove(wanted, names, sizes, is_planted, processes):                # -> findings, mistakes, {family: versions}
    """NVIDIA's code wants numbers of the interpreter; a wrong number planted is looked for once in each environment."""
    findings, mistakes, versions = [], [], {}
    if wanted["ascend"]:                                                # numbers come from one front end for all chips
        parts = [("ascend", wanted["ascend"], None, wanted["ascend"][:1], planted.NUMBERS)]
    else:
        sizes = sizes if wanted["interpreter"] else ("tiny",)
        parts = [("interpreter", ["interpreter"], sizes, ["interpreter"], planted.NUMBERS)]
        parts += [("nvidia", wanted["nvidia"], None, wanted["nvidia"], planted.CODE)] if wanted["nvidia"] else []
    for family, targets, cut, where, known in parts:
        calls = [(workers.versions,), *((workers.found, name, targets, cut) for name in names)]
        calls += [(workers.noticed, m, target) for m in known if is_planted and m.case in names for target in where]
        progress(f"{family}: {len(names)} cases, {len(calls) - 1 - len(names)} planted mistakes")
        versions[family], *results = workers.spread(family, calls, processes)
        findings += [one for several in results[: len(names)] for one in several]
        mistakes += results[len(names):]
    return _with_numbers(findings, wanted), mistakes, versions


def _with_numbers(findings, wanted):                    # the interpreter's own only where they were asked for
    if not wanted["nvidia"]:
        return findings
    from accel.checks.nvidia import with_numbers

    seen = {one.case: one for one in findings if one.target == "interpreter"}
    code = [with_numbers(one, seen[one.case]) for one in findings if one.target != "interpreter"]
    return [*(seen.values() if wanted["interpreter"] else ()), *code]


def _say(findings, mistakes, versions):
    for family, packages in versions.items():
        say(f"{family} with " + ", ".join(f"{name} {number}" for name, number in packages.items()))
    for one in findings:
        say(f"{one.case:22} {one.target:12} {one.problem or one.level + '  ' + _short(one.numbers)}")
    for level in dict.fromkeys(one.level for one in findings if not one.problem):
        say(f"{level}: {MEANING[level]}")
    if mistakes:
        say(f"planted mistakes: {sum(seen for _, _, seen, _ in mistakes)} of {len(mistakes)} noticed")
        for what, target, seen, by in mistakes:
            say(f"  {what:46} {target:12} {by if seen else 'NOT NOTICED'}")


def _short(numbers):                                    # {"tiny": {"error": 1e-7, ...}, "registers": 80} -> one line
    parts = []
    for name, value in numbers.items():
        if isinstance(value, dict):
            value = value.get("error", value.get("accepted"))
        parts.append(f"{name} {value:.1e}" if isinstance(value, float) else f"{name} {value}")
    return ", ".join(parts)
