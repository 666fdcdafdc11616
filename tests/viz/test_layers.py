"""Something after every layer: its line, and the kind of each layer below."""

from matplotlib.figure import Figure

from v4mini.viz.layers import draw_by_layer

KINDS = ["window", "csa", "hca"]


def test_values_stand_over_their_layers_and_kinds():
    ax = Figure().subplots()
    draw_by_layer(ax, {"a": [1, 2, 3], "b": [3, 2, 1]}, KINDS, "error", log=True)
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 2, 3], [3, 2, 1]]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0\nwin", "1\nCSA", "2\nHCA"]
    assert ax.get_yscale() == "log" and ax.get_ylabel() == "error"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_one_line_needs_no_legend():
    ax = Figure().subplots()
    draw_by_layer(ax, {"a": [1, 2, 3]}, KINDS, "error")
    assert ax.get_legend() is None and ax.get_yscale() == "linear"
