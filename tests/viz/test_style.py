"""The one look: lines that differ in more than colour, colours that can be told apart in print."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from v4mini.viz import style


@pytest.fixture
def used():
    with mpl.rc_context():
        style.use()
        yield


def luminance(color):                       # relative, of WCAG 2
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, two):
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


def test_lines_differ_in_colour_mark_and_dash(used):
    ax = Figure().subplots()
    lines = [ax.plot([0, 1], [n, n])[0] for n in range(6)]
    for of in ("color", "marker"):
        assert len({getattr(line, f"get_{of}")() for line in lines}) == 6
    assert len({str(line._unscaled_dash_pattern) for line in lines}) == 6


def test_the_ground_is_white_on_any_page(used):
    assert Figure().get_facecolor() == (1, 1, 1, 1) == Figure().subplots().get_facecolor()
    assert mpl.rcParams["savefig.facecolor"] == style.PAPER


@pytest.mark.parametrize("color", [style.INK, style.QUIET])
def test_letters_can_be_read_on_paper(color):
    assert contrast(color, style.PAPER) >= 4.5


def test_the_first_colours_differ_in_grey_print():
    greys = sorted(luminance(color) for color in (style.BLUE, style.RED, style.ORANGE))
    assert min(np.diff(greys)) > 0.05


def test_nothing_is_set_by_an_import():
    with mpl.rc_context():
        mpl.rcdefaults()
        before = dict(mpl.rcParams)
        import importlib
        importlib.reload(style)
        assert dict(mpl.rcParams) == before
