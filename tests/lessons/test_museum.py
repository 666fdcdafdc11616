"""The museum's defects are real, at their place, repairable by a reader, and noticed by the project's own tests."""

import dataclasses
import re

import pytest

import v4mini
from v4mini.lessons.cells import read_cells
from v4mini.lessons.museum import DEFECTS
from v4mini.lessons.places import notebooks
from v4mini.lessons.planted import Outcome, outcomes, planted
from v4mini.lessons.registry import all_exercises
from v4mini.shapes import Refused

PACKAGE = v4mini.__path__[0]
each_defect = pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)


def source_of(defect):
    with open(f"{PACKAGE}/{defect.file}", encoding="utf-8") as file:
        return file.read()


@each_defect
def test_the_line_is_there_once_and_the_defect_compiles(defect):
    compile(planted(defect, source_of(defect)), defect.file, "exec")


@each_defect
def test_it_has_an_exercise_and_its_link_stands_in_the_lesson(defect):
    (path,) = notebooks(["21"])
    text = "\n".join(cell["source"] for cell in read_cells(path))
    assert defect.exercise in all_exercises() and f'"{defect.exercise}"' in text and defect.source in text


def test_every_exhibit_is_a_defect_with_a_public_source():
    public = re.compile(r"https://github\.com/[\w-]+/[\w.-]+/((issues|pull)/\d+$|blob/[0-9a-f]{40}/)")
    of_the_lesson = {name for name in all_exercises() if name.startswith("museum.")}
    assert of_the_lesson == {defect.exercise for defect in DEFECTS} and len(DEFECTS) >= 15
    for defect in DEFECTS:
        assert public.match(defect.source)


def test_a_defect_whose_line_moved_on_is_refused():
    with pytest.raises(Refused, match="expected 'np.maximum.*' once in ops/index.py, got 0"):
        planted(next(defect for defect in DEFECTS if defect.name == "no_relu"), "x = 1")


def test_a_change_that_breaks_nothing_is_reported_as_not_noticed():
    harmless = dataclasses.replace(DEFECTS[3], wrong=DEFECTS[3].right, tests="tests/ops/test_shape_comments.py")
    (outcome,) = outcomes([harmless])
    assert isinstance(outcome, Outcome) and outcome.by == ""


@pytest.mark.slow
def test_the_projects_own_tests_notice_every_defect():
    assert {outcome.defect.name: bool(outcome.by) for outcome in outcomes(DEFECTS)} == {defect.name: True for defect in DEFECTS}
