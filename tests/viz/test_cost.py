"""Pictures of money: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import cost


@pytest.fixture
def ax():
    return Figure().subplots()


def test_a_bill_is_the_sum_of_its_parts(ax):
    cost.draw_bills(ax, {"cheap": {"in": 1.0, "out": 2.0}, "dear": {"in": 10.0, "out": 20.0}})
    assert [text.get_text() for text in ax.texts] == ["3", "30"]
    assert [patch.get_width() for patch in ax.patches] == [1, 10, 2, 20]
    assert [patch.get_x() for patch in ax.patches] == [0, 0, 1, 10]


def test_a_ratio_is_a_step_that_lasts_until_the_next(ax):
    cost.draw_ratios(ax, ["2026-04-24", "2026-08-16"], {"input": [2.9, 5.9]}, 10, "2026-11-23")
    steps = ax.lines[0]
    assert list(steps.get_ydata()) == [2.9, 5.9, 5.9] and steps.get_drawstyle() == "steps-post"
    assert any(set(line.get_ydata()) == {10} for line in ax.lines)


def test_a_number_near_the_claim_is_written_beside_its_line(ax):
    cost.draw_ratios(ax, ["2026-04-24"], {"input": [9.4], "output": [5.0]}, 10, "2026-11-23")
    near, far = [text.get_position()[1] for text in ax.texts]
    assert near < 9 and far == 5.0


def test_days_close_to_each_other_share_a_label(ax):
    cost.draw_ratios(ax, ["2026-04-24", "2026-04-26", "2026-08-16"], {"input": [2.9, 11.5, 5.9]}, 10, "2026-11-23")
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["2026-04-24\n2026-04-26", "2026-08-16"]


def test_a_machine_ends_at_what_it_can_do_and_crosses_where_it_pays(ax):
    documents = np.logspace(0, 4, 41)
    cost.draw_break_even(ax, documents, {"api": 1.0, "cheap": 0.01}, {"box": (100.0, 0.5, 1000.0)})
    own = next(line for line in ax.lines if line.get_linestyle() == "-" and line.get_color() == "#1A1A1A")
    assert max(own.get_xdata()) <= 1000 and own.get_ydata()[0] == pytest.approx(100.5)
    circles = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in circles] == [(200, 200)]      # 100 / (1 - 0.5)
