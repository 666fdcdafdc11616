"""Every exercise of the course can be solved, is solved by its folded solution, and by no planted mistake."""

import json

import pytest

from v4mini.lessons.cells import function_of, tasks
from v4mini.lessons.registry import all_exercises
from v4mini.lessons.verdict import judge
from v4mini.lessons.verify import WANTED, verify_exercises

ROWS = verify_exercises()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.exercise)
def test_exercise(row):
    assert row.passed, dict(zip(WANTED, row.results))


@pytest.mark.parametrize("exercise", all_exercises().values(), ids=lambda exercise: exercise.name)
def test_ours_passes_its_own_check_and_cases_are_the_same_each_time(exercise):
    assert judge(exercise.answer, exercise).passed
    assert judge(exercise.wrong[0], exercise) == judge(exercise.wrong[0], exercise)


# Mistakes of a kind that shows only on inputs made for it: who sorts must meet ties, who takes exp must meet scores far apart.
OF_A_KIND = {
    "ties": {"ops.index.top_k": ("_top_unstable", "_top_turned_round"), "ops.route.route": ("_route_unstable",),
             "watching.best_tokens": ("_draw_of_equal_ones_the_last",)},
    "scores far apart": {"window.one_head": ("_head_largest_of_all",), "window.merge": ("_merge_one_top_for_all",),
                         "ops.compress.pool": ("_pool_largest_of_all",), "heavy.compress": ("_heavy_largest_of_all",),
                         "choosing.compress": ("_overlap_largest_of_all",), "choosing.attend": ("_attend_one_top_for_all",),
                         "watching.loss_and_slope": ("_loss_one_top_for_all",)},
    "overflow": {"start.probabilities": ("_overflows",), "ops.route.affinity": ("_affinity_overflows",),
                 "watching.loss_and_slope": ("_loss_overflows",)},
    "nothing to read": {"window.merge": ("_merge_nothing_is_nan",), "choosing.attend": ("_attend_last_entry_for_none",)},
    "small whole numbers": {"ladder.from_bits": ("_bits_in_uint8",)},
}


@pytest.mark.parametrize("kind, name, mistake", [(kind, name, mistake) for kind, exercises in OF_A_KIND.items()
                                                 for name, mistakes in exercises.items() for mistake in mistakes])
def test_a_mistake_of_this_kind_is_planted_and_seen(kind, name, mistake):
    planted = {one.__name__: one for one in all_exercises()[name].wrong}
    assert not judge(planted[mistake], all_exercises()[name]).passed, f"{kind}: {name} takes {mistake}"


def notebook(folder, *cells):
    path = folder / "02_norm_rope.ipynb"
    kinds = {"code": {"outputs": [], "execution_count": None}, "markdown": {}}
    path.write_text(json.dumps({"cells": [{"cell_type": kind, "metadata": {}, "source": source, **kinds[kind]}
                                          for kind, source in cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


STUB = "def my_norm(x, weight, eps):\n    ...\n\ncheck(my_norm, 'ops.norm.rms_norm')"
SOLVED = "def my_norm(x, weight, eps):\n    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight"
FOLDED = f"<details><summary>A solution</summary>\n\n```python\n{SOLVED}\n```\n</details>"


def results_of(folder):
    return next(row for row in verify_exercises(folder) if row.exercise == "ops.norm.rms_norm").results[:2]


def test_a_sound_notebook_passes(tmp_path):
    path = notebook(tmp_path, ("code", "import numpy as np\nlost = 1 / 1"), ("code", STUB), ("markdown", FOLDED))
    assert results_of(tmp_path) == (True, True)
    (task,) = tasks(path)
    assert function_of(task, "") is None


@pytest.mark.parametrize("cells, results", [
    ([("code", STUB)], (False, True)),                                                      # no folded solution
    ([("code", STUB), ("markdown", FOLDED.replace("+ eps", ""))], (False, True)),           # a wrong one
    ([("markdown", FOLDED), ("code", STUB)], (False, True)),                                # above the exercise
    ([("code", SOLVED + "\ncheck(my_norm, 'ops.norm.rms_norm')"), ("markdown", FOLDED)], (True, False)),    # given away
    ([("markdown", "nothing here")], (False, False)),                                       # forgotten
], ids=["unfolded", "wrong", "above", "given away", "forgotten"])
def test_an_unsound_one_fails(tmp_path, cells, results):
    notebook(tmp_path, ("code", "import numpy as np"), *cells)
    assert results_of(tmp_path) == results


def test_a_check_of_nothing_we_know_is_listed(tmp_path):
    notebook(tmp_path, ("code", "check(my_x, 'ops.nothing')"))
    assert any(row.exercise == "ops.nothing (unknown)" and not row.passed for row in verify_exercises(tmp_path))
