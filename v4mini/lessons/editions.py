"""Editions of the course: for students, without answers; for instructors, with answers open and what goes wrong; for slides.

Each takes a notebook and changes it; outputs stay. Not here: writing folders (folders.py), web pages (website.py).
"""

import inspect
import re
from pathlib import Path

from v4mini.lessons.cells import exercises_in
from v4mini.lessons.folders import expect_new
from v4mini.lessons.places import notebook_folder, notebooks
from v4mini.lessons.registry import find
from v4mini.lessons.verdict import judge
from v4mini.writing import make_folder, write_whole

ANSWER = re.compile(r"<details><summary>(.*?)</summary>\n(.*?)\n?</details>\n*", re.S)
BREAK = "```{revealjs-break}\n```"
ROOM = 5                                    # lines of text below which code goes on the same slide
SETUP = re.compile(r"^(import|from) ")


def write_editions(folder):                 # -> how many lessons
    """All lessons in folder/student and folder/instructor; the teacher's page beside the latter. Refused unless it is new."""
    import nbformat

    expect_new(folder)
    for name, edition in (("student", student), ("instructor", instructor)):
        place = Path(make_folder(Path(folder, name)))
        for path in notebooks():
            write_whole(place / path.name, nbformat.writes(edition(nbformat.read(path, as_version=4))) + "\n")
    page = notebook_folder() / "TEACHING.md"
    write_whole(place / page.name, page.read_bytes())
    return len(notebooks())


def student(notebook):                      # -> the same notebook: no folded answer is left in it
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = ANSWER.sub("", cell.source).rstrip()
    notebook.cells = [cell for cell in notebook.cells if cell.source or cell.cell_type == "code"]
    return notebook


def instructor(notebook):                   # -> the same notebook: answers open, expected wrong ones below each exercise
    import nbformat

    cells, seen = [], set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = ANSWER.sub(_opened, cell.source).rstrip()
        cells.append(cell)
        for name in sorted(set(exercises_in(cell)) - seen) if "def my_" in cell.source else ():
            cells.append(nbformat.v4.new_markdown_cell(expected_mistakes(name), id=f"{cell.id}-{len(cells)}"))
            seen.add(name)
    notebook.cells = cells
    return notebook


def expected_mistakes(name):                # name of an exercise -> markdown
    """Wrong answers that readers give, and the first line that check then prints."""
    exercise, parts = find(name), []
    for number, wrong in enumerate(exercise.wrong, 1):
        told = judge(wrong, exercise).text.splitlines()[0]
        parts.append(f"Wrong answer {number} (`check` says: *{told}*)\n\n```python\n{inspect.getsource(wrong).strip()}\n```")
    return f"**For the instructor: `{name}`**\n\n" + "\n\n".join(parts)


def slides(notebook):                       # -> the same notebook: headings begin slides, and so does each code cell
    """Answers are left out, and so are cells that only import."""
    import nbformat

    cells = []
    for cell in student(notebook).cells:
        is_setup = cell.cell_type == "code" and not cell.outputs and SETUP.match(cell.source)
        if is_setup or not cell.source.strip():
            continue
        if not (cells and _has_room(cells[-1])) if cell.cell_type == "code" else not cell.source.startswith("#"):
            cells.append(nbformat.v4.new_markdown_cell(BREAK, id=f"break-{len(cells)}"))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def _has_room(cell):                        # a heading with a line or two: the next cell goes on the same slide
    return cell.cell_type == "markdown" and len(cell.source.rpartition("\n## ")[2].strip().splitlines()) < ROOM


def _opened(match):                         # a folded answer -> the same in the open
    title = re.sub(r"\s*\(try first.*", "", match[1])
    return f"**{title}**\n\n{match[2].strip()}\n\n"
