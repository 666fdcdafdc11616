"""Pictures of what a token leaves behind: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from v4mini.viz import latent
from v4mini.viz.style import BLUE, GREEN, ORANGE


@pytest.fixture
def ax():
    return Figure().subplots()


def faces(ax):
    return [to_hex(patch.get_facecolor()).upper() for patch in ax.patches]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_every_head_has_a_line_to_its_own_group(ax, groups):
    latent.draw_sharing(ax, 4, groups, "kept")
    lines = [line for line in ax.lines if len(line.get_xdata()) == 2]
    assert [line.get_xdata()[0] for line in lines] == [0.5, 1.5, 2.5, 3.5]
    middles = sorted({line.get_xdata()[1] for line in lines})
    assert len(middles) == groups and faces(ax) == [BLUE, ORANGE] * groups
    assert [line.get_xdata()[1] for line in lines] == sorted(middles * (4 // groups))


def test_one_row_for_both_is_one_box_and_a_matrix_a_head_is_a_diamond(ax):
    latent.draw_sharing(ax, 4, 1, "kept", pair=False, own_matrix=True)
    assert faces(ax) == [GREEN]
    assert sum(line.get_marker() == "D" for line in ax.lines) == 4


def test_strips_are_true_to_scale_and_fractions_are_cut_squares(ax):
    latent.draw_kept(ax, {"a": {"key": 256, "value": 96}, "b": {"key and value": 4}})
    areas = {}
    for patch in ax.patches:
        color = to_hex(patch.get_facecolor()).upper()
        areas[color] = areas.get(color, 0) + patch.get_width() * patch.get_height()
    assert areas == pytest.approx({BLUE: 256 / 64, ORANGE: 96 / 64, GREEN: 4 / 64})
    assert [text.get_text() for text in ax.texts] == ["352", "a", "4", "b"]


@pytest.mark.parametrize("high, wide", [(1, 10), (4, 3), (16, 1)])
def test_squares_stand_side_by_side_and_on_top_of_each_other(ax, high, wide):
    latent.draw_kept(ax, {"a": {"key": 4 * 64, "value": 6 * 64}}, high)
    places = [patch.get_xy() for patch in ax.patches]
    assert len(set(places)) == 10
    assert max(x for x, _ in places) == wide - 1 and max(y for _, y in places) == min(high, 10) - 1


def test_the_legend_names_the_uses_that_occur_and_no_others():
    figure = Figure(layout="constrained")
    latent.uses_legend(figure, {"a": {"key": 1}, "b": {"index key": 1}})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["key", "index key"]
    assert len({latent.USES[use] for use in latent.USES}) == len(latent.USES)       # no two look alike


def test_costs_are_two_lines_and_their_crossing(ax):
    latent.draw_costs(ax, [1, 10, 100], {"a": [50, 60, 150], "b": [3, 30, 300]}, 12)
    a, b, crossing = ax.lines
    assert a.get_marker() != b.get_marker() and a.get_linestyle() != b.get_linestyle()
    assert crossing.get_xdata() == [12, 12] and ax.texts[0].get_text() == "12"


def test_a_ladder_begins_at_the_top_and_writes_its_numbers(ax):
    latent.draw_ladder(ax, ["a", "b"], [2000, 10], "bytes", marked=["b"])
    assert [bar.get_width() for bar in ax.patches] == [2000, 10]
    assert ax.yaxis_inverted() and ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.texts] == ["2,000", "10"]
    assert [bar.get_hatch() for bar in ax.patches] == ["", "///"]


def test_who_reads_is_drawn_as_given(ax):
    latent.draw_who_reads(ax, np.tri(3, dtype=bool), "title")
    np.testing.assert_array_equal(ax.images[0].get_array(), np.tri(3))
