"""Editions: a student's has no answer, an instructor's has all of them open, slides begin where sections and cells do."""

import json
import re

import nbformat
import pytest
from click.testing import CliRunner

from v4mini.lessons.__main__ import main
from v4mini.lessons.cells import tasks
from v4mini.lessons.editions import BREAK, expected_mistakes, instructor, slides, student
from v4mini.lessons.places import notebook_folder, notebooks
from v4mini.lessons.registry import find

FIVE = "05_heavy_compression.ipynb"


def read(path):
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [cell.get("outputs") for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editions") / "both"
    done = CliRunner().invoke(main, ["editions", "--out", str(folder)])
    assert done.exit_code == 0 and f"{len(notebooks())} lessons in" in done.output, done.output
    return folder


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_each_lesson_in_both_editions(written, path):
    """Code cells and outputs stay as they are; what a solution defines is in one edition and not in the other."""
    original, without, with_all = read(path), read(written / "student" / path.name), read(written / "instructor" / path.name)
    assert outputs(original) == outputs(without) == outputs(with_all)
    for notebook in (without, with_all):
        nbformat.validate(notebook)
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
    words = ["\n".join(cell.source for cell in one.cells if cell.cell_type == "markdown") for one in (without, with_all)]
    assert "<details" not in words[0] + words[1]
    for task in (task for task in tasks(path) if task.solution):
        assert task.solution.strip() not in words[0] and task.solution.strip() in words[1], task.exercise
        assert words[1].count(f"For the instructor: `{task.exercise}`") == 1


def test_answers_to_questions_are_left_out_too(written):
    plain = json.loads((notebook_folder() / FIVE).read_text(encoding="utf-8"))
    text = "\n".join("".join(cell["source"]) for cell in plain["cells"])
    answers = re.findall(r"<summary>Answer</summary>\n+(.{30})", text)
    assert answers
    for answer in answers:
        assert answer not in "".join(cell.source for cell in read(written / "student" / FIVE).cells)
        assert answer in "".join(cell.source for cell in read(written / "instructor" / FIVE).cells)


def test_expected_mistakes_are_what_check_says():
    page, exercise = expected_mistakes("ops.rope.rope"), find("ops.rope.rope")
    assert page.count("```python\ndef ") == len(exercise.wrong)
    assert "rope: case 3 of 5, only the last 4 of 10 numbers turn" in page


@pytest.mark.parametrize("first", ["file", "link"])
def test_what_lies_in_the_folder_stays(tmp_path, first):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "05_heavy_compression.ipynb").write_text("my work")
    target = mine
    if first == "link":
        target = tmp_path / "link"
        target.symlink_to(mine)
    told = CliRunner().invoke(main, ["editions", "--out", str(target)])
    assert told.exit_code == 2 and "a new or an empty folder" in told.output
    assert [path.name for path in mine.iterdir()] == [FIVE] and (mine / FIVE).read_text() == "my work"


def test_slides_begin_at_headings_and_code():
    notebook = slides(read(notebook_folder() / FIVE))
    for before, cell in zip(notebook.cells, notebook.cells[1:]):
        if cell.cell_type == "code":
            assert before.source == BREAK or len(before.source.rpartition("\n## ")[2].splitlines()) < 5
    text = "".join(cell.source for cell in notebook.cells)
    assert "<details" not in text and BREAK in text and BREAK + BREAK not in text
    original = read(notebook_folder() / FIVE)
    shown = [cell for cell in original.cells if cell.cell_type == "code" and cell.outputs]
    assert [cell.outputs for cell in notebook.cells if cell.get("outputs")] == [cell.outputs for cell in shown]


def test_an_edition_of_a_toy():
    cells = [nbformat.v4.new_markdown_cell("# T\n\n<details><summary>Answer</summary>\n\n42\n</details>\n\nAfter"),
             nbformat.v4.new_markdown_cell("<details><summary>A solution (try first)</summary>\n\n42\n</details>")]
    toy = nbformat.v4.new_notebook(cells=cells)
    assert [cell.source for cell in student(nbformat.from_dict(toy)).cells] == ["# T\n\nAfter"]
    toy = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(
        "<details><summary>A solution (try first; <code>hint</code>)</summary>\n\n42\n</details>\n\nAfter")])
    assert [cell.source for cell in instructor(toy).cells] == ["**A solution**\n\n42\n\nAfter"]
