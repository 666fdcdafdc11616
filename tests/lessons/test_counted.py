"""The course in numbers: counted from the notebooks, summed, printed as a table and as JSON."""

import json

from click.testing import CliRunner

from v4mini.lessons.__main__ import main
from v4mini.lessons.cells import read_cells
from v4mini.lessons.counted import counted, course, summed
from v4mini.lessons.course import COURSE, file_names
from v4mini.lessons.museum import DEFECTS
from v4mini.lessons.notebooks import Run
from v4mini.lessons.places import notebook_folder
from v4mini.lessons.registry import all_exercises


def test_the_table_counts_every_exercise_once_and_no_lesson_twice():
    counts = [counted(lesson, is_run=False) for lesson in course()]
    total = summed(counts)
    assert sum(total.exercises.values()) == len(all_exercises()) and len(counts) == len(COURSE)
    assert total.museum == len(DEFECTS) and total.explorers == 5 and total.seconds is None
    cells = sum(cell["cell_type"] == "code" for name in file_names().values() for cell in read_cells(notebook_folder() / name))
    assert total.cells == cells and total.wrong > 3 * len(all_exercises()) and total.cases > 3 * len(all_exercises())


def test_seconds_are_those_of_the_run_and_a_failure_is_named(monkeypatch):
    runs = iter(2 * [Run("00", 2, 3.0, 1, 2.5, "x", ""), Run("02", 2, 4.0, 1, 1.5, "x", "NameError: y")])
    monkeypatch.setattr("v4mini.lessons.counted.run_notebook", lambda path, write: next(runs))
    shown = CliRunner().invoke(main, ["table", "00", "02", "--json"])
    first, second, total = json.loads(shown.output)
    assert shown.exit_code == 1 and (total["seconds"], total["slowest"], total["fault"]) == (7.0, 2.5, "02")
    assert first["exercises"] == {"warm-up": 1, "core": 0, "stretch": 0} and second["fault"] == "NameError: y"
    shown = CliRunner().invoke(main, ["table", "00", "02"])
    assert shown.exit_code == 1 and shown.output.splitlines()[-1] == "02 did not run to its end: NameError: y"


def test_it_prints_a_row_for_each_lesson():
    shown = CliRunner().invoke(main, ["table", "00", "--no-run"])
    assert shown.exit_code == 0 and "Start here" in shown.output and shown.output.splitlines()[-1].startswith("all  1 lessons")
