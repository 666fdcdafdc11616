"""JupyterLab in a browser, for the tests of explorers: a server of its own, a notebook of given cells, keys and clicks.

Needs Chromium and its driver (Debian: chromium, chromium-driver). V4MINI_PICTURES=FOLDER keeps pictures of the page;
V4MINI_AXE=FILE is another axe.min.js than the one of axe-core-python (a newer: npm pack axe-core).
"""

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
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
START, ANSWER, END = 90, 60, 20                         # seconds we wait at most, on a busy machine
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1400,1900")
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"},        # every cell is on the page, seen or not
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}
MEASURE = """
    window.waited = [];
    let down = 0;
    const root = document.querySelector('.v4mini');
    const measure = start => requestAnimationFrame(() => {
        const after = new MessageChannel();             // its message comes when the frame has been drawn
        after.port1.onmessage = () => window.waited.push(performance.now() - start);
        after.port2.postMessage(0);
    });
    root.addEventListener('pointerdown', event => { down = event.timeStamp; }, true);
    root.addEventListener('click', () => measure(down), true);
    root.addEventListener('keydown', event => measure(event.timeStamp), true);
"""
RECEIPTS = """
    const seen = [];
    for (const button of document.querySelectorAll('.v4mini td button.number')) {
        if (button.getAttribute('aria-label')) continue;    // a place to go to
        button.click();
        seen.push([button.textContent, document.querySelector('.receipt code').textContent]);
    }
    return seen;
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):                              # -> notebook(name, cells) -> its address
    """A JupyterLab of its own that opens notebooks of the given code cells."""
    if not (DRIVER and BROWSER):
        pytest.skip("no chromium and chromedriver on the PATH (Debian: apt-get install chromium chromium-driver)")
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
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

    def notebook(name, sources):
        empty = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        cells = [empty | {"id": f"cell-{i}", "source": source}
                 for i, source in enumerate(sources)]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        document = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        (home / "notebooks" / f"{name}.ipynb").write_text(json.dumps(document), encoding="utf-8")
        return f"http://127.0.0.1:{port}/lab/tree/{name}.ipynb?token={token}&reset"

    with (home / "lab.log").open("wb") as log:
        server = subprocess.Popen(command, env=os.environ | own, cwd=home, stdout=log, stderr=subprocess.STDOUT,
                                  start_new_session=True)
    try:
        wait_for_server(f"http://127.0.0.1:{port}/api", server, home / "lab.log")
        yield notebook
    finally:
        end(server)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra [test])")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    try:
        driver.set_page_load_timeout(START)
        driver.set_script_timeout(ANSWER)
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def show(lab, driver):                                  # -> show(name, cells, ready): Page, its cells run, `ready` on the page
    def show(name, cells, ready):
        driver.get(lab(name, cells))
        page = Page(driver)
        page.run_all(ready)
        return page

    return show


class Page:
    """A notebook in the browser."""

    def __init__(self, driver):
        self.driver = driver

    def run_all(self, ready):
        self.until(lambda: self.script("return !!window.jupyterapp?.shell.currentWidget?.sessionContext"), START)
        done = self.driver.execute_async_script("""
            const done = arguments[0], app = window.jupyterapp;
            app.shell.currentWidget.sessionContext.ready.then(() => app.commands.execute('notebook:run-all-cells'))
               .then(() => done('ran'), error => done(String(error)));""")
        assert done == "ran"
        self.until(lambda: self.all(ready))

    def script(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def theme(self, name):                              # "JupyterLab Dark"
        self.driver.execute_async_script("window.jupyterapp.commands.execute('apputils:change-theme', {theme: arguments[0]})"
                                         ".then(() => arguments[1](true))", name)
        self.until(lambda: self.script("return document.body.dataset.jpThemeName") == name)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        (found,) = self.all(selector)
        return found

    def text(self, selector):
        return self.script("return document.querySelector(arguments[0]).textContent", selector)

    def told(self):                                     # -> the sentence that says what is shown
        return self.text(".told")

    def set_to(self, selector, value, event="input"):
        """An input's value, as if typed or dragged there; of a list: event "change"."""
        self.script("const e = document.querySelector(arguments[0]); e.value = arguments[1];"
                    "e.dispatchEvent(new Event(arguments[2]))", selector, str(value), event)

    def press(self, *keys):                             # to whatever has the focus: names of selenium's Keys, or text
        from selenium.webdriver import ActionChains
        from selenium.webdriver.common.keys import Keys

        ActionChains(self.driver, duration=0).send_keys(*(getattr(Keys, key, key) for key in keys)).perform()

    def click(self, selector, x=None, y=None):
        """An element's middle, or the point at these shares of its width and height."""
        from selenium.webdriver import ActionChains

        element = self.one(selector) if isinstance(selector, str) else selector
        self.script("arguments[0].scrollIntoView({block: 'center'})", element)
        size = element.size
        dx, dy = (0 if at is None else round((at - 0.5) * size[side]) for at, side in ((x, "width"), (y, "height")))
        ActionChains(self.driver, duration=0).move_to_element_with_offset(element, dx, dy).click().perform()

    def until(self, happens, seconds=ANSWER):
        from selenium.common.exceptions import StaleElementReferenceException

        end, found = time.monotonic() + seconds, False
        while not found and time.monotonic() < end:
            time.sleep(0.05)
            try:
                found = happens()
            except StaleElementReferenceException:      # the page was drawing itself anew
                found = False
        if not found:
            self.keep("failed")
            told = [element.text for element in self.all(".told, .jp-OutputArea-output")]
            raise AssertionError(f"not within {seconds} s; the page says: {' | '.join(told)[:2000]}")
        return found

    def measure(self):
        """From here on the time from each click and key to the frame after it is written down."""
        self.script(MEASURE)

    def waited(self, count, name):                      # -> milliseconds [count]; how fast it was is printed, never asserted
        self.until(lambda: self.script("return window.waited.length") >= count)
        waited = np.array(self.script("return window.waited"))
        shares = np.percentile(waited, (50, 95, 100))
        print(f"\n{name}: {len(waited)} interactions, half within {shares[0]:.0f} ms, 95% within {shares[1]:.0f} ms, "
              f"all within {shares[2]:.0f} ms")
        return waited

    def check_receipts(self, least, **known):
        """Every number's line of Python, run here, gives the number that is shown."""
        seen = self.script(RECEIPTS)
        assert len(seen) >= least, f"expected {least} numbers or more, got {len(seen)}"
        for shown, line in seen:
            value, near = float(eval(line, known)), float(shown.replace(",", ""))
            last = 1e-5 * abs(near) if "e" in shown else 10.0 ** -len(shown.partition(".")[2])     # a unit of the last digit
            assert abs(value - near) <= 0.5001 * last, f"{line}: {value}, shown {shown}"

    def check_axe(self):
        """axe finds no serious fault, light and dark."""
        script = axe_script()
        for theme in ("JupyterLab Dark", "JupyterLab Light"):
            self.theme(theme)
            self.until(lambda dark="Dark" in theme: bool(self.all(".v4mini[data-dark]")) == dark)
            self.script(script)
            found = self.driver.execute_async_script("axe.run('.v4mini').then(arguments[0])")
            told = [(fault["id"], fault["impact"], [node["html"][:200] for node in fault["nodes"][:3]])
                    for fault in found["violations"]]
            assert len(found["passes"]) > 10 and not [fault for fault in told if fault[1] in ("serious", "critical")], told
            print(f"\naxe {found['testEngine']['version']}, {theme}: {len(found['passes'])} rules hold, faults: {told}")

    def keep(self, name, selector=".v4mini"):
        if os.environ.get("V4MINI_PICTURES"):
            shown = self.all(selector)
            picture = shown[0].screenshot_as_png if shown else self.driver.get_screenshot_as_png()
            (Path(os.environ["V4MINI_PICTURES"]) / f"{name}.png").write_bytes(picture)


def axe_script():                                       # -> text of axe.min.js
    if path := os.environ.get("V4MINI_AXE"):
        return Path(path).read_text(encoding="utf-8")
    package = find_spec("axe_core_python")
    if package is None:
        pytest.skip("axe-core-python is not installed (extra [test]), and V4MINI_AXE names no file")
    return (Path(package.origin).parent / "axe.min.js").read_text(encoding="utf-8")


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
