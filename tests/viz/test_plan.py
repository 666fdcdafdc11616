"""Pictures of what fits and what binds: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import plan


@pytest.fixture
def ax():
    return Figure().subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_a_bar_tells_how_many_of_the_needs_fit(ax):
    plan.draw_fit(ax, {"small": 10.0, "large": 400.0}, {"weights": 156.0, "more weights": 500.0})
    assert [patch.get_width() for patch in ax.patches] == [10, 400]
    assert texts(ax) == ["10 GB: 0 of 2 fit", "400 GB: 1 of 2 fit"]
    assert [line.get_xdata()[0] for line in ax.lines] == [156, 500]
    assert len({patch.get_facecolor() for patch in ax.patches}) == 2       # what holds nothing is grey


def test_parts_are_stacked_and_told_apart_without_colour(ax):
    tokens = 2 ** np.arange(10, 15)
    plan.draw_parts(ax, tokens, {"dense": np.full(5, 2.0), "index": np.arange(5.0)}, "GFLOP")
    assert list(ax.lines[0].get_ydata()) == [2, 3, 4, 5, 6]
    assert len({patch.get_hatch() for patch in ax.collections}) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["index", "dense"]


def test_the_step_takes_the_longer_of_two_times(ax):
    plan.draw_terms(ax, [1, 2, 4], np.array([1.0, 2, 4]), np.array([3.0, 3, 3]))
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn["the step, at least"] == [3, 3, 4]
    assert any(line.get_xdata()[0] == pytest.approx(3) for line in ax.lines)      # between two batches
    assert "both alike, at about 3 texts" in [text.get_text() for text in ax.get_legend().get_texts()]
    assert plan.crossing([1, 2], np.array([1.0, 2.0]), np.array([3.0, 3.0])) is None


def test_a_roof_bends_where_rate_and_bandwidth_meet(ax):
    plan.draw_roofline(ax, {"box": (8e12, 2e12)}, {"decode": ([1.0, 2.0], [2e12, 4e12]), "prefill": ([100.0], [8e12])})
    roof = ax.lines[0]
    assert roof.get_xdata()[1] == 4 and roof.get_ydata()[1] == 8 and roof.get_ydata()[2] == 8
    assert roof.get_ydata()[0] == pytest.approx(2 * roof.get_xdata()[0])
    assert "box" in texts(ax)


def test_runs_with_drafts_are_hollow(ax):
    plan.draw_shares(ax, [("a", 0.25, False), ("b", 1.7, True)])
    assert texts(ax) == ["25%", "170%"]
    assert [patch.get_hatch() for patch in ax.patches[:2]] == ["", "///"]
