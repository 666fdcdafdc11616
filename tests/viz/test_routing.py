"""The views on a routing: what they count and draw, from plain arrays."""

import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import routing as views
from v4mini.viz.tables import text_table

CHOSEN = np.array([[0, 2], [2, 1], [2, 0]])             # 3 tokens, 2 of 4 experts


def a_layer(rng, T, E, K, kind="gate"):
    affinities = rng.uniform(0.1, 2, (T, E)).astype(np.float32)
    chosen = np.argsort(-affinities, axis=1)[:, :K]
    weights = np.take_along_axis(affinities, chosen, 1)
    return {"kind": kind, "affinities": affinities, "bias": None if kind == "table" else rng.normal(0, 0.1, E).astype(np.float32),
            "chosen": chosen, "weights": weights / weights.sum(1, keepdims=True) * 1.5}


def test_load_counts_tokens_and_misses_no_idle_expert():
    assert views.load(CHOSEN, 4).tolist() == [2, 1, 3, 0]


def test_an_expert_answers_for_the_tokens_that_chose_it():
    answers = views.answered(CHOSEN, ["a", "b", "a"], 4)
    assert answers == {0: {"a": 2}, 1: {"b": 1}, 2: {"a": 2, "b": 1}, 3: {}}
    header, rows = views.answer_rows(CHOSEN, ["a", "b", "a"], 4)
    assert rows == [[0, 2, "33%", "a ×2"], [1, 1, "17%", "b"], [2, 3, "50%", "a ×2 · b"], [3, 0, "0%", ""]]
    assert len(header) == 4


def test_the_same_experts_in_another_order_are_no_change():
    assert views.changed([[0, 1], [2, 3]], [[1, 0], [2, 1]]).tolist() == [False, True]
    assert views.changed([[0, 1]], [[0, 1, 2]]).tolist() == [True]


def test_the_table_of_one_choice_ranks_by_biased_affinity():
    affinities, bias = np.array([3.0, 1.5, 1.0, 0.5]), np.array([0.0, 0.0, 1.0, 0.0])
    header, rows = views.choice_rows(affinities, affinities, [0, 2], [1.125, 0.375], bias)
    assert [row[0] for row in rows] == [0, 2, 1, 3]
    assert rows[1] == [2, "+1.00", "1.00", "+1.00", "2.00", "yes", "0.38"]
    assert "weight" in text_table(header, rows)


def test_without_a_bias_its_columns_are_empty_and_of_many_experts_the_best_and_the_chosen_are_shown():
    affinities = np.arange(300.0)[::-1]
    _, rows = views.choice_rows(affinities, affinities, [299, 5], [0.1, 1.4])
    assert len(rows) == views.EXPERTS_SHOWN + 1 and rows[-1][0] == 299
    assert rows[0][3:5] == ["", ""]


def test_many_pieces_are_cut_and_counted():
    _, rows = views.answer_rows(np.zeros((12, 1), int), [str(i) for i in range(12)], 2)
    assert rows[0][3] == "0 · 1 · 2 · 3 · 4 · 5 · 6 · 7 and 4 more"


@pytest.mark.parametrize("T, E, K, L", [(1, 1, 1, 1), (2, 8, 2, 6), (18, 8, 8, 6), (100, 256, 6, 43)])
def test_the_explorer_draws_any_size(rng, T, E, K, L):
    layers = [a_layer(rng, T, E, K, "table" if i == 0 else "gate") for i in range(L)]
    pieces = ["$x$", "␣a", "⏎"] * T
    figure = Figure(figsize=(10, 7))
    axes = views.draw_explorer(figure, layers, pieces[:T], L - 1, T - 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    assert axes[0, 0].get_ylim() == axes[1, 1].get_ylim() == (E - 0.5, -0.5)       # rows are experts, 0 on top
    assert len(axes[1, 1].get_xticks()) == min(T, views.TOKENS_SHOWN)


def test_a_long_text_is_shown_around_the_selected_token(rng):
    layer = a_layer(rng, 100, 4, 2)
    for token, first in ((0, 0), (50, 50 - views.TOKENS_SHOWN // 2), (99, 100 - views.TOKENS_SHOWN)):
        ax = Figure().subplots()
        views.draw_map(ax, layer["affinities"], layer["chosen"], layer["weights"], [str(i) for i in range(100)], token)
        assert ax.get_xticklabels()[0].get_text() == str(first)
        (frame,) = ax.patches
        assert frame.get_x() + 0.5 == token - first


def test_the_line_of_a_choice_lies_between_the_last_chosen_and_the_first_not():
    affinities, bias = np.array([3.0, 1.5, 1.0, 0.5]), np.array([0.0, 0.0, 1.0, 0.0])
    ax = Figure().subplots()
    views.draw_choice(ax, affinities, np.array([0, 2]), np.array([1.125, 0.375]), bias)
    (line,) = [line for line in ax.lines if line.get_linestyle() == ":"]
    assert list(line.get_xdata()) == [1.75, 1.75]


def test_designs_are_drawn_to_scale():
    ax = Figure().subplots()
    views.draw_designs(ax, [("dense", 4, 1, {0}, 0), ("fine", 1, 16, {1, 2, 3}, 1)])
    areas = [(patch.get_width() * patch.get_height() / 0.81, patch.get_facecolor()) for patch in ax.patches]
    pale = ax.patches[1].get_facecolor()
    met = [area for area, color in areas if color != pale]
    assert sum(met[:1]) == pytest.approx(4) and sum(met[1:]) == pytest.approx(4)


def test_the_pictures_of_the_lesson_draw(rng):
    figure = Figure()
    axes = figure.subplots(1, 4)
    views.draw_affinity(axes[0], np.arange(3), {"a": np.arange(3)})
    views.draw_clamp(axes[1], np.arange(3), np.arange(3), np.arange(3), 10, "x", "y")
    views.draw_balance(axes[2:], {"without": rng.random((5, 3)), "with": rng.random((5, 3))}, range(3))
    figure.canvas.draw()
