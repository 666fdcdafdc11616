"""Pictures of files: to scale, every byte once, readable whatever the numbers."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from v4mini.numerics import e2m1
from v4mini.viz import release as views


def drawn(draw, *args, **more):
    figure = Figure(figsize=(8, 3), layout="constrained")
    ax = figure.subplots()
    draw(ax, *args, **more)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return ax


def test_neighbours_of_one_format_become_one():
    spans = [("I8", 10, 20), ("F32", 0, 10), ("I8", 20, 25), ("I8", 30, 31), ("BF16", 31, 31)]
    assert views.runs(spans) == [("F32", 0, 10), ("I8", 10, 25), ("I8", 30, 31)]


@given(sizes=st.lists(st.integers(1, 5_000_000), min_size=1, max_size=8), rows=st.integers(1, 7))
def test_every_byte_is_drawn_once(sizes, rows):
    spans, at = [], 100
    for number, size in enumerate(sizes):
        spans.append((["I8", "F32", "new kind"][number % 3], at, at + size))
        at += size
    figure = Figure()
    ax = figure.subplots()
    views.draw_file(ax, 100, spans, rows)
    assert sum(bar.get_width() for bar in ax.patches) * 1e6 == pytest.approx(at, rel=1e-6)


def test_a_file_has_a_legend_with_each_format_once():
    ax = drawn(views.draw_file, 1000, [("I8", 1000, 900_000), ("F32", 900_000, 950_000), ("I8", 950_000, 990_000)])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["header", "I8: FP4 codes, two a byte", "F32"]


@pytest.mark.parametrize("shape", [(1, 1), (2, 4), (8, 32), (64, 8)])
def test_exponents_are_written_into_few_tiles_and_not_into_many(rng, shape):
    ax = drawn(views.draw_exponents, rng.integers(-12, -5, shape))
    assert len(ax.texts) == (shape[0] * shape[1] if shape[0] * shape[1] <= 160 else 0)


def test_all_exponents_equal():
    drawn(views.draw_exponents, np.full((2, 2), -9))


def test_codes_stand_at_their_values_in_order():
    counts = np.arange(16)
    ax = drawn(views.draw_codes, e2m1.TABLE, counts)
    labels = [text.get_text().split("\n") for text in ax.get_xticklabels()]
    assert [name for name, _ in labels] == ["-6", "-4", "-3", "-2", "-1.5", "-1", "-0.5", "-0", "0", "0.5", "1", "1.5", "2", "3",
                                            "4", "6"]
    heights = {int(code, 2): bar.get_height() for (_, code), bar in zip(labels, ax.patches)}
    assert heights == pytest.approx({code: 100 * code / counts.sum() for code in range(16)})


def test_what_is_kept_and_read():
    groups = [("experts", 147_000_000_000, 3_400_000_000), ("embedding", 1_059_061_760, 8192), ("none", 100, 0)]
    ax = drawn(views.draw_read, groups)
    assert [bar.get_width() for bar in ax.patches] == [147_000_000_000, 1_059_061_760, 100, 3_400_000_000, 8192, 1]
