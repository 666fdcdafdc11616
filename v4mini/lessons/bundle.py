"""An offline bundle: all that a class needs in one folder, for machines without a network, and the proof that it does.

    DIR/wheels/     this package, with lessons, model and data in its wheel, and all that `pip install v4mini[lab]` asks for
    DIR/INSTALL.md  two commands
    DIR/TEACHING.md, README.md

For this platform and this minor version of Python, since wheels are. JupyterLab and what it draws formulas with (MathJax) lie in
its own wheel. Not here: the lessons themselves, a website (website.py).
"""

import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory

from v4mini.lessons.folders import copy_into, expect_new
from v4mini.lessons.places import notebook_folder
from v4mini.shapes import Refused
from v4mini.writing import make_folder, write_whole

REQUIREMENT = "v4mini[lab]"
LANE_ONE = re.compile(r"## Lane 1: [^\n]*\n\n[^\n]*Lessons ([\d, ]+)\.")
INSTALL = """# A class without a network

For {system}, Python {version}. In a virtual environment:

```
python -m pip install --no-index --find-links wheels "v4mini[lab]"
v4mini doctor --workshop
v4mini lab --work class
```

[TEACHING.md](TEACHING.md) has three classes of 90 minutes.
"""
# a new network namespace has a loopback that is down; kernels of notebooks talk over it
LOOPBACK = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x49))"
NO_NETWORK = ("unshare", "-rn", "sh", "-c", f'"{sys.executable}" -c "{LOOPBACK}" && exec "$@"', "sh")


def make_bundle(target, tell=lambda what: None):        # -> (wheels, bytes)
    """Write the bundle into a new folder. Needs a checkout, and a network this once. Refused with pip's last words."""
    root = notebook_folder().parent
    expect_new(target)
    if not (root / "pyproject.toml").is_file():
        raise Refused(f"bundle: expected a checkout, got an installation in {root}. Run it in a clone of the repository.")
    with TemporaryDirectory() as work:
        wheels = make_folder(Path(work, "bundle", "wheels"))
        tell("wheels")
        _run("bundle", [sys.executable, "-m", "pip", "wheel", "-q", "-w", wheels, f"{root}[lab]"])
        for page in (root / "README.md", notebook_folder() / "TEACHING.md"):
            write_whole(wheels.parent / page.name, page.read_bytes())
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        write_whole(wheels.parent / "INSTALL.md", INSTALL.format(system=sys.platform, version=version))
        copy_into(wheels.parent, target)
    found = list(Path(target, "wheels").iterdir())
    return len(found), sum(path.stat().st_size for path in found)


def check_bundle(target, tell=lambda what: None):       # -> (lessons run, was there no network at all)
    """Install it into a fresh environment from its folder alone and run all cells of lane 1 there. Refused if anything fails."""
    page = Path(target, "TEACHING.md").read_text(encoding="utf-8")
    lessons = LANE_ONE.search(page)[1].split(", ")
    alone = NO_NETWORK if _can_cut() else ()
    with TemporaryDirectory() as work:
        tell("a fresh environment")
        _run("bundle", [sys.executable, "-m", "venv", Path(work, "venv")])
        python = Path(work, "venv", "Scripts" if sys.platform == "win32" else "bin", "python")
        tell("installing")
        _run("bundle", [*alone, python, "-m", "pip", "install", "-q", "--no-index", "--find-links",
                        Path(target, "wheels").resolve(), REQUIREMENT], cwd=work)
        tell("doctor")
        _run("bundle", [*alone, python, "-m", "v4mini", "doctor"], cwd=work)
        tell(f"lessons {', '.join(lessons)}")
        _run("bundle", [*alone, python, "-m", "v4mini.lessons", "run", "--dry", *lessons], cwd=work)
    return lessons, bool(alone)


def _can_cut():                             # may this user make a network namespace, and is it one without a network?
    if which("unshare") is None:
        return False
    return subprocess.run([*NO_NETWORK, "true"], capture_output=True).returncode == 0


def _run(what, command, cwd=None):
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise Refused(f"{what}: {' '.join(map(str, command[-4:]))} failed: {' / '.join(told)}")
