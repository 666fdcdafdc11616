"""Rates as bars and times as lines: numbers in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import ladder


@pytest.fixture
def ax():
    return Figure().subplots()


def test_a_bar_a_step_and_a_line_a_roof(ax):
    ladder.draw_ladder(ax, {"loop": 2.5e6, "compiled": 3e9}, {"memory": 5e9, "multipliers": 4e10})
    assert [bar.get_width() for bar in ax.patches] == [2.5e6, 3e9]
    assert [text.get_text() for text in ax.texts] == ["2.5 M", "3 G"]
    assert [line.get_xdata()[0] for line in ax.lines] == [5e9, 4e10] and len({line.get_linestyle() for line in ax.lines}) == 2
    assert ax.get_xlim()[1] > 4e10 and ax.yaxis_inverted()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["memory, 5 G", "multipliers, 40 G"]


@pytest.mark.parametrize("rate, shown", [(999, "999"), (1e3, "1 k"), (12_345, "12.3 k"), (1e6, "1 M"), (2.5e9, "2.5 G"),
                                         (0.5, "0.5")])
def test_rates_in_three_digits(rate, shown):
    assert ladder._short(rate) == shown


def test_times_are_in_picoseconds_over_powers_of_two(ax):
    ladder.draw_crossing(ax, [1, 4], {"read": np.array([8e-12, 2e-12]), "compute": np.array([1e-12, 1e-12])})
    assert [list(line.get_ydata()) for line in ax.lines] == [pytest.approx([8, 2]), pytest.approx([1, 1])]
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log") and len({line.get_marker() for line in ax.lines}) == 2
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "4"] and "(ps)" in ax.get_ylabel()
