"""Spoilt right answers: each kind is made where it changes something, and a check with weak cases lets it pass."""

import numpy as np
import pytest

from v4mini.lessons.exercise import Exercise
from v4mini.lessons.kinds import kinds_of_mistakes
from v4mini.lessons.verdict import cases_of, judge
from v4mini.lessons.verify import verify_exercises


def kinds_of(ours, *arguments, tolerance=0):
    def cases(rng):
        yield "the only one", arguments

    task = Exercise("lesson.task", cases, ours=ours, hints=("one",), differently=ours, wrong=(ours, ours), tolerance=tolerance)
    return task, dict(kinds_of_mistakes(task, [given for _, given in cases_of(task)]))


@pytest.mark.parametrize("ours, arguments, kind", [
    (lambda n: np.arange(n) > 1, (4,), "a mask of 1 and 0"),
    (lambda n: np.arange(n), (4,), "decimals for whole numbers"),
    (lambda n: np.arange(n) + 1000 / 3, (4,), "rounded to half precision"),
    (lambda n: np.arange(n) + 1 / 3, (4,), "the last number off by one"),
    (lambda n: np.ones((n, n)), (4,), "without its axes"),
    (lambda x: x.sum(), (np.ones(3),), "writes into an argument"),
    (lambda x: len(x), ([1, 2],), "writes into an argument"),
])
def test_each_kind_is_made_and_noticed(ours, arguments, kind):
    task, kinds = kinds_of(ours, *arguments, tolerance=1e-6)
    assert judge(task.answer, task).passed
    assert not judge(kinds[kind], task).passed


def test_kinds_that_change_nothing_are_left_out():
    _, kinds = kinds_of(lambda n: n + 1, 4)
    assert set(kinds) == {"knows the first case by heart"}


def test_one_case_alone_can_be_known_by_heart():           # why exercises have several
    task, kinds = kinds_of(lambda n: n + 1, 4)
    assert judge(kinds["knows the first case by heart"], task).passed


def test_every_exercise_of_the_course_is_given_at_least_three_mistakes():
    assert min(row.mistakes for row in verify_exercises()) >= 3
