"""Rotary pictures: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import rope as pictures


@pytest.fixture
def ax():
    return Figure().subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def hands(*angles):
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def test_every_hand_ends_at_its_pair_and_is_numbered(ax):
    pairs = hands(0.0, 1.0, 2.5)
    pictures.draw_hands(ax, pairs, [4, 5, 6])
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None)]
    np.testing.assert_allclose([arrow.xy for arrow in arrows], pairs)
    assert texts(ax) == ["4", "5", "6"]


@pytest.mark.parametrize("step, wanted", [(0.0, ["1 ... 4"]), (0.2, ["1", "4"]), (0.5, ["1", "2", "3", "4"])])
def test_hands_too_near_to_read_share_their_numbers(ax, step, wanted):
    pictures.draw_hands(ax, hands(*(step * np.arange(4))), [1, 2, 3, 4])
    assert texts(ax) == wanted


def test_hands_on_both_sides_of_the_left_are_neighbours(ax):
    pictures.draw_hands(ax, hands(np.pi - 0.05, -np.pi + 0.05), [1, 2])
    assert texts(ax) == ["1 ... 2"]


def test_a_row_at_every_position_is_shown_as_it_is(ax, rng):
    rows = rng.standard_normal((5, 8))
    pictures.draw_rows(ax, rows, untouched=4)
    np.testing.assert_array_equal(ax.images[0].get_array(), rows)
    assert [line.get_xdata()[0] for line in ax.lines] == [3.5, 5.5]                     # one fence before each pair
    assert -ax.images[0].norm.vmin == ax.images[0].norm.vmax                            # 0 is the middle colour


def test_products_are_shown_as_they_are(ax, rng):
    products = rng.standard_normal((3, 3))
    pictures.draw_products(ax, products)
    np.testing.assert_array_equal(ax.images[0].get_array(), products)
    assert "tokens" in ax.get_xlabel() and "tokens" in ax.get_ylabel()
    assert -ax.images[0].norm.vmin == ax.images[0].norm.vmax                            # 0 is the middle colour


def test_lines_differ_in_more_than_colour(ax):
    pictures.draw_by_distance(ax, np.arange(20), {"one": np.zeros(20), "many": np.ones(20)}, "product")
    assert len({line.get_marker() for line in ax.lines}) == 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["one", "many"]


def test_turns_tell_kept_blended_and_slowed_apart(ax):
    pictures.draw_turns(ax, {"before": np.geomspace(100, 0.1, 8), "after": np.geomspace(1000, 0.1, 8)}, 32, 1, 2, 5)
    assert ax.get_yscale() == "log"
    assert {"kept", "blended", "slowed", "32 turns", "1 turn"} <= set(texts(ax))


def test_moved_names_each_line_beside_it(ax):
    pictures.draw_moved(ax, [1, 10], {"back": [1e-6, 1e-5], "not": [1.0, 2.0]}, bound=1e-3)
    assert texts(ax) == ["back", "not", "what we allow: 0.001"]
