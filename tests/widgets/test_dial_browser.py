"""The number dial in JupyterLab, in a browser: bits are flipped, values typed, and every number is numerics'."""

import random

import pytest

CELL = """
from v4mini.widgets.dial import NumberDial

NumberDial(2.6)
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(show):
    return show("dial", [CELL], ".v4mini-dial .told")


def test_bits_answer_to_mouse_and_keys(page):
    page.keep("dial-light")
    assert "2.6 in e2m1 (FP4) is code 5, bits 0 10 1: 2^(2 - 1) x (1 + 1/2) = 3." in page.told()
    page.click(page.all(".bit")[0])                     # the sign: the code's value is dialled
    assert "-3 in e2m1 (FP4) is code 13, bits 1 10 1" in page.told() and "Exact." in page.told()
    page.press("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_RIGHT", "ENTER")
    assert "-2 in e2m1 (FP4) is code 12" in page.told()
    page.set_to(".format", "e4m3", "change")
    page.set_to("input.value", 448)
    page.click(page.all(".bit")[7])
    assert "is not a number" in page.text(".alert") and "448 in e4m3" in page.told()


@pytest.mark.parametrize("format, value", [("e2m1", 2.5), ("e4m3", -0.3), ("ue8m0", 0.02), ("bf16", 1.00390625), ("e4m3", 1e-3),
                                           ("bf16", 3.1e38), ("e2m1", 0), ("e4m3", 464)])
def test_every_number_is_that_of_its_line_of_python(page, format, value):
    from v4mini.widgets.dial import FORMATS, NumberDial

    page.set_to(".format", format, "change")
    page.set_to("input.value", value)
    assert f" in {format} (" in page.told()
    page.check_receipts(80, explorer=NumberDial(), FORMATS=FORMATS)


def test_a_block_of_one_s_own(page):
    from v4mini.widgets.dial import FORMATS, NumberDial

    page.set_to("textarea.block", "1 2 3 nonsense")
    assert "Expected 1 to 32 numbers" in page.text(".alert")
    page.set_to("textarea.block", "1 -2.5, 100 0.001")
    page.check_receipts(30, explorer=NumberDial(block=[1, -2.5, 100, 0.001]), FORMATS=FORMATS)


def test_axe_finds_no_serious_fault(page):
    page.check_axe()


def test_a_hundred_interactions_are_measured(page):
    draw = random.Random(0)
    page.set_to(".format", "e4m3", "change")
    page.measure()
    for _ in range(50):
        page.click("svg.chart", draw.uniform(0.1, 0.9), 0.5)
    page.script("document.querySelector('input.slider').focus()")
    for _ in range(50):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "PAGE_UP", "PAGE_DOWN"]))
    page.waited(100, "dial")
