"""Pictures of windows, scores and recall: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import choosing


@pytest.fixture
def ax():
    return Figure().subplots()


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_every_token_of_an_entry_is_a_box_and_the_two_kinds_differ_in_hatching(ax):
    first, second = np.array([[0, 0], [1, 0]]), np.array([[1, 1], [0, 0]])
    choosing.draw_windows(ax, first, second)
    assert sorted(patch.get_hatch() for patch in ax.patches) == ["", "", "///"]
    assert names(ax) == ["first columns (block before)", "second columns (own block)"]


def test_scores_that_are_not_visible_are_not_drawn(ax):
    choosing.draw_scores(ax, np.array([0.5, -1.0, 2.0, -np.inf]), np.array([0, 2, -1]), visible=3)
    drawn = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert drawn["picked"] == [0, 2] and drawn["passed over"] == [1]
    assert set(next(line for line in ax.lines if line.get_label() == "lowest score picked").get_ydata()) == {0.5}
    assert names(ax)[-1] == "not visible yet"


def test_nothing_picked_draws_no_bar(ax):
    choosing.draw_scores(ax, np.array([0.5, 1.0]), np.array([-1]))
    assert names(ax) == ["passed over", "picked"]


def test_recall_is_drawn_in_percent_beside_chance(ax):
    choosing.draw_recall(ax, np.array([2, 4]), {"perfect": [0.5, 1.0]}, [0.25, 0.5])
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {"perfect": [50, 100], "chance": [25, 50]}
