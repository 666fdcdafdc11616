"""The pictures of hyper-connections: arrays in, artists out. Not here: whether they are beautiful."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest

from v4mini.viz import streams as draw


@pytest.fixture
def ax():
    fig, ax = plt.subplots()
    yield ax
    fig.canvas.draw()                           # a picture that cannot be drawn fails here
    plt.close(fig)


def widths(ax):
    return sorted(line.get_linewidth() for line in ax.lines if line.get_marker() in ("", "None"))


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_reading_and_writing_lines_are_as_wide_as_their_numbers(ax):
    draw.draw_read_write(ax, np.array([0.5, 0.25]), np.array([1.0, 2.0]), "box")
    assert widths(ax) == [0.25 * draw.WIDEST, 0.5 * draw.WIDEST, draw.WIDEST, 2 * draw.WIDEST]
    assert {"box", "0.5", "0.25", "1", "2"} <= set(texts(ax))


def test_mixing_leaves_out_what_is_zero_and_goes_from_j_to_k(ax):
    draw.draw_mix(ax, np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]))
    assert len(widths(ax)) == 5
    (whole,) = [line for line in ax.lines if line.get_linewidth() == draw.WIDEST]
    assert list(whole.get_ydata()) == [2, 1]    # from stream 0, at the top, to stream 1


def test_a_films_sums_are_bold_where_they_are_not_1():
    fig, axes = plt.subplots(1, 2)
    draw.draw_film(axes, [np.array([[2.0, 1.0], [0.5, 0.5]]), np.full((2, 2), 0.5)], ["a", "b"])
    fig.canvas.draw()
    bold = [[text.get_text() for text in ax.texts if text.get_weight() == "bold"] for ax in axes]
    assert bold == [["3.00", "2.50", "1.50"], []]
    with pytest.raises(ValueError):
        draw.draw_film(axes, [np.eye(2)], ["a"])
    plt.close(fig)


def test_errors_are_medians_over_rounds(ax):
    errors = np.array([[1.0, 0.1], [3.0, 0.3], [2.0, 0.2]])
    draw.draw_errors(ax, {"1": errors, "5": 2 * errors}, floor=1e-6)
    assert [list(line.get_ydata()) for line in ax.lines[:2]] == [[2.0, 0.2], [4.0, 0.4]]
    assert ax.get_yscale() == "log" and "round" in ax.get_xlabel()


def test_gain_and_share_begin_where_they_should(ax):
    draw.draw_gain(ax, {"free": np.array([2.0, 4.0]), "both": np.ones(2)})
    assert list(ax.lines[0].get_xdata()) == [1, 2] and ax.get_yscale() == "log"
    fig, other = plt.subplots()
    draw.draw_share(other, np.array([[1.0, 0.0], [0.5, 0.5]]))
    assert list(other.lines[-1].get_ydata()) == [0.5, 0.5]          # the mean of all
    plt.close(fig)


def test_a_units_squares_have_the_area_of_their_numbers(ax):
    rng = np.random.default_rng(0)
    U, M = 3, 2
    pre, post, comb = rng.random((U, M)), 2 * rng.random((U, M)), rng.random((U, M, M))
    draw.draw_units(ax, pre, post, comb, ["0a", "0e", "1a"])
    areas = [collection.get_sizes() for collection in ax.collections]
    np.testing.assert_allclose(areas[0], draw.AREA * pre[:, 0])
    np.testing.assert_allclose(areas[3], draw.AREA * post[:, 1])
    np.testing.assert_allclose(areas[4 + 2], draw.AREA * comb[:, 1, 0])
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == ["pre 0", "pre 1", "post 0", "post 1", "comb 00", "comb 01", "comb 10", "comb 11"]
