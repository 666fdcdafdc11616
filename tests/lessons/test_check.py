"""check, hint and show: what a reader is told. Not here: the course's own exercises (test_exercises.py)."""

import numpy as np
import pytest

from v4mini.lessons import check, hint, relative, show
from v4mini.lessons.exercise import Exercise, library_object
from v4mini.lessons.verdict import judge
from v4mini.ops.norm import rms_norm
from v4mini.shapes import Refused


def cases(rng):
    yield "a row to check by pencil", (np.array([[3.0, 4.0]], np.float32), np.ones(2, np.float32))
    yield "a row of zeros", (np.zeros((2, 9), np.float32), np.ones(9, np.float32))


def exercise(ours, cases=cases, **settings):
    return Exercise("lesson.task", cases, ours=ours, hints=("one",), differently=ours, wrong=(ours, ours), **settings)


NORM = exercise(lambda x, weight: rms_norm(x, weight))


def told(mine, task=NORM):
    verdict = judge(mine, task)
    assert not verdict.passed
    return verdict.text


def test_a_right_answer_in_float64_passes():
    assert judge(lambda x, weight: rms_norm(x.astype(np.float64), weight), NORM).text == (
        "task: 2 of 2 cases agree, largest difference below 1e-5")


def test_the_first_difference_is_shown_with_case_place_and_both_rows():
    assert told(lambda x, weight: rms_norm(x, weight) + (np.arange(x.shape[1]) == 1)).splitlines() == [
        "task: case 1 of 2, a row to check by pencil",
        "  with x = [[3, 4]], weight = [1, 1]",
        "  first difference at [0, 1]: yours 2.131, expected 1.131",
        "  yours        0.8485     2.131",
        "  expected     0.8485     1.131"]


def test_a_long_row_is_cut_around_the_difference():
    text = told(lambda x, weight: np.where(np.arange(x.shape[1]) == 7, 5, rms_norm(x, weight)))
    assert "case 2 of 2" in text and "x [2, 9]" in text
    assert "  yours     ...         0         0         0         0         5         0" in text


def test_a_difference_too_small_to_print_is_named():
    assert "yours 0.8485, expected 0.8485 (they differ by 2.0e-05)" in told(lambda x, weight: rms_norm(x, weight) + 2e-5)


@pytest.mark.parametrize("mine, part", [
    (lambda x, weight: None, "not solved yet: <lambda> returns nothing"),
    (lambda x, weight: ..., "not solved yet"),
    (lambda x, weight: x[0], "wrong shape: expected [1, 2], yours is [2]."),
    (lambda x, weight: x.tolist(), "wrong type: expected an array of float32, yours is a list."),
    (lambda x, weight: (x, x), "yours is a tuple."),
    (lambda x, weight: "text", "yours is text."),
    (lambda x, weight: x.astype(int), "expected decimal numbers, yours are whole numbers (int64)."),
    (lambda x, weight: x * np.nan, "yours nan, expected 0.8485"),
    (lambda x: x, "TypeError: <lambda>() takes 1 positional argument but 2 were given\n  it was called with (x, weight)"),
    (lambda x, weight: np.multiply(x, 2, out=x), "your function changed its argument x."),
    (7, "expected a function, got int"),
])
def test_every_mistake_is_a_sentence(mine, part):
    assert part in told(mine)


def test_an_exception_is_told_with_the_line_of_the_readers_function():
    def my_norm(x, weight):
        total = x.sum()
        return total / weight[99]

    text = told(my_norm)
    assert "IndexError: index 99 is out of bounds for axis 0 with size 2" in text
    assert "in line 3 of your function: return total / weight[99]" in text


def test_not_implemented_counts_as_not_solved():
    def my_norm(x, weight):
        raise NotImplementedError

    assert "not solved yet: my_norm returns nothing" in told(my_norm)


def test_tuples_text_and_whole_numbers_are_compared_too():
    def one_case(rng):
        yield "the only one", (3,)

    pair = exercise(lambda n: (np.arange(n), n), one_case, tolerance=0)
    assert judge(lambda n: [np.arange(n), n], pair).text == "task: 1 of 1 cases agree, exactly"
    assert "result 2 of 2: yours 4, expected 3" in told(lambda n: (np.arange(n), n + 1), pair)
    assert "expected 2 results, yours gives one value, an array of int64." in told(lambda n: np.arange(n), pair)
    assert "first difference at [0]: yours 1, expected 0" in told(lambda n: (np.arange(n) + 1, n), pair)
    words = exercise(lambda n: "a word or two", one_case)
    assert "first difference at character 3" in told(lambda n: "a wXrd", words)
    chosen = exercise(lambda n: {"kept": n}, one_case)
    assert judge(lambda n: {"kept": n}, chosen).passed
    assert "expected  {'kept': 3}" in told(lambda n: {"kept": 4}, chosen)


def given(*arguments):
    def one_case(rng):
        yield "the only one", arguments

    return one_case


@pytest.mark.parametrize("argument, text", [
    ([(0, 4), (4, 10)], "with x = [(0, 4), (4, 10)]"),
    (("a", "b"), "with x = ('a', 'b')"),
    ({"weights": (3, 4)}, "with x = {'weights': (3, 4)}"),
    ([np.arange(2), np.zeros((3, 5))], "with x = [[0, 1], float64 [3, 5]]"),
    (b"\x01\x02", "with x = b'\\x01\\x02'"),
    (np.float32(0.1), "with x = 0.1"),
    ("a" * 300, "with x = 'aaaa"),
])
def test_arguments_of_any_type_are_shown(argument, text):
    assert text in told(lambda x: 1, exercise(lambda x: 0, given(argument), tolerance=0))


def test_a_list_is_shown_whole_not_by_its_shape():
    merge = exercise(lambda x: [(0, 10)], given([(0, 4), (4, 10)]), tolerance=0)
    assert "  yours     [(0, 4), (4, 10)]\n  expected  [(0, 10)]" in told(lambda x: x, merge)
    assert judge(lambda x: [[0, 10]], merge).passed
    join = exercise(lambda x: ("an", "a"), given(("a", "n", "a")), tolerance=0)
    assert "  yours     ('a', 'n', 'a')\n  expected  ('an', 'a')" in told(lambda x: x, join)


def test_none_may_be_the_right_answer():
    def two_cases(rng):
        yield "it never pays", (0,)
        yield "it pays", (4,)

    pays = exercise(lambda n: 8 / n if n else None, two_cases)
    assert judge(lambda n: 8 / n if n else None, pays).passed
    text = told(lambda n: None, pays)
    assert "case 2 of 2, it pays" in text and "not solved" not in text
    assert "yours is 8" not in text and "case 1 of 2" in told(lambda n: 8.0, pays)


def test_a_mask_is_true_and_false():
    mask = exercise(lambda n: np.arange(n) > 1, given(3), tolerance=0)
    assert "expected True and False, yours are whole numbers" in told(lambda n: (np.arange(n) > 1).astype(int), mask)
    ones = exercise(lambda n: np.ones(n, int), given(3), tolerance=0)
    assert "expected whole numbers, yours are True and False" in told(lambda n: np.ones(n, bool), ones)


def test_one_whole_number_may_stand_for_one_decimal():
    least = exercise(lambda n: min(n, 2.5), given(2), tolerance=0)
    assert judge(lambda n: 2, least).passed and not judge(lambda n: 3, least).passed


@pytest.mark.parametrize("argument, change", [
    ([1, 2], lambda x: x.append(3)),
    ({"a": 1}, lambda x: x.clear()),
    ([{"a": [1]}], lambda x: x[0]["a"].append(2)),
    (np.zeros(2), lambda x: x.fill(1)),
])
def test_an_argument_of_any_type_must_stay_as_it_was(argument, change):
    assert "changed its argument x" in told(lambda x: change(x) or 0, exercise(lambda x: 0, given(argument), tolerance=0))


def test_check_prints_one_verdict_and_gives_nothing_back(capsys):
    assert check(rms_norm, "ops.norm.rms_norm") is None
    assert capsys.readouterr().out == "rms_norm: 5 of 5 cases agree, largest difference below 1e-5\n"


def test_hints_come_one_after_the_other(capsys):
    for number in (1, 2, 3, 3):
        hint("ops.rope.rope")
        assert capsys.readouterr().out.startswith(f"hint {number} of 3: ")
    hint("ops.rope.rope", n=1)
    assert capsys.readouterr().out.startswith("hint 1 of 3: ")
    with pytest.raises(Refused, match="expected n from 1 to 3, got 4"):
        hint("ops.rope.rope", n=4)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(Refused, match="Did you mean ops.rope.rope"):
        check(rms_norm, "ops.rope.roep")
    with pytest.raises(Refused, match="has no 'nothing'"):
        library_object("ops.nothing")


def test_show_prints_functions_methods_and_modules_as_they_stand(capsys):
    show("ops.rope.rope", "model.Model.head")
    text = capsys.readouterr().out
    assert text.startswith("# v4mini/ops/rope.py\ndef rope(x, positions, freqs, inverse=False):")
    assert "\n\n# v4mini/model.py\ndef head(self, streams, w):" in text
    with pytest.raises(Refused, match="without source"):
        show("ops.index.SCORES_AT_ONCE")


@pytest.mark.parametrize("ours, theirs, share", [
    ([1.0, 100.0], [2.0, 100.0], 0.01), (np.float32([[3]]), np.float32([[4]]), 0.25), (2.0, 2.0, 0), ([0, 0], [0, 0], 0),
    ([1e-9, 0], [0, 0], np.inf), ([np.nan, 1], [1, 1], np.nan), ([], [], 0)])
def test_relative_is_a_share_of_the_largest_number(ours, theirs, share):
    np.testing.assert_allclose(relative(ours, theirs), share, rtol=1e-12)


def test_relative_does_not_stretch_a_shape():
    with pytest.raises(Refused, match=r"expected two of one shape, got \[2\] and \[1, 2\]\. Try"):
        relative(np.ones(2), np.ones((1, 2)))
