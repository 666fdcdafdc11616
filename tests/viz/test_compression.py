"""Pictures of pooling and reach: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import compression


@pytest.fixture
def ax():
    return Figure().subplots()


def test_a_sum_amounts_to_as_many_tokens_as_share_it():
    weights = np.array([[0.25, 0.5, 1.0], [0.25, 0.5, 0.0], [0.25, 0.0, 0.0], [0.25, 0.0, 0.0]])
    assert compression.amounts_to(weights).tolist() == [4, 2, 1]


def test_every_channel_gets_a_strip_with_a_bar_for_each_token(ax):
    compression.draw_pooling(ax, np.full((8, 3), 1 / 8), ["a", "b", "c"])
    assert len(ax.patches) == 24
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert [text.get_text() for text in ax.texts] == ["largest 0.125\nas if 8 of 8"] * 3


def test_ones_and_zeros_are_written_out(ax):
    compression.draw_ones(ax, [[1, 0], [1, 1], [0, 1]], "entry", "token", framed=[(1, 0)])
    assert "".join(text.get_text() for text in ax.texts) == "101101"
    assert len(ax.lines) == 1


def test_tokens_that_nothing_shows_are_crossed(ax):
    raw, pooled = np.eye(4, dtype=bool), np.zeros((4, 4), bool)
    pooled[3, :2] = True
    compression.draw_reach(ax, raw, pooled, 2)
    lines = {line.get_label(): len(line.get_xdata()) for line in ax.lines}
    assert lines["a row of its own (window)"] == 4
    assert lines["not seen at all"] == 4                # of 6 pairs below the diagonal two are pooled


def test_no_crosses_where_everything_is_seen(ax):
    compression.draw_reach(ax, np.tri(4, dtype=bool), np.zeros((4, 4), bool), 2)
    assert "not seen at all" not in [line.get_label() for line in ax.lines]


def test_one_softmax_names_its_three_shares(ax):
    compression.draw_one_softmax(ax, np.full(5, 0.1), np.full(2, 0.2), 0.1, 128)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == \
        ["rows of the window (50.0%)", "entries (40.0%)", "sink (10.0%)"]
    assert "128" in [label.get_text() for label in ax.get_xticklabels()]


def test_lines_that_grow_differ_in_mark_and_dash(ax):
    tokens = 2 ** np.arange(10, 15)
    compression.draw_growth(ax, tokens, {"a": tokens, "b": 2 * tokens}, "memory (MB)")
    a, b = ax.lines
    assert a.get_marker() != b.get_marker() and a.get_linestyle() != b.get_linestyle()
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1K", "4K", "16K"]


@pytest.mark.parametrize("count, text", [(512, "512"), (1024, "1K"), (1536, "1.5K"), (2**20, "1M")])
def test_lengths_are_named_in_powers_of_1024(count, text):
    assert compression.human_tokens(count) == text
