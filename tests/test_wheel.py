"""A wheel holds the course too, and runs where nothing of the installation and no HOME can be written."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from v4mini.lessons.wheel import COURSE

ROOT = Path(__file__).parents[1]
NOT_FOR_READERS = {"conftest.py"}       # of notebooks/: for pytest


@pytest.mark.parametrize("folder, endings", COURSE)
def test_every_kind_of_file_of_the_course_comes_along(folder, endings):
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file()
             and not any(part.startswith((".", "__")) for part in path.relative_to(ROOT).parts)]
    assert files and not [path for path in files if not path.name.endswith(endings) and path.name not in NOT_FOR_READERS]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the unpacked wheel, read-only, away from the checkout."""
    place, copy = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("source") / "checkout"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "build", "__pycache__", "*.egg-info", ".*_cache"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "-w", place, copy], check=True)
    wheel, = place.glob("*.whl")
    site = place / "site"
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    shutil.rmtree(copy)
    for path in [site, *site.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield site
    for path in [site, *site.rglob("*")]:
        path.chmod(0o755)


def run(site, cwd, *arguments):
    """`v4mini ARGUMENTS` of that wheel, by a user who can write to `cwd` and temporary folders alone."""
    (cwd / "temporary").mkdir(exist_ok=True)
    env = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "V4MINI_DATA")}
    env |= {"HOME": "/proc/nobody", "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(cwd / "temporary")}
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.geteuid() == 0 else []
    return subprocess.run([*drop, sys.executable, "-m", "v4mini", *arguments], cwd=cwd, env=env, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("setpriv"), reason="takes rights away as Linux does")
def test_a_wheel_runs_from_a_read_only_place_without_a_home(installed, tmp_path):
    tour = run(installed, tmp_path, "tour")
    assert tour.returncode == 0 and "v4mini lab opens the lessons" in tour.stdout
    text = run(installed, tmp_path, "generate", "import ", "-n", "4")
    told = [line for line in text.stderr.splitlines() if line.startswith("v4mini: ")]
    assert text.returncode == 0 and len(told) == 1, text.stderr
    assert "kernels/__pycache__ cannot be written" in told[0] and f"kept in {tmp_path / 'temporary'}" in told[0]
    again = run(installed, tmp_path, "generate", "import ", "-n", "4")
    assert again.stdout == text.stdout and "v4mini: " not in again.stderr
    facts = {fact["what"]: fact for fact in json.loads(run(installed, tmp_path, "doctor", "--json").stdout)}
    assert facts["bundled data"]["found"] == str(installed / "v4mini_course" / "data")
    assert facts["engine numba"]["verdict"] == "ok" and facts["kernel cache"]["verdict"].startswith("temporary")
    assert (installed / "v4mini_course" / "notebooks" / "00_start_here.ipynb").is_file()
