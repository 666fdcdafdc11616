"""Who is whose on the flat token axis, written out by hand."""

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.layers.sequences import Memory, NoMemory, Sequences


class Past(Memory):
    """So many tokens were before."""

    def __init__(self, length):
        self.length = length


@pytest.mark.parametrize("length, tokens, window, starts", [
    (0, 5, 3, [0, 0, 0, 1, 2]),                         # rows given: tokens 0..4
    (1, 3, 3, [0, 0, 1]),                               # 0..3
    (2, 3, 3, [0, 1, 2]),                               # 0..4
    (9, 2, 3, [0, 1]),                                  # 7..10
    (9, 2, 1, [0, 1]),                                  # 9..10
])
def test_where_windows_begin(length, tokens, window, starts):
    assert Past(length).window_starts(tokens, window).tolist() == starts


@pytest.mark.parametrize("length, tokens, ratio, seen", [
    (0, 9, 4, [0, 0, 0, 1, 1, 1, 1, 2, 2]), (6, 3, 4, [1, 2, 2]), (7, 1, 8, [1]), (0, 1, 1, [1])])
def test_how_many_entries_may_be_read(length, tokens, ratio, seen):
    assert Past(length).visible(tokens, ratio).tolist() == seen


def test_places_of_tokens_and_blocks():
    assert Past(7).positions(3).tolist() == [7, 8, 9]
    assert Past(7).block_positions(1, 3, 4).tolist() == [4, 8]


@pytest.mark.parametrize("keep, positions, rows, queries", [
    (None, [0, 1, 2, 6, 7], None, [(0, 3), (3, 5)]),
    (1, [2, 7], [2, 4], [(0, 1), (1, 2)]),
    (2, [1, 2, 6, 7], [1, 2, 3, 4], [(0, 2), (2, 4)]),
    (9, [0, 1, 2, 6, 7], None, [(0, 3), (3, 5)]),
])
def test_of_each_sequence_the_last_tokens_ask(config, keep, positions, rows, queries):
    """A new one of 3 tokens, then 2 more of one that had 6."""
    pairs = [(slice(0, 3), NoMemory()), (slice(3, 5), Past(6))]
    for found in (Sequences(config, pairs, keep), Sequences(config, pairs).keeping(keep)):
        assert found.positions.tolist() == [0, 1, 2, 6, 7] and found.query_positions.tolist() == positions
        assert (None if found.query_rows is None else found.query_rows.tolist()) == rows
        assert [(part.queries.start, part.queries.stop) for part in found.parts] == queries
        x = np.arange(5) * 10
        assert found.of_queries(Backend(), x).tolist() == x[rows if rows is not None else slice(None)].tolist()
        kept = 2 if keep is None else min(keep, 2)
        assert found.parts[1].visible[4].tolist() == [1, 2][-kept:] and found.parts[1].visible[8].tolist() == [0, 1][-kept:]


def test_windows_of_the_tokens_that_ask(config):
    """30 tokens before: 15 rows of them are left, and token t of 4 begins at row t."""
    assert Sequences(config, [(slice(0, 4), Past(30))], 3).parts[0].first.tolist() == [1, 2, 3]


def test_all_of_them_ask_is_the_same_object(config):
    every = Sequences.alone(config, 4)
    assert every.keeping(4) is every and every.keeping(None) is every and every.keeping(3) is not every
