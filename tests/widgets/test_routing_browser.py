"""The routing explorer in JupyterLab, in a browser: words, experts and switches are clicked and reached by keys.

Needs Chromium and its driver; how fast the page answers is measured and printed, never asserted.
"""

import csv
import io
import json
import random
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "notebooks" / "07_experts_and_routing.ipynb"
WANTED = ("import v4mini as v4", 'v4.load(DATA / "mini"', "explorer = RoutingExplorer(")      # the cells that the explorer needs
LARGE = """
import numpy as np
from v4mini.ops.route import affinity, route
from v4mini.widgets.reading import Reading
from v4mini.widgets.routing import RoutingExplorer
from v4mini.widgets.what_if import Routes

rng, layers = np.random.default_rng(0), []
for layer in range(43):
    scores, bias = rng.standard_normal((512, 256), np.float32), rng.normal(0, 0.05, 256).astype(np.float32)
    layers.append(Routes("gate", scores, affinity(scores), bias, None, *route(scores, 1.5, 6, bias)))
RoutingExplorer(reading=Reading("random scores", list(range(512)), [f"w{i}" for i in range(512)], layers, 256))
"""
CORPUS = ["def f(self):\n    return self.a\n", "class A:\n    def g(self, b):\n        return b\n"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(show):
    cells = ["".join(cell["source"]) for cell in json.loads(LESSON.read_text(encoding="utf-8"))["cells"]
             if cell["cell_type"] == "code"]
    wanted = [source for source in cells if any(words in source for words in WANTED)]
    assert len(wanted) == len(WANTED)
    wanted[-1] = wanted[-1].replace("token=first)", f"token=first, corpus={CORPUS})")
    return show("explorer", wanted, ".v4mini-routing .told")


def token(page, t):
    return page.all(".v4mini-routing .token")[t]


def test_words_and_experts_answer_to_the_mouse(page):
    assert "Layer 3: the gate chooses by affinity + bias. Token 11, ␣self, goes to expert 5" in page.told()
    page.keep("light")
    page.click(token(page, 1))
    assert "Token 1, def, goes to expert" in page.told()
    page.click("canvas.heat", 0.3, 0.1)                 # first layer
    assert "Layer 0: the table chooses by token id" in page.told()
    expert = page.all(".choice tbody button")[0].text
    page.click(page.all(".choice tbody button")[0])
    assert f"Expert {expert} in layer 0" in page.text(".expert caption")
    page.click("canvas.heat", 0.75, 0.8)
    page.click(token(page, 11))
    assert "Layer 3" in page.told() and "Token 11" in page.told()


def test_every_part_answers_to_the_keyboard_alone(page):
    page.script("document.querySelector('.token[tabindex=\"0\"]').focus()")
    page.press("ARROW_LEFT")
    assert "Token 10, ␣return" in page.told()
    page.press("END")
    assert "Token 17" in page.told()
    page.press("TAB", "TAB")                            # the list of what the map shows, then the map
    assert page.script("return document.activeElement.className") == "heat"
    page.press("PAGE_UP", "HOME", "ARROW_RIGHT")
    assert "Layer 0" in page.told() and "Expert 1 in layer 0" in page.text(".expert caption")
    page.press("TAB", "ARROW_DOWN", "ENTER")            # the table of the token's experts
    assert page.script("return !!document.activeElement.closest('.choice')")
    stops = page.script("return document.querySelectorAll('.choice [tabindex=\"0\"]').length")
    assert stops == 1


def test_each_receipt_s_line_of_python_gives_the_number_that_was_clicked(page, show):
    import v4mini as v4
    from v4mini.lessons import data_folder
    from v4mini.widgets.routing import RoutingExplorer

    folder = data_folder() / "mini"
    explorer = RoutingExplorer(v4.load(folder, backend="numpy"), v4.Tokenizer.load(folder), layer=3, token=11, corpus=CORPUS)
    page.script("document.querySelector('.reset').click()")
    page.click(token(page, 11))
    page.click("canvas.heat", 0.75, 0.8)
    page.click(".count")
    page.until(lambda: "Over " in page.text(".expert"))
    page.check_receipts(50, explorer=explorer, slice=slice)


def test_switches_run_the_model_and_one_button_takes_all_back(page):
    page.click(".use_bias")
    page.until(lambda: "What if: bias off." in page.told() and "expert 5" in page.told())
    page.set_to(".top_k", 3)
    page.until(lambda: "3 experts a token instead of 2, bias off." in page.told())
    page.click(".reset")
    page.until(lambda: "The router is the model's own." in page.told())
    page.click(page.all(".choice tbody button")[0])     # the best expert: now it may not answer
    best = page.all(".choice tbody button")[0].text
    page.click(".on")
    page.until(lambda: f"What if: expert {best} of layer 3 off." in page.told())
    assert "Kullback-Leibler" in page.text(".next")
    page.keep("what-if")
    page.click(".on")
    page.until(lambda: "The router is the model's own." in page.told())
    page.set_to(".by", -1)
    page.until(lambda: f"bias of expert {best} in layer 3 -1.00" in page.told())
    page.click(".reset")
    page.until(lambda: "The router is the model's own." in page.told())


def test_what_is_typed_is_shown_and_not_obeyed(page):
    page.click(".text")
    page.press(*["BACKSPACE"] * 60, *["DELETE"] * 60)
    page.press("x < y & <b>z</b>")
    page.until(lambda: "z" in page.text(".strip") and "self" not in page.text(".strip"))
    assert "</" in page.text(".strip") and not page.all(".strip b")
    page.keep("typed")
    page.set_to(".text", "def add(self, a, b):\n    return self.a + self.b\n")
    page.until(lambda: "self" in page.text(".strip"))


def test_files_hold_what_the_page_shows(page, tmp_path):
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    for words in ("CSV", "JSON", "PNG"):
        page.script("[...document.querySelectorAll('.v4mini button')].find(b => b.textContent === arguments[0]).click()", words)
        page.until(lambda words=words: list(tmp_path.glob(f"*.{words.lower()}")))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "routing.csv").read_bytes().decode())))
    assert len(rows) == 18 * 4 * 2 and {row["layer"] for row in rows} == set("0123")
    content = json.loads((tmp_path / "routing.json").read_text(encoding="utf-8"))
    assert len(content["rows"]) == len(rows) and content["pieces"][0] == "BOS"
    assert (tmp_path / "routing.png").read_bytes().startswith(b"\x89PNG")


def test_it_follows_the_theme(page):
    paper = "return getComputedStyle(document.querySelector('.v4mini')).backgroundColor"
    light = page.script(paper)
    page.theme("JupyterLab Dark")
    page.until(lambda: page.all(".v4mini[data-dark]"))
    assert page.script(paper) != light
    field = "return [...document.querySelector('canvas.heat').getContext('2d').getImageData(500, 70, 1, 1).data]"
    assert max(page.script(field)[:3]) < 60             # the map is dark too: nobody asks expert 4 of layer 2
    page.keep("dark")
    page.theme("JupyterLab Light")
    page.until(lambda: not page.all(".v4mini[data-dark]"))


def test_axe_finds_no_serious_fault(page):
    page.click(token(page, 11))
    page.check_axe()


def test_narrow_and_wide_nothing_is_cut_off(page):
    page.driver.set_window_size(760, 1400)
    page.until(lambda: page.script("return document.querySelector('.v4mini').clientWidth") < 450)
    page.keep("narrow")
    assert page.script("const e = document.querySelector('.v4mini'); return e.scrollWidth - e.clientWidth") <= 0
    page.driver.set_window_size(1400, 1900)


def test_the_page_asks_nobody_but_its_own_server(page):
    own = page.script("return location.origin")
    asked = page.script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked
    assert [url for url in asked if not url.startswith((own, f"blob:{own}", "data:"))] == []


def hundred(page, tokens, name):
    """100 clicks and keys on tokens, map and tables."""
    page.measure()
    draw = random.Random(0)
    for _ in range(25):
        page.click(token(page, draw.randrange(min(tokens, 60))))
        page.click("canvas.heat", draw.uniform(0.1, 0.9), draw.uniform(0.05, 0.85))
    page.script("document.querySelector('.token[tabindex=\"0\"]').focus()")
    for _ in range(25):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "HOME", "END"]))
    page.script("document.querySelector('canvas.heat').focus()")
    for _ in range(25):
        page.press(draw.choice(["ARROW_LEFT", "ARROW_RIGHT", "ARROW_UP", "ARROW_DOWN", "PAGE_UP", "END"]))
    page.waited(100, name)


def test_a_hundred_interactions_at_18_tokens_are_measured(page):
    hundred(page, 18, "18 tokens, 4 layers, 8 experts")


def test_a_hundred_interactions_at_the_size_of_flash_are_measured(show):
    page = show("large", [LARGE], ".v4mini-routing .told")
    assert "512 tokens, 43 layers of 256 experts" in page.text(".note")
    page.keep("large")
    hundred(page, 512, "512 tokens, 43 layers, 256 experts")
