"""Gathers, budgets and roofs: numbers in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import kernels


@pytest.fixture
def ax():
    return Figure().subplots()


def test_a_line_leads_from_each_row_to_its_place_in_a_block(ax):
    kernels.draw_gather(ax, [[7, 0], [3]], 9)
    lines = [line for line in ax.lines if list(line.get_xdata()) == [0, 1]]
    assert [list(line.get_ydata()) for line in lines] == [[7, 0], [0, 3], [3, 6]]
    assert lines[0].get_color() == lines[1].get_color() != lines[2].get_color()
    assert [text.get_text() for text in ax.texts] == ["block 0: 2 rows", "block 1: 1 rows"]


def test_what_is_beyond_the_chip_is_marked_as_refused(ax):
    kernels.draw_budget(ax, {"fits": 10, "too large": 30}, 20, "bits")
    assert [text.get_text() for text in ax.texts] == ["10", "30  refused"]
    assert ax.patches[0].get_facecolor() != ax.patches[1].get_facecolor() and ax.lines[0].get_xdata()[0] == 20


def test_a_kernel_stands_on_the_slope_or_on_the_flat(ax):
    kernels.draw_roofs(ax, {"chip": (1e15, 1e13)}, {"slope": 10, "flat": 1000})
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_linestyle() == "None"]
    np.testing.assert_allclose(points, [(10, 100), (1000, 1000)])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["chip: flat from 100 on"]
