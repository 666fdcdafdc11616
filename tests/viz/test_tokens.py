"""Token pictures: pieces in, boxes out."""

import warnings

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from v4mini.viz import tokens


@pytest.fixture
def ax():
    return Figure().subplots()


def kinds(ax):                              # of the boxes, in the order they were drawn
    colors = {color.upper(): kind for kind, (color, _) in tokens.KINDS.items()}
    return [colors[to_hex(box.get_facecolor()).upper()] for box in ax.patches]


@pytest.mark.parametrize("piece, kind", [("␣the", "text"), ("123", "number"), ("␣7", "number"), ("):⏎", "other"), ("⏎", "other"),
                                         ("⟨e4 b8⟩", "part"), ("中", "text"), ("x1", "text"), ("_", "other")])
def test_the_kind_of_a_piece(piece, kind):
    assert tokens.kind_of(piece) == kind and tokens.kind_of(piece, special=True) == "special"


def test_each_piece_has_a_box_of_its_kind_and_rows_have_labels(ax):
    tokens.draw_pieces(ax, [[("␣a", "text"), ("12", "number")], [("<think>", "special")]], ["first", "second"])
    assert kinds(ax) == ["text", "number", "special"]
    assert [text.get_text() for text in ax.texts] == ["first", "␣a", "12", "second", "<think>"]


def test_long_rows_wrap_and_boxes_never_overlap(ax):
    tokens.draw_pieces(ax, [[("word", "text")] * 60], ["many"], width=5)
    boxes = [box.get_bbox() for box in ax.patches]
    assert max(box.x1 for box in boxes) <= 5 and len({round(box.y0, 3) for box in boxes}) > 3
    for one, two in zip(boxes, boxes[1:]):
        assert two.x0 > one.x1 or two.y0 > one.y1
    assert ax.figure.get_size_inches()[1] > boxes[-1].y1


def test_letters_that_the_font_lacks_are_shown_by_others(ax):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokens.draw_pieces(ax, [[("<｜User｜>", "special"), ("中👍", "text")]], ["x"])
        ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.texts] == ["x", "<|User|>", "··"]


def test_curves_and_bars_show_the_numbers(ax):
    tokens.draw_shortening(ax, [0, 10], {"Python": [1.0, 3.0], "Chinese": [1.0, 1.0]})
    assert [list(line.get_ydata()) for line in ax.lines] == [[1.0, 3.0], [1.0, 1.0]]
    bars = Figure().subplots()
    tokens.draw_prompts(bars, np.array([1, 2]), np.array([0, 30]), np.array([20, 5]), np.array([20, 90]))
    assert [(bar.get_y(), bar.get_height()) for bar in bars.patches] == [(0, 0), (0, 30), (0, 20), (30, 5)]
    assert list(bars.lines[0].get_ydata()) == [20, 90]
