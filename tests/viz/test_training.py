"""Pictures of a run, from lines as a log has them."""

import pytest
from matplotlib.figure import Figure

from v4mini.viz import training


def line(step, stage, **more):
    losses = {"next": 5 - step / 10, "index": 0.2}
    return {"step": step, "stage": stage, "tokens": 100 * step, "losses": losses, "load": {"2": 1.5}, "recall": {}, **more}


LINES = [line(10, "a", accuracy=0.2), line(20, "a", accuracy=0.8), line(30, "b", recall={"3": 0.9, "10": 0.4})]


@pytest.fixture
def ax():
    return Figure().subplots()


def drawn(ax):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in ax.lines}


def test_losses_that_were_there_are_drawn_and_a_stage_is_marked(ax):
    training.draw_losses(ax, LINES)
    assert drawn(ax)["next token"] == ([1000, 2000, 3000], [4, 3, 2])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["next token", "indexer"]      # no MTP in these lines
    assert [list(line.get_xdata()) for line in ax.lines if line.get_linestyle() == ":"] == [[2000, 2000]]


def test_shares_have_a_line_for_each_layer_in_their_order(ax):
    training.draw_shares(ax, LINES, "recall", "recall")
    assert [name for name in drawn(ax) if name.startswith("layer")] == ["layer 3", "layer 10"]
    assert drawn(ax)["layer 10"] == ([3000], [0.4])


def test_answers_are_in_percent(ax):
    training.draw_answers(ax, LINES)
    assert ([1000, 2000], [20, 80]) in drawn(ax).values()


def test_a_run_becomes_a_file_even_without_stages_that_ask(tmp_path):
    training.save_training([line(1, "a")], tmp_path / "log.png")
    assert (tmp_path / "log.png").read_bytes().startswith(b"\x89PNG")
