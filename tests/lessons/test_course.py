"""The course's data and its notebooks say the same; words and letters are one call away."""

import ast
import json
import re

import nbformat
import pytest
from click.testing import CliRunner

from v4mini.lessons import glossary, sizes
from v4mini.lessons.__main__ import main
from v4mini.lessons.cells import read_cells, tasks
from v4mini.lessons.course import COURSE, DIFFICULTIES, STRETCHES, WARM_UPS, file_names, grade_of, lesson_of
from v4mini.lessons.head import MARK, ROUNDED, estimated_minutes, graded_headings, head, put_head
from v4mini.lessons.places import notebooks
from v4mini.lessons.registry import all_exercises
from v4mini.lessons.terms import TERMS
from v4mini.shapes import LETTERS, Refused

PATHS = {path.name[:2]: path for path in notebooks()}
each_lesson = pytest.mark.parametrize("lesson", COURSE, ids=lambda lesson: lesson.number)


def test_the_course_names_every_notebook_in_the_order_of_its_links():
    here, order = "00", []
    while here not in order:
        order.append(here)
        (here,) = re.findall(r"\*\*Next\*\* \[(\d\d):", read_cells(PATHS[here])[-1]["source"])
    assert order == [lesson.number for lesson in COURSE] and set(order) == set(PATHS)


@each_lesson
def test_a_lesson_is_told_in_full_and_needs_only_what_is_read_by_then(lesson):
    order = [other.number for other in COURSE]
    assert 2 <= len(lesson.goals) <= 3 and lesson.difficulty in DIFFICULTIES and lesson.here
    assert all(order.index(number) < order.index(lesson.number) for number in lesson.before)
    assert not any(goal.endswith(".") or goal[0].isupper() for goal in lesson.goals)


@each_lesson
def test_the_head_of_a_notebook_is_what_the_data_say(lesson):
    assert read_cells(PATHS[lesson.number])[1]["source"] == head(lesson, file_names()), "run python -m v4mini.lessons heads"


@each_lesson
def test_minutes_follow_from_words_lines_and_exercises(lesson):
    assert abs(lesson.minutes - estimated_minutes(PATHS[lesson.number])) <= ROUNDED


@each_lesson
def test_every_exercise_says_how_hard_it_is(lesson):
    for _, line, suffix in graded_headings(PATHS[lesson.number]):
        assert line.endswith(suffix), f"{line!r} should end in {suffix}"


@each_lesson
def test_words_and_letters_are_one_call_away(lesson):
    trees = [ast.parse(cell["source"]) for cell in read_cells(PATHS[lesson.number]) if cell["cell_type"] == "code"
             and not cell["source"].startswith("%")]
    imported = {alias.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
                and node.module == "v4mini" for alias in node.names}
    assert "lessons" in imported, "from v4mini import lessons"


def test_grades_are_of_exercises_that_exist_and_each_exercise_has_a_place():
    known = all_exercises()
    assert not (WARM_UPS | STRETCHES) - set(known) and not WARM_UPS & STRETCHES
    assert {grade_of(name) for name in known} == {"warm-up", "core", "stretch"}
    placed = {task.exercise: number for number, path in PATHS.items() for task in tasks(path)}
    assert placed == {name: exercise.lesson for name, exercise in known.items()}


def test_writing_heads_changes_only_what_is_old(tmp_path):
    for path in PATHS.values():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    mine = tmp_path / PATHS["05"].name
    whole = mine.read_text(encoding="utf-8")
    assert not put_head(mine)
    document = json.loads(whole)
    del document["cells"][1]
    mine.write_text(json.dumps(document), encoding="utf-8")
    assert put_head(mine) and not put_head(mine)
    before, after = nbformat.reads(whole, 4), nbformat.read(mine, 4)
    for notebook in (before, after):
        assert notebook.cells[1].pop("id") and notebook.cells[1].source.startswith(MARK)
    assert before == after


def test_an_unknown_lesson_is_refused():
    with pytest.raises(Refused, match="expected one of 00, 01, .* got '99'"):
        lesson_of("99")


@pytest.mark.parametrize("asked, told", [
    ("sink", "sink: where the share"), ("Sinks", "sink: where"), ("entries", "entry: the one row"), ("HCA", "HCA: heavily"),
    ("hca", "HCA: heavily"), ("token", "token: a piece of text that has a number (lesson 01, 01_tokens_and_chat.ipynb)")])
def test_the_glossary_knows_a_word_in_any_form(capsys, asked, told):
    glossary(asked)
    assert capsys.readouterr().out.startswith(told)


def test_the_glossary_lists_all_and_refuses_what_it_does_not_know(capsys):
    glossary()
    assert capsys.readouterr().out.count("\n") == len(TERMS) + 2
    with pytest.raises(Refused, match=r"got 'sinkhron'\. Did you mean Sinkhorn"):
        glossary("sinkhron")
    with pytest.raises(Refused, match="prints all of them"):
        glossary("zzz")


def test_sizes_are_those_of_the_configs(capsys):
    sizes()
    lines = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["hd"][-2:] == ["512", "96"] and lines["D"][-2:] == ["4,096", "256"] and set(LETTERS) <= set(lines)


def test_heads_is_a_command():
    shown = CliRunner().invoke(main, ["heads", "00"])
    assert shown.exit_code == 0 and "as it was" in shown.output
