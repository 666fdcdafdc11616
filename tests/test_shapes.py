"""expect: one check, one sentence."""

import numpy as np
import pytest

from v4mini.shapes import Refused, expect


def test_letters_come_back_with_their_sizes():
    assert expect("x", np.zeros((3, 4)), "T D") == {"T": 3, "D": 4}
    assert expect("x", np.zeros(()), "") == {}


def test_a_letter_used_twice_is_one_size():
    assert expect("x", np.zeros((4, 4)), "D D") == {"D": 4}
    with pytest.raises(Refused, match=r"x: expected \[D, D\], got \[4, 5\]\."):
        expect("x", np.zeros((4, 5)), "D D")


@pytest.mark.parametrize("shape", [(9,), (8, 8), ()])
def test_the_sentence_says_wanted_got_and_try(shape):
    with pytest.raises(Refused) as refused:
        expect("weight", np.zeros(shape), "D", hint="Is it from another config?", D=8)
    assert str(refused.value) == f"weight: expected [D] with D = 8, got {list(shape)}. Is it from another config?"


def test_refused_is_a_value_error_so_that_callers_need_not_know_it():
    assert issubclass(Refused, ValueError)
