"""Pictures of how a model learns: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import learning


@pytest.fixture
def ax():
    return Figure().subplots()


def drawn(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_an_error_of_exactly_zero_still_has_a_place_on_a_logarithmic_axis(ax):
    learning.draw_nudges(ax, [0.1, 0.01], {"float64": np.array([0.5, 0.0])})
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert drawn(ax)["float64"] == ([0.1, 0.01], [0.5, learning.STEEP])


def test_slopes_of_both_signs_are_compared_by_size_and_grouped(ax):
    learning.draw_agreement(ax, np.array([-2.0, 1.0, 4.0]), np.array([-2.0, 1.0, 3.0]), {"a": [0, 2], "b": [1]})
    assert drawn(ax)["a"] == ([2, 4], [2, 3]) and drawn(ax)["b"] == ([1], [1])
    line = ax.lines[0]                                  # where both are equal, from below the least to above the largest
    assert list(line.get_xdata()) == list(line.get_ydata()) == [0.5, 8]


def test_rounds_of_newton_schulz_are_lines_over_where_they_began(ax):
    learning.draw_towards_one(ax, np.array([0.1, 1.0]), {"after 2": np.array([0.4, 0.9]), "after 10": np.array([1.0, 1.0])})
    assert drawn(ax)["after 2"] == ([0.1, 1.0], [0.4, 0.9]) and len({line.get_linestyle() for line in ax.lines[:2]}) == 2


def test_singular_values_are_numbered_from_one(ax):
    learning.draw_singular_values(ax, {"before": np.array([3.0, 0.0])})
    assert drawn(ax)["before"] == ([1, 2], [3.0, learning.STEEP])


def test_a_race_is_over_tokens_and_shows_what_nobody_can_beat(ax):
    learning.draw_race(ax, {"Muon": [3.0, 2.0], "AdamW": [3.0, 2.5]}, 384, 0.7)
    assert drawn(ax)["AdamW"] == ([384, 768], [3.0, 2.5])
    assert {0.7} in [set(line.get_ydata()) for line in ax.lines]
    assert ax.get_ylim()[0] == 0


def test_the_busiest_of_each_run_and_of_dice(ax):
    learning.draw_busiest(ax, {"neither": [4.0, 3.0], "bias": [4.0, 2.0]}, 1.3)
    assert drawn(ax)["bias"] == ([1, 2], [4.0, 2.0]) and set(drawn(ax)["dealt blindly"][1]) == {1.3}


def test_stairs_are_drawn_as_stairs_and_a_slope_as_a_line():
    axes = Figure().subplots(1, 2)
    learning.draw_stairs(axes, [0, 1, 2], [5.0, 5.0, 5.1], [0.3, 0.2, 0.1])
    assert [ax.lines[0].get_drawstyle() for ax in axes] == ["steps-mid", "default"]
    assert list(axes[1].lines[0].get_ydata()) == [0.3, 0.2, 0.1]


def test_recalls_are_in_percent_at_the_steps_where_they_were_measured(ax):
    learning.draw_recalls(ax, {"right": [0.0, 0.5, 1.0], "never": [0.03, 0.03, 0.03]}, every=10, turn=20)
    assert drawn(ax)["right"] == ([0, 10, 20], [0, 50, 100])
    assert [20, 20] in [list(line.get_xdata()) for line in ax.lines]
    learning.draw_recalls(ax, {"right": [0.0]}, every=10)
