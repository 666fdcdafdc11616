"""The jobs, whole: every kernel on a target, every planted mistake noticed; each in its environment, see .ci/compilers."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from accel.checks.cases import CASES
from accel.checks.planted import CODE, NUMBERS

pytestmark = pytest.mark.compilers
has_ascend = find_spec("ascendnpuir") is not None


def job(*targets):                                      # -> the report; what it proved goes to the log
    command = [sys.executable, "-W", "ignore", "-m", "accel", "check", "--processes", "2", "--json"]
    command += [part for target in targets for part in ("--target", target)]
    plain = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(command, capture_output=True, text=True, env=plain)
    assert done.stdout.startswith("{"), done.stderr
    report = json.loads(done.stdout)
    problems = {(one["case"], one["target"]): one["problem"] for one in report["findings"] if one["problem"]}
    missed = [one["what"] for one in report["planted"] if not one["noticed"]]
    assert report["ok"] and not problems and not missed, (problems, missed)
    for target in targets:
        levels = {one["level"] for one in report["findings"] if one["target"] == target}
        print(f"\n{target}: {len(CASES)} cases {', '.join(levels)}", end="")
    print(f"\nall of {len(report['planted'])} planted mistakes noticed, with {report['versions']}")
    return report


def levels(report):                                     # -> {target: (cases, their levels)}
    cases = [(one["target"], one["case"], one["level"]) for one in report["findings"]]
    return {target: ([case for t, case, _ in cases if t == target], {level for t, _, level in cases if t == target})
            for target, _, _ in cases}


@pytest.mark.skipif(has_ascend, reason="an environment of Triton-Ascend: no interpreter of triton, no CUDA tools")
def test_interpreter_and_nvidia():
    report = job("interpreter", "sm_90a", "sm_100a")
    assert levels(report) == {"interpreter": (list(CASES), {"measured"}), "sm_90a": (list(CASES), {"compiled"}),
                              "sm_100a": (list(CASES), {"compiled"})}
    assert len(report["planted"]) == len(NUMBERS) + 2 * len(CODE)


@pytest.mark.skipif(not has_ascend, reason="an environment of triton: no Triton-Ascend")
def test_ascend():
    """Planted mistakes are looked for in the code of one chip: the numbers of all three come from one front end."""
    report = job("ascend910b", "ascend910c", "ascend950")
    every = (list(CASES), {"ran elsewhere"})
    assert levels(report) == {"ascend910b": every, "ascend910c": every, "ascend950": every}
    assert len(report["planted"]) == len(NUMBERS)


@pytest.mark.skipif(has_ascend, reason="an environment of Triton-Ascend: no interpreter of triton")
def test_the_file_of_a_selftest_is_taken_in(tmp_path):
    """The reader's way, with the interpreter in place of a device."""
    command = [sys.executable, "-m", "accel"]
    cases = ["--case", "rope", "--case", "hc_post"]
    subprocess.run([*command, "selftest", "--interpreter", *cases, "--out", tmp_path / "mine.json"], check=True)
    subprocess.run([*command, "evidence", "add", tmp_path / "mine.json", "--evidence", tmp_path / "record.json"], check=True)
    shown = [*command, "plan", "--evidence", tmp_path / "record.json", "--json"]
    plan = subprocess.run(shown, check=True, capture_output=True, text=True)
    labels = json.loads(plan.stdout)["labels"]
    assert labels["rope"]["interpreter"] == labels["hc_post"]["interpreter"] == "measured"
    assert labels["rope"]["sm_90a"] == labels["hc_pre"]["interpreter"] == "unrun"
