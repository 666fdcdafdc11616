"""Values in a few words: short, whole where a reader can redo it by hand, the same on every machine."""

import numpy as np
import pytest

from v4mini.lessons.written import argument, is_plain, number, written_out


@pytest.mark.parametrize("value, text", [
    (np.array([[3.0, 4.0]]), "x = [[3, 4]]"),
    (np.zeros((2, 9), np.float32), "x [2, 9]"),
    (np.array([True, False]), "x = [True, False]"),
    (None, "x = None"),
    (1e-6, "x = 1e-06"),
    (1 / 3, "x = 0.333333"),
    (list(range(20)), "x = [0, 1, 2, 3, 4, 5, 6, 7, ...]"),
    ({"a": {"b": {"c": {"d": 1}}}}, "x = {'a': {'b': {'c': {'d': 1}}}}"),
    (object(), ""),
    ([object()], ""),
])
def test_arguments(value, text):
    assert argument("x", value) == text


def test_print_options_of_the_reader_change_nothing():
    with np.printoptions(precision=1):
        assert written_out(np.array([0.123456, 2])) == "[0.1235, 2]" and number(np.float32(0.123456)) == "0.1235"


def test_plain_is_what_can_be_written():
    assert is_plain([{"a": (1, np.ones(2))}, {2, 3}]) and not is_plain({"a": len})
