"""The head of a lesson: goals, what to read before, time, difficulty, exercises, and where in the whole model it stands.

    python -m v4mini.lessons heads      writes it into each notebook, as its second cell

Not here: the data (course.py).
"""

import re
from collections import Counter

from v4mini.lessons.cells import exercises_in, read_cells, tasks
from v4mini.lessons.course import GRADES, file_names, grade_of, lesson_of
from v4mini.lessons.registry import all_exercises
from v4mini.viz.whole import picture

MARK = "**After this lesson you can**"
WORDS, LINES = 130, 8                       # read a minute, in a second language; lines of code
MINUTES = {"warm-up": 5, "core": 10, "stretch": 20}
ROUNDED = 15


def head(lesson, names):                    # Lesson, {number: file name of its notebook} -> markdown
    """The second cell of a notebook."""
    counts = Counter(grade_of(exercise.name) for exercise in all_exercises().values() if exercise.lesson == lesson.number)
    exercises = ", ".join(f"{counts[grade]} {grade}" for grade in GRADES if counts[grade]) or "none"
    before = ", ".join(f"[{number}]({names[number]})" for number in lesson.before) or "nothing"
    return "\n".join([
        MARK, "", *(f"* {goal}" + (";" if goal != lesson.goals[-1] else ".") for goal in lesson.goals), "",
        f"**Read before** {before} · **Time** about {lesson.minutes} minutes · **Difficulty** {lesson.difficulty} · "
        f"**Exercises** {exercises}", "",
        "```text", picture(*lesson.here), "```", "",
        'At any time: `lessons.glossary("token")` explains a word, `lessons.sizes()` the letters of shapes, '
        "`lessons.progress()` shows what you have solved."])


def estimated_minutes(path):                # -> int, a multiple of 15
    """To read a notebook's text, to read and run its code, and to solve its exercises."""
    words = lines = 0
    for cell in read_cells(path):
        if cell["cell_type"] == "markdown" and not cell["source"].startswith(MARK):
            words += len(re.sub(r"<details>.*?</details>|```.*?```", "", cell["source"], flags=re.S).split())
        elif cell["cell_type"] == "code":
            lines += sum(bool(line.strip()) for line in cell["source"].splitlines())
    solving = sum(MINUTES[grade_of(name)] for name in {task.exercise for task in tasks(path)})
    return max(ROUNDED, ROUNDED * round((words / WORDS + lines / LINES + solving) / ROUNDED))


def put_head(path):                         # -> bool: was it changed?
    """Write a notebook's head behind its title; a new one, or in the place of an old one. Outputs stay."""
    import nbformat

    from v4mini.lessons.notebooks import save

    notebook = nbformat.read(path, as_version=4)
    wanted = head(lesson_of(path.name[:2]), file_names(path.parent))
    if notebook.cells[1].source == wanted:
        return False
    if not notebook.cells[1].source.startswith(MARK):
        notebook.cells.insert(1, nbformat.v4.new_markdown_cell(id=f"l{path.name[:2]}-head"))
    notebook.cells[1].source = wanted
    save(notebook, path)
    return True


def graded_headings(path):                  # -> [(cell, heading, "(core)")]: what each exercise's heading must end in
    """The last heading before each exercise, with the grades of all exercises below it."""
    cells, found = read_cells(path), {}
    for place, cell in enumerate(cells):
        for name in exercises_in(cell):
            above = [(at, line) for at in range(place) if cells[at]["cell_type"] == "markdown"
                     for line in cells[at]["source"].splitlines() if line.startswith("## ") or line.startswith("### ")]
            found.setdefault(above[-1], []).append(grade_of(name))
    return [(at, line, f"({', '.join(dict.fromkeys(grades))})") for (at, line), grades in found.items()]
