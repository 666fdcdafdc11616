"""The stream mixer in JupyterLab, in a browser: logits are dragged and moved by keys, every number is ops.mix's."""

import random

import pytest

CELL = """
from v4mini.widgets.mixer import StreamMixer

mixer = StreamMixer(rounds=20)
mixer
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(show):
    return show("mixer", [CELL], ".v4mini-mixer .told")


def test_a_logit_answers_to_keys_and_to_a_drag(page):
    page.keep("mixer-light")
    first = "input[aria-label='logit from stream 0 to stream 0']"
    page.script("document.querySelector(arguments[0]).focus()", first)
    page.press("END")
    assert "the largest share is 0.9" in page.told()
    page.press("HOME", "ARROW_RIGHT")
    assert page.script("return document.querySelector(arguments[0]).value", first) == "-11.95"
    page.click(first, 0.5, 0.5)
    assert abs(float(page.script("return document.querySelector(arguments[0]).value", first))) < 1
    page.click(".reset")
    assert float(page.script("return document.querySelector(arguments[0]).value", first)) < -3


@pytest.mark.parametrize("rounds", [0, 1, 2, 7, 20])
def test_every_number_is_that_of_its_line_of_python(page, rounds):
    from v4mini.widgets.mixer import StreamMixer

    explorer = StreamMixer(rounds=rounds)
    explorer.move("logits", (1, 3), -2.5)
    explorer.move("pre", 2, 1.25)
    explorer.move("post", 0, -0.5)
    page.click(".reset")
    page.set_to("input.round", rounds)
    page.set_to("input[aria-label='logit from stream 1 to stream 3']", -2.5)
    page.set_to("input[aria-label='pre logit of stream 2']", 1.25)
    page.set_to("input[aria-label='post logit of stream 0']", -0.5)
    assert f"After {rounds} rounds" in page.told()
    page.check_receipts(40, explorer=explorer)


def test_axe_finds_no_serious_fault(page):
    page.check_axe()


def test_a_hundred_interactions_are_measured(page):
    draw, logits = random.Random(0), page.all(".board input")
    page.measure()
    for _ in range(50):
        page.click(draw.choice(logits), draw.uniform(0.2, 0.8), 0.5)
    page.script("document.querySelector('input.round').focus()")
    for _ in range(50):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "HOME", "END"]))
    page.waited(100, "mixer")
