"""Pictures of speculation: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import speculation


@pytest.fixture
def ax():
    return Figure().subplots()


def names(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_the_bars_of_the_rule_add_up_to_q_and_p(ax):
    p, q = np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.25, 0.25])
    speculation.draw_rule(ax, ["a", "b", "c"], p, q)
    tops = {}
    for bar in ax.patches:
        x = round(bar.get_x() + bar.get_width() / 2, 6)
        tops[x] = max(tops.get(x, 0), bar.get_y() + bar.get_height())
    assert [tops[x] for x in sorted(tops)] == pytest.approx([0.5, 0.25, 0.25, 0.25, 0.25, 0.5])         # q, p for each token
    assert len(names(ax)) == 3 and {bar.get_hatch() for bar in ax.patches} == {"", "xxx", "///"}


def test_every_way_has_its_bars_and_a_line_says_what_is_wanted(ax):
    speculation.draw_shares(ax, ["a", "b"], [0.3, 0.7], {"right": [0.31, 0.69], "wrong": [0.5, 0.5]})
    assert [round(bar.get_height(), 2) for bar in ax.patches] == [0.31, 0.69, 0.5, 0.5]
    assert len({bar.get_hatch() for bar in ax.patches}) == 2 and set(names(ax)) == {"right", "wrong", "wanted: p"}


def test_the_best_number_of_drafts_is_ringed_where_nothing_was_counted(ax):
    speculation.draw_against_drafts(ax, [0, 1, 2], {"50%": [1, 1.3, 1.2], "90%": [1, 1.4, 1.6]}, "times")
    rings = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_markersize() == 13]
    assert rings == [(1, 1.3), (2, 1.6)] and names(ax) == ["50%", "90%"]


def test_what_was_counted_is_drawn_as_hollow_marks(ax):
    speculation.draw_against_drafts(ax, [0, 1], {"50%": [1, 1.5]}, "tokens", {"50%": [1, 1.48]})
    hollow = [list(line.get_ydata()) for line in ax.lines if line.get_markerfacecolor() == "#FFFFFF"]
    assert hollow == [[1, 1.48]]


def test_overlap_is_in_percent_with_its_levels_named(ax):
    speculation.draw_overlap(ax, [0.5, 1.0], {"mean": 0.75, "uniform": 0.2})
    assert list(ax.lines[0].get_ydata()) == [50, 100] and names(ax)[1:] == ["mean: 75%", "uniform: 20%"]


def test_a_round_shows_who_reads_what(ax):
    assert speculation.draw_round(ax, read=6, window=4, block=3) == 7
    assert len(ax.patches) == 3 * 9 and [text.get_text() for text in ax.get_yticklabels()] == ["anchor", "noise", "noise"]


def test_mistakes_are_shown_in_order_beside_what_is_allowed(ax):
    speculation.draw_mistakes(ax, {"a": 2.0, "b": 0.5}, allowed=1e-3)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["b", "a"] and ax.get_xscale() == "log"
