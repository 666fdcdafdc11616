"""What the teacher's page says holds: minutes, lessons, exercises, commands, and what check answers to expected mistakes."""

import re
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.lessons.course import COURSE, lesson_of
from v4mini.lessons.registry import all_exercises, find
from v4mini.lessons.verdict import judge

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "notebooks/TEACHING.md").read_text(encoding="utf-8")
LANES = re.findall(r"## (Lane \d): [^\n]*\n\n[^\n]*Lessons ([\d, ]+)\.\n\n(.*?)\n\n", PAGE, re.S)
MISTAKES = re.findall(r"^\| `([\w.]+)` \| [^|]* \| `(\w+)` \| (.*) \|$", PAGE, re.M)


@pytest.mark.parametrize("lane, numbers, table", LANES, ids=lambda value: value[:6])
def test_a_lane_fills_ninety_minutes_without_a_gap_and_names_what_exists(lane, numbers, table):
    rows = re.findall(r"^\| (\d+) to (\d+) \| (\d\d) \| (.*) \|$", table, re.M)
    assert [int(start) for start, *_ in rows] == [0, *(int(stop) for _, stop, *_ in rows[:-1])] and rows[-1][1] == "90"
    assert list(dict.fromkeys(number for *_, number, _ in rows)) == numbers.split(", ")
    order = [lesson.number for lesson in COURSE]
    assert [order.index(number) for *_, number, _ in rows] == sorted(order.index(number) for *_, number, _ in rows)
    for *_, number, what in rows:
        for name in re.findall(r"exercise `([\w.]+)`", what):
            assert find(name).lesson == lesson_of(number).number


def test_there_are_three_lanes_and_enough_mistakes():
    assert [lane for lane, *_ in LANES] == ["Lane 1", "Lane 2", "Lane 3"] and len(MISTAKES) >= 15


@pytest.mark.parametrize("name, mistake, told", MISTAKES, ids=lambda value: value[:30])
def test_check_answers_an_expected_mistake_as_the_page_says(name, mistake, told):
    planted = {one.__name__: one for one in all_exercises()[name].wrong}
    assert judge(planted[mistake], find(name)).text.splitlines()[0] == told


def test_every_exercise_and_command_that_the_page_names_exists():
    for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", PAGE):
        assert name in all_exercises() or name.startswith("lessons."), name
    for command, options in re.findall(r"`?v4mini (\w+)((?: --?[\w-]+(?: \w+)?)*)", PAGE):
        shown = CliRunner().invoke(main, [command, "--help"]).output
        for option in re.findall(r"--(?:workshop|work|reset)\b", options):
            assert option in shown, f"v4mini {command} has no {option}"


def test_the_citation_names_this_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"version: {version}\n" in citation and "license: MIT\n" in citation and citation.startswith("cff-version: 1.2.0")


def test_what_binder_is_told_holds_here():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = ROOT / ".binder"
    extra = re.fullmatch(r"-e \.\[(\w+)\]\n", (folder / "requirements.txt").read_text(encoding="utf-8"))[1]
    minor = re.fullmatch(r"python-3\.(\d+)\n", (folder / "runtime.txt").read_text(encoding="utf-8"))[1]
    low, high = map(int, re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups())
    assert extra in project["optional-dependencies"] and low <= int(minor) < high
    command, = re.findall(r"^v4mini (.*)$", (folder / "postBuild").read_text(encoding="utf-8"), re.M)
    assert CliRunner().invoke(main, [*command.split(), "--help"]).exit_code == 0
    assert (folder / "postBuild").stat().st_mode & 0o111, "Binder runs it as a program"
