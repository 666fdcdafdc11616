"""Window pictures: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from v4mini.viz import window
from v4mini.viz.style import BLUE, PAPER


@pytest.fixture
def ax():
    return Figure().subplots()


def colors(ax):                             # of the squares, in the order they were drawn
    return [to_hex(square.get_facecolor()).upper() for square in ax.patches]


def test_a_mask_fills_what_may_be_read_and_counts_it(ax):
    mask = np.array([[1, 0], [1, 1]], bool)
    window.draw_mask(ax, mask)
    assert colors(ax) == [BLUE, PAPER, BLUE, BLUE]
    assert [text.get_text() for text in ax.texts] == ["1", "2", "rows"]


def test_what_cannot_be_seen_carries_a_cross(ax):
    window.draw_sight(ax, np.array([[window.UNSEEN, window.NOTHING], [window.SUMMARY, window.WINDOW]]))
    assert len(set(colors(ax))) == 4
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines] == [(0.5, 0.5)]


def test_the_legend_explains_all_four():
    figure = Figure(layout="constrained")
    window.sight_legend(figure)
    assert len(figure.legends[0].get_texts()) == 4


def test_weights_of_zero_are_not_coloured(ax):
    window.draw_weights(ax, np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert ax.images[0].get_array().mask.tolist() == [[False, True], [False, False]]


def test_shares_are_drawn_in_percent(ax):
    window.draw_shares(ax, np.arange(3), {"sink": [0.0, 0.5, 1.0]}, "tokens", "share (%)")
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0, 50, 100])


def test_the_ring_marks_the_newest_and_the_next_to_go(ax):
    window.draw_ring(ax, np.array([[0, -1], [0, 1], [2, 1]]))
    assert colors(ax) == [BLUE, PAPER, PAPER, BLUE, BLUE, PAPER]
    dashed = [square.get_linestyle() in ("--", "dashed") for square in ax.patches]
    assert dashed == [False, False, True, False, False, True]
    assert [text.get_text() for text in ax.texts] == ["0", "", "0", "1", "2", "1"]
