"""The routing explorer in JupyterLab, in a browser: controls are moved, and what the page then shows is read.

Needs Chromium and its driver (Debian: chromium, chromium-driver). V4MINI_PICTURES=FOLDER keeps pictures of the page.
"""

import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "notebooks" / "07_experts_and_routing.ipynb"
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
START, ANSWER, END = 90, 60, 20                         # seconds we wait at most, on a busy machine
WANTED = ("import v4mini as v4", 'v4.load(DATA / "mini"', "explorer = RoutingExplorer(")      # the cells that the explorer needs
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,1900")
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"},        # every cell is on the page, seen or not
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "apputils-extension/themes": {"theme": os.environ.get("V4MINI_THEME", "JupyterLab Light")}}

pytestmark = [pytest.mark.slow,
              pytest.mark.skipif(not (DRIVER and BROWSER), reason="no chromium and chromedriver on the PATH (Debian: "
                                                                  "apt-get install chromium chromium-driver)")]


@pytest.fixture(scope="module")
def address(tmp_path_factory):                          # of the explorer's notebook in a JupyterLab of its own
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    document = json.loads(LESSON.read_text(encoding="utf-8"))
    document["cells"] = [cell for cell in document["cells"] if cell["cell_type"] == "code"
                         and any(words in "".join(cell["source"]) for words in WANTED)]
    assert len(document["cells"]) == len(WANTED)
    for cell in document["cells"]:
        cell["outputs"], cell["execution_count"] = [], None
    (home / "notebooks" / "explorer.ipynb").write_text(json.dumps(document), encoding="utf-8")
    for name, values in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values), encoding="utf-8")
    port, token = free_port(), secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
               "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={home / 'notebooks'}", "--LabApp.news_url=None",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
               "IPYTHONDIR": "ipython", "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    own = {name: str(home / folder) for name, folder in folders.items()} | {"V4MINI_DATA": str(ROOT / "data")}
    with (home / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | own, cwd=home, stdout=log, stderr=subprocess.STDOUT,
                                  start_new_session=True)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api", server, home / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/explorer.ipynb?token={token}"
    finally:
        end(server)


@pytest.fixture(scope="module")
def page(address, tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra [test])")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        driver.set_page_load_timeout(START)
        driver.set_script_timeout(ANSWER)
        driver.get(address)
        yield Page(driver)
    finally:
        driver.quit()


class Page:
    """The notebook in the browser, and the explorer in it."""

    def __init__(self, driver):
        self.driver = driver
        self.until(lambda: driver.execute_script("return !!window.jupyterapp?.shell.currentWidget?.sessionContext"), START)
        done = driver.execute_async_script("""
            const done = arguments[0], app = window.jupyterapp;
            app.shell.currentWidget.sessionContext.ready.then(() => app.commands.execute('notebook:run-all-cells'))
               .then(() => done('ran'), error => done(String(error)));""")
        assert done == "ran"
        self.until(lambda: self.all(".v4mini-routing") and self.told() and self.picture())
        self.keep("start")

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        (found,) = self.all(selector)
        return found

    def told(self):
        return self.one(".v4mini-told").text

    def picture(self):                                  # -> digest of the bytes the page shows, "" before there are any
        code = """
            const done = arguments[1], image = document.querySelector(arguments[0]);
            if (!image?.complete || image.naturalWidth < 500) { done(''); return; }
            fetch(image.src).then(answer => answer.arrayBuffer())
                .then(bytes => done(Array.from(new Uint8Array(bytes))), () => done(''));"""
        got = self.driver.execute_async_script(code, "img.v4mini-picture")
        return hashlib.sha256(bytes(got)).hexdigest() if got else ""

    def until(self, happens, seconds=ANSWER):
        from selenium.common.exceptions import StaleElementReferenceException

        end, found = time.monotonic() + seconds, False
        while not found and time.monotonic() < end:
            time.sleep(0.1)
            try:
                found = happens()
            except StaleElementReferenceException:      # the page was drawing itself anew
                found = False
        if not found:
            self.keep("failed")
            told = [element.text for element in self.all(".v4mini-told, .jp-OutputArea-output")]
            raise AssertionError(f"not within {seconds} s; the page says: {' | '.join(told)[:2000]}")
        return found

    def changes(self, act, *words):                     # after it the words stand in the sentence, and the picture is another
        before = self.picture()
        act()
        self.until(lambda: all(word in self.told() for word in words) and self.picture() not in ("", before))
        return self.picture()

    def press(self, control, key, times=1):
        from selenium.webdriver.common.keys import Keys

        for _ in range(times):
            self.one(f".v4mini-{control} .noUi-handle").send_keys(getattr(Keys, key))

    def keep(self, name):
        if os.environ.get("V4MINI_PICTURES"):
            shown = self.all(".v4mini-routing")
            picture = shown[0].screenshot_as_png if shown else self.driver.get_screenshot_as_png()
            (Path(os.environ["V4MINI_PICTURES"]) / f"{name}.png").write_bytes(picture)


def test_the_explorer_answers_in_jupyterlab(page):
    assert "Layer 3: the gate chooses by affinity + bias. Token 11, ␣self" in page.told()
    assert "The router is the model's own." in page.told()
    first = page.picture()
    assert "answers for" in page.one(".v4mini-tables").text

    page.changes(lambda: page.press("layer", "ARROW_LEFT"), "Layer 2:")
    page.changes(lambda: page.press("layer", "HOME"), "Layer 0: the table chooses by token id", "Its row in the table: token id")
    page.keep("table")
    page.changes(lambda: page.press("token", "ARROW_LEFT"), "Token 10, ␣return")
    page.changes(lambda: page.press("token", "ARROW_RIGHT"), "Token 11, ␣self")
    assert page.changes(lambda: page.press("layer", "ARROW_RIGHT", 3), "Layer 3:") == first

    page.changes(lambda: page.press("top-k", "ARROW_RIGHT"), "What if: 3 experts a token instead of 2.")
    page.keep("three")
    page.changes(lambda: page.one("button.v4mini-use-bias").click(), "instead of 2, bias off.", "chooses by affinity. Token")
    page.changes(lambda: page.one("button.v4mini-use-table").click(), "bias off, table off")
    assert page.changes(lambda: page.one("button.v4mini-reset").click(), "The router is the model's own.") == first

    page.changes(lambda: write(page, "x < y & <b>z</b>"), "Layer 3:")
    assert "</" in page.one(".v4mini-strip").text
    assert not page.all(".v4mini-strip b")              # what was typed is shown, not obeyed
    page.keep("typed")


def test_the_page_asks_nobody_but_its_own_server(page):
    own = page.driver.execute_script("return location.origin")
    asked = page.driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert asked
    assert [url for url in asked if not url.startswith((own, f"blob:{own}", "data:"))] == []


def write(page, text):
    from selenium.webdriver.common.keys import Keys

    area = page.one(".v4mini-text textarea")
    area.send_keys(Keys.CONTROL, "a")
    area.send_keys(text)
    page.one(".v4mini-layer .noUi-handle").send_keys(Keys.NULL)         # elsewhere: the text is read when one leaves it


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for_server(url, server, log):
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert server.poll() is None, f"JupyterLab ended by itself:\n{log.read_text()[-2000:]}"
        try:
            with direct.open(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"JupyterLab did not answer within {START} s:\n{log.read_text()[-2000:]}")


def end(server):
    """Ask the server to stop, which stops its kernels; then make sure that none of them is left."""
    import psutil

    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)] if server.poll() is None else []
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(END)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait(END)
    _, left = psutil.wait_procs(family, timeout=END)
    for process in left:
        process.kill()
    assert not psutil.wait_procs(left, timeout=END)[1]
