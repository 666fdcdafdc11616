"""Pictures of the cache: arrays in, artists out."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from v4mini.viz import cache


@pytest.fixture
def ax():
    return Figure().subplots()


def line(ax, label):
    found, = [line for line in ax.lines if line.get_label() == label]
    return found.get_ydata()


def test_the_meter_adds_up_its_kinds_and_leaves_out_what_is_empty(ax):
    cache.draw_meter(ax, [1, 64, 1024], {"window": [5, 5, 5], "csa": [0, 100, 1000]}, [64], [105])
    np.testing.assert_array_equal(line(ax, "predicted, all"), [5, 105, 1005])
    np.testing.assert_array_equal(line(ax, "CSA entries"), [np.nan, 100, 1000])
    assert line(ax, "held by the cache").tolist() == [105]


def test_a_cost_is_stacked_in_gflops(ax):
    cache.draw_cost(ax, [256, 1024], {"dense": [1e9, 1e9], "index": [2e9, 8e9]}, "some model")
    tops = [max(path.vertices[:, 1].max() for path in band.get_paths()) for band in ax.collections]
    assert tops == [1, 9] and [text.get_text() for text in ax.get_legend().get_texts()] == ["weights", "index scores"]


def test_a_run_shows_measured_and_predicted(ax):
    cache.draw_million(ax, [{"to": 4096, "tokens_per_second": 5.0, "predicted_tokens_per_second": 6.0},
                            {"to": 8192, "tokens_per_second": 4.0, "predicted_tokens_per_second": 4.5}])
    assert line(ax, "measured").tolist() == [5, 4] and line(ax, "predicted from the FLOPs").tolist() == [6, 4.5]


def test_each_share_is_written_into_its_cell(ax):
    cache.draw_found(ax, [4096, 65536], [[1, 0.5], [0.25, 0]])
    assert [text.get_text() for text in ax.texts] == ["100%", "50%", "25%", "0%"]
    assert [text.get_position() for text in ax.texts] == [(0, 0), (1, 0), (0, 1), (1, 1)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0%", "50%", "100%"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["4,096", "65,536"]
