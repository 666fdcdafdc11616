"""Rows between processes and bytes on the wire: numbers in, artists out."""

import numpy as np
from matplotlib.figure import Figure

from v4mini.viz import ranks


def test_each_pair_has_its_number_and_home_is_framed():
    ax = Figure().subplots()
    ranks.draw_exchange(ax, [[5, 1], [0, 9]])
    assert [text.get_text() for text in ax.texts] == ["5", "1", "0", "9"] and len(ax.lines) == 2
    np.testing.assert_array_equal(ax.images[0].get_array(), [[5, 1], [0, 9]])


def test_bytes_are_drawn_in_thousands():
    ax = Figure().subplots()
    ranks.draw_wire(ax, [1, 2], [0, 4000], {2: 3500})
    assert [list(line.get_ydata()) for line in ax.lines] == [[0, 4], [3.5]]
