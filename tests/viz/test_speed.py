"""Races and kernels as pictures; who did not finish has no point."""

import pytest
from matplotlib.figure import Figure

from v4mini.bench.compare import Result
from v4mini.bench.kernels import Timing
from v4mini.viz import speed


@pytest.fixture
def ax():
    return Figure().subplots()


def result(engine, tokens, seconds, what="prefill"):
    return Result(what, tokens, engine, seconds, None, None, None, None)


RESULTS = [result("numpy", 512, 2.0), result("numba", 512, 0.5), result("numpy", 1024, None), result("numba", 1024, 1.5)]
TIMINGS = [Timing("linear", "8 x 8", 1e-3, 2.0, "compute", 0.5), Timing("attend", "8 x 8", 1e-3, None, "read", 0.25)]


def test_an_engine_has_the_points_that_it_reached(ax):
    speed.draw_comparison(ax, RESULTS)
    assert {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines} == {
        "numpy": ([512], [2.0]), "numba": ([512, 1024], [0.5, 1.5])}
    assert len({line.get_marker() for line in ax.lines}) == 2 and ax.get_ylabel() == "whole text (s)"


@pytest.mark.parametrize("what, label", [("prefill", "whole text (s)"), ("decode", "one token (s)")])
def test_the_axis_says_what_was_timed(ax, what, label):
    speed.draw_comparison(ax, [result("numpy", 512, 1.0, what)])
    assert ax.get_ylabel() == label and ax.get_title() == what


def test_an_engine_that_never_finished_is_left_out(ax):
    speed.draw_comparison(ax, [result("numpy", 512, None), result("numba", 512, 1.0)])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["numba"]


def test_shares_of_a_roof_and_which_roof_it_is(ax):
    speed.draw_kernels(ax, TIMINGS)
    assert [bar.get_width() for bar in ax.patches] == [50, 25] and [bar.get_hatch() for bar in ax.patches] == [None, "//"]
    assert [text.get_text() for text in ax.texts] == ["50", "25"]


def test_both_can_be_saved_without_a_display(tmp_path):
    speed.save_comparison(RESULTS, tmp_path / "race.png")
    speed.save_kernels(TIMINGS, tmp_path / "kernels.png")
    for name in ("race.png", "kernels.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
