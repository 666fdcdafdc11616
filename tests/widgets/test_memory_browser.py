"""The memory explorer in JupyterLab, in a browser: slider, number, lists and chart, by mouse and by keys."""

import random

import pytest

CELL = """
from v4mini.widgets.memory import MemoryExplorer

MemoryExplorer()
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(show):
    return show("memory", [CELL], ".v4mini-memory .told")


@pytest.mark.parametrize("tokens, storage, model", [(1, "float32", "V4-Flash"), (127, "released", "V4-Pro"),
                                                    (1_000_003, "bfloat16", "mini")])
def test_every_number_is_that_of_its_line_of_python(page, tokens, storage, model):
    from v4mini.planning.memory import cache_breakdown, cache_bytes, plain_cache_bytes, v32_cache_bytes
    from v4mini.widgets.memory import MemoryExplorer

    page.set_to("input.exact", tokens)
    page.set_to("select.storage", storage, "change")
    page.set_to("select.model", model, "change")
    assert f"After {tokens:,} tokens {model} keeps" in page.told()
    page.check_receipts(30, explorer=MemoryExplorer(), cache_breakdown=cache_breakdown, cache_bytes=cache_bytes,
                        plain_cache_bytes=plain_cache_bytes, v32_cache_bytes=v32_cache_bytes)


def test_slider_chart_and_tables_answer_to_keys_and_mouse(page):
    page.script("document.querySelector('input.slider').focus()")
    page.press("HOME")
    assert "After 1 tokens" in page.told()
    page.press("END", "ARROW_LEFT")
    assert "After 1,004,120 tokens" in page.told()       # a sixteenth of a doubling back
    page.click("svg.chart", 0.5, 0.5)
    half = page.told()
    assert "1,004,120" not in half
    page.press("TAB")
    page.click(page.all(".models tbody button")[0])     # the name of V4-Flash
    assert "V4-Flash keeps" in page.told()
    page.keep("memory-light")


def test_axe_finds_no_serious_fault(page):
    page.check_axe()


def test_a_hundred_interactions_are_measured(page):
    draw = random.Random(0)
    page.measure()
    for _ in range(50):
        page.click("svg.chart", draw.uniform(0.1, 0.9), 0.5)
    page.script("document.querySelector('input.slider').focus()")
    for _ in range(50):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "PAGE_UP", "PAGE_DOWN"]))
    page.waited(100, "memory")
