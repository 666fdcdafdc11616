"""Batches: sequences on one axis, what follows what, and arrays that do not fit each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini import Config, Refused
from v4mini.training.batch import Batch
from v4mini.training.step import check_batch


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4))
def test_after_stays_within_a_sequence(lengths, distance):
    rows = [[10 * number + place for place in range(n)] for number, n in enumerate(lengths)]
    batch = Batch.of(rows)
    tokens, later = batch.after(distance)
    wanted = [(row[place], row[place + distance]) for row in rows for place in range(len(row) - distance)]
    assert list(zip(batch.ids[tokens].tolist(), batch.ids[later].tolist())) == wanted
    assert [batch.ids[span].tolist() for span in batch.spans] == rows
    assert all((batch.positions[span] == np.arange(span.stop - span.start)).all() for span in batch.spans)


def test_weights_go_with_their_tokens():
    batch = Batch.of([[1, 2], [3]], [[0.5, 0], [2]])
    assert batch.weights.tolist() == [0.5, 0, 2] and batch.weights.dtype == np.float32
    assert Batch.of([[1, 2]]).weights.tolist() == [1, 1]


@pytest.mark.parametrize("given, words", [
    ({"positions": [0, 1]}, r"expected positions \[T\] with T = 3, got \[2\]"),
    ({"weights": [1, 1, 1, 1]}, r"expected weights \[T\]"),
    ({"ends": [2, 2, 3]}, "ends that rise to T = 3"), ({"ends": [2]}, "ends that rise to T = 3"),
    ({"ends": []}, "ends that rise"),
    ({"weights": [1, -1, 1]}, "weights of 0 or more"), ({"weights": [1, np.nan, 1]}, "weights of 0 or more"),
    ({"positions": [0, 0, 1]}, "positions of 0 or more that rise"), ({"positions": [-1, 0, 1]}, "positions of 0 or more")])
def test_what_does_not_fit_is_refused(given, words):
    with pytest.raises(Refused, match=words):
        Batch(**({"ids": [5, 6, 7], "ends": [3], "positions": [0, 1, 2], "weights": [1, 1, 1]} | given))


def test_between_two_sequences_positions_may_do_anything():
    assert len(Batch([5, 6, 7], [2, 3], [7, 8, 0], [1, 1, 1]).spans) == 2


@pytest.mark.parametrize("positions, words", [
    ([0, 1, 2, 3, 5, 6, 7, 8], "each block of 4 tokens on 4 neighbouring positions"),      # the second block starts at 5
    ([1, 2, 3, 4, 5, 6, 7, 8], "each block of 4 tokens"), ([0, 1, 2, 4, 8, 9, 10, 11], "each block of 4 tokens"),
    ([0, 1, 2, 3, 4, 5, 6, 1 << 20], "expected positions below 1048576")])
def test_positions_that_a_model_cannot_pool_are_refused(positions, words):
    config = Config.tiny()
    with pytest.raises(Refused, match=words):
        check_batch(config, Batch(np.ones(8), [8], positions, np.ones(8)))
    check_batch(config, Batch(np.ones(8), [8], [0, 1, 2, 3, 4, 5, 6, 7], np.ones(8)))
