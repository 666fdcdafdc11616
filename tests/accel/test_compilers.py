"""The jobs, whole: every kernel on a target, every planted mistake noticed. Each wants an environment of its own; see .ci/run."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from accel.checks.cases import CASES
from accel.checks.planted import CODE, NUMBERS

pytestmark = pytest.mark.compilers
has_ascend = find_spec("ascendnpuir") is not None


def job(*arguments):                                    # -> the report; its table goes to the log
    command = [sys.executable, "-W", "ignore", "-m", "accel", "check", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("{"), done.stderr
    report = json.loads(done.stdout)
    problems = {(one["case"], one["target"]): one["problem"] for one in report["findings"] if one["problem"]}
    missed = [one["what"] for one in report["planted"] if not one["noticed"]]
    assert report["ok"] and not problems and not missed, (problems, missed)
    print(f"\n{' '.join(arguments)}: {len(report['findings'])} cases right, all of {len(report['planted'])} planted mistakes "
          f"noticed, with {report['versions']}")
    return report


@pytest.mark.skipif(has_ascend, reason="an environment of Triton-Ascend: no interpreter of triton")
def test_interpreter():
    report = job("--target", "interpreter")
    assert [one["case"] for one in report["findings"]] == list(CASES) and len(report["planted"]) == len(NUMBERS)


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


@pytest.mark.skipif(has_ascend, reason="an environment of Triton-Ascend: no CUDA tools")
@pytest.mark.parametrize("target", ["sm_90a", "sm_100a"])
def test_nvidia(target):
    report = job("--target", target)
    assert {one["level"] for one in report["findings"]} == {"compiled"} and len(report["planted"]) == len(NUMBERS) + len(CODE)


@pytest.mark.skipif(not has_ascend, reason="an environment of triton: no Triton-Ascend")
@pytest.mark.parametrize("target", ["ascend910b", "ascend910c", "ascend950"])
def test_ascend(target):
    planted = ["--no-planted"] if target != "ascend910b" else []       # numbers come from one front end for all three
    report = job("--target", target, *planted)
    assert {one["level"] for one in report["findings"]} == {"ran elsewhere"}
