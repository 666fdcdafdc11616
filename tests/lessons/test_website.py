"""The website and the slides: whole, linked, drawn without a network; a broken link is a fault."""

import re
import shutil
import subprocess
from importlib.util import find_spec

import pytest

from v4mini.lessons import website
from v4mini.lessons.places import notebooks
from v4mini.shapes import Refused

HAS_SPHINX = all(find_spec(package) for package in website.NEEDED)
needs_sphinx = pytest.mark.skipif(not HAS_SPHINX, reason="needs the extra [site]")
LOADED = re.compile(r"""<(?:script|link|img)[^>]*(?:src|href)=["'](?:https?:)?//""")
NO_NETWORK = ["unshare", "-rn"]


def offline_page(address):              # -> the page as Chromium has it after its scripts, on a machine without a network
    browser = shutil.which("chromium")
    if not browser or subprocess.run([*NO_NETWORK, "true"], capture_output=True).returncode:
        pytest.skip("needs chromium and network namespaces")
    done = subprocess.run([*NO_NETWORK, browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000",
                           "--dump-dom", address], capture_output=True, text=True, timeout=100)
    return done.stdout


def test_what_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(website, "NEEDED", ("sphinx_of_nobody",))
    with pytest.raises(Refused, match=r"sphinx_of_nobody not installed.*\[site\]"):
        website.build_site(tmp_path / "site")
    assert not list(tmp_path.iterdir())


def test_links_to_lessons_that_are_left_out_become_text():
    import nbformat

    toy = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("[03](03_a.ipynb) and [04: b](04_b.ipynb) [x](y.md)")])
    website._unlink(toy, ["04_b.ipynb"])
    assert toy.cells[0].source == "03 and [04: b](04_b.ipynb) [x](y.md)"


@needs_sphinx
@pytest.mark.slow
def test_the_website_has_all_lessons_and_loads_nothing_from_elsewhere(tmp_path):
    pages = website.build_site(tmp_path / "site")
    assert {f"{path.stem}.html" for path in notebooks()} | {"index.html", "TEACHING.html"} <= set(pages)
    for page in pages:
        assert not LOADED.search((tmp_path / "site" / page).read_text(encoding="utf-8")), page
    shown = offline_page((tmp_path / "site" / "13_gradients_and_muon.html").as_uri())
    assert "<math" in shown and shown.count("<img") >= 3 and 'href="14_balance_and_indexer.html"' in shown
    with pytest.raises(Refused, match="a new or an empty folder"):
        website.build_site(tmp_path / "site")


@needs_sphinx
@pytest.mark.slow
def test_slides_open_without_a_network(tmp_path):
    website.build_site(tmp_path / "slides", "slides", ["02"])
    page = (tmp_path / "slides" / "02_rotary_positions.html")
    assert not LOADED.search(page.read_text(encoding="utf-8"))
    shown = offline_page(page.as_uri())
    headings = re.findall(r"^## (.*)$", "\n".join("".join(cell) for cell in sources("02")), re.M)
    assert "reveal" in shown and "slides" in shown and 'class="slide-number' in shown              # its scripts ran
    titles = [re.sub(r"<[^>]*>", "", title) for title in re.findall(r"<h2>(.*?)</h2>", shown)]
    assert headings and {heading.replace("`", "") for heading in headings} <= set(titles), titles


def sources(number):
    from v4mini.lessons.cells import read_cells

    path, = notebooks([number])
    return [cell["source"] for cell in read_cells(path) if cell["cell_type"] == "markdown"]


@needs_sphinx
@pytest.mark.slow
def test_a_link_to_nowhere_is_a_fault_and_nothing_is_written(tmp_path, monkeypatch):
    own = website.lay_out

    def broken(source, kind, names=()):
        own(source, kind, names)
        (source / "index.md").write_text("# A\n\n[gone](99_gone.ipynb)\n\n```{toctree}\n00_start_here\n```\n")
    monkeypatch.setattr(website, "lay_out", broken)
    with pytest.raises(Refused, match="99_gone.ipynb"):
        website.build_site(tmp_path / "site", "site", ["00"])
    assert not list(tmp_path.iterdir())
