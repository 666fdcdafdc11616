"""The attention explorer in JupyterLab, in a browser: words, heads, layers and entries are clicked and reached by keys."""

import random

import pytest

CELL = """
import v4mini as v4
from v4mini.lessons import data_folder
from v4mini.widgets.attention import AttentionExplorer

folder = data_folder() / "mini"
text = "\\n".join(f"key_{i} = {i * i}" for i in range(40))
AttentionExplorer(v4.load(folder, backend="numpy"), v4.Tokenizer.load(folder), text, layer=3, token=200)
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(show):
    return show("attention", [CELL], ".v4mini-attention .told")


def go(page, **change):                                 # by the lists above the text
    for name, value in change.items():
        page.set_to(f".{name}", value, "change")


def test_words_heads_layers_and_entries_answer_to_the_mouse(page):
    assert "Layer 3 (CSA), mean of heads: token 200, " in page.told() and "32 of 50 picked" in page.told()
    page.keep("attention-light")
    page.click(page.all(".token")[180])
    assert "token 180, " in page.told()
    page.click("canvas.heat", 0.5, 0.3)                 # a row of the window, of head 1
    assert "head 1" in page.told() and "Selected: token " in page.told()
    assert len(page.all(".token.mine")) == 1
    page.click("canvas.heat", 0.95, 0.3)
    assert "Selected: entry " in page.told() and len(page.all(".token.mine")) == 8
    page.click(page.all(".layers tbody button")[0])     # the name of layer 0
    assert "Layer 0 (window)" in page.told() and "on entries" not in page.told()
    go(page, layer=2)
    assert "Layer 2 (HCA)" in page.told() and "all 1; each pools 128 tokens" in page.told()


def test_every_part_answers_to_the_keyboard_alone(page):
    page.click(page.all(".token")[180])
    page.press("ARROW_LEFT")
    assert "token 179, " in page.told()
    page.press("TAB")
    assert page.script("return document.activeElement.className") == "heat"
    page.press("PAGE_UP", "HOME", "ARROW_RIGHT")
    assert "head 0" in page.told() and "Selected: token " in page.told()
    page.press("TAB", "ARROW_DOWN", "ENTER")            # the second of what it reads most
    assert page.script("return !!document.activeElement.closest('.most')")
    assert page.script("return document.querySelectorAll('.most [tabindex=\"0\"]').length") == 1


@pytest.mark.parametrize("place", [{"layer": 3, "head": -1}, {"layer": 3, "head": 2}, {"layer": 2, "head": 0}])
def test_each_receipt_s_line_of_python_gives_the_number_that_was_clicked(page, place):
    import v4mini as v4
    from v4mini.lessons import data_folder
    from v4mini.widgets.attention import AttentionExplorer

    folder = data_folder() / "mini"
    text = "\n".join(f"key_{i} = {i * i}" for i in range(40))
    explorer = AttentionExplorer(v4.load(folder, backend="numpy"), v4.Tokenizer.load(folder), text)
    go(page, **place)
    page.click(page.all(".token")[200])
    page.check_receipts(38, explorer=explorer)


def test_another_text_is_read_and_shown_not_obeyed(page):
    page.set_to(".text", "x < <b>y</b>")
    page.until(lambda: "key" not in page.text(".strip"))
    assert "</" in page.text(".strip") and not page.all(".strip b")
    page.set_to(".text", "abc = 1\n" * 40)
    page.until(lambda: len(page.all(".token")) > 150)


def test_axe_finds_no_serious_fault(page):
    page.check_axe()


def test_a_hundred_interactions_are_measured(page):
    draw = random.Random(0)
    page.measure()
    for _ in range(25):
        page.click(page.all(".token")[draw.randrange(100, 150)])
        page.click("canvas.heat", draw.uniform(0.1, 0.9), draw.uniform(0.05, 0.8))
    page.script("document.querySelector('.token[tabindex=\"0\"]').focus()")
    for _ in range(25):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "HOME", "END"]))
    page.script("document.querySelector('canvas.heat').focus()")
    for _ in range(25):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "ARROW_UP", "ARROW_DOWN"]))
    page.waited(100, "attention, 4 layers of 4 heads")
