"""Pictures of small formats: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import formats


@pytest.fixture
def ax():
    return Figure().subplots()


def test_every_value_has_a_stroke(ax):
    formats.draw_number_lines(ax, {"a": [0, 1, 4], "b": [0, 2]})
    strokes = [len(lines.get_segments()) for lines in ax.collections]
    assert strokes == [1, 3, 1, 2]                      # a line through each, and its strokes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_errors_are_drawn_as_given_on_plain_percent_numbers(ax):
    formats.draw_relative(ax, [1, 2, 4], {"a": [6, 6, 100], "b": [20, 20, 30]})
    a, b = ax.lines
    np.testing.assert_array_equal(a.get_ydata(), [6, 6, 100])
    assert a.get_marker() != b.get_marker() and a.get_linestyle() != b.get_linestyle()
    assert ax.get_yscale() == "log" and ax.yaxis.get_major_formatter()(20, 0) == "20"


def test_block_sizes_and_drift_have_a_mark_and_a_dash_each(ax):
    formats.draw_block_sizes(ax, [8, 16], {"a": [1, 2], "b": [3, 4]})
    assert len({(line.get_marker(), line.get_linestyle()) for line in ax.lines}) == 2
    other = Figure().subplots()
    formats.draw_drift(other, {"a": [0.0, 5.0], "b": [1.0, 2.0]})
    np.testing.assert_array_equal(other.lines[0].get_ydata(), [np.nan, 5])     # no drift, no point
    assert len({(line.get_marker(), line.get_linestyle()) for line in other.lines}) == 2


def test_points_of_the_first_kind_are_named_and_two_on_each_other_can_both_be_seen(ax):
    formats.draw_bits(ax, {"x": {"a": (4, 12), "b": (8, 3)}, "y": {"a": (4, 12), "b": (8, 3)}})
    first, second = ax.lines
    assert [text.get_text() for text in ax.texts] == ["a", "b"]
    assert second.get_markersize() > first.get_markersize() and second.get_markerfacecolor() == "none"


def test_each_number_is_joined_to_what_rounding_makes_of_it(ax):
    formats.draw_rounded(ax, np.array([1.2, -0.3]), np.array([1.0, -0.5]), 1, "title")
    joins = ax.collections[0].get_segments()
    assert [[tuple(end) for end in join] for join in joins] == [[(0, 1.2), (0, 1.0)], [(1, -0.3), (1, -0.5)]]
    assert sum(line.get_label() in ("number", "rounded") for line in ax.lines) == 2


def test_bytes_are_true_to_scale_and_written_beside_their_parts(ax):
    formats.draw_bytes(ax, {"row": [("FP8", 448), ("BF16", 128), ("scales", 7)], "key": [("FP4", 64)]})
    assert [(bar.get_x(), bar.get_width()) for bar in ax.patches] == [(0, 448), (448, 128), (576, 7), (0, 64)]
    assert [text.get_text() for text in ax.texts] == ["FP8: 448", "BF16: 128", "scales: 7", "FP4: 64"]


def test_agreement_names_its_bins_and_counts(ax):
    formats.draw_agreement(ax, [0, 0.1, np.inf], [30, 80], [5, 7])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0 to 0.1", "over 0.1"]
    assert [text.get_text() for text in ax.texts] == ["of 5", "of 7"]
    assert [bar.get_height() for bar in ax.patches] == [30, 80]
