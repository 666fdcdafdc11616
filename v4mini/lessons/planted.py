"""Plant a defect in this package while it is imported, and see whether the project's own tests notice. No file is changed.

    python -m v4mini.lessons.planted NAME TESTS ...     pytest, in a process whose v4mini has that defect (none: as it is)

Needs a checkout, which has tests. Not here: the defects (museum.py), the table of them (__main__.py).
"""

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path

import v4mini
from v4mini.lessons.museum import DEFECTS, Defect
from v4mini.shapes import Refused

HOME = Path(v4mini.__file__).resolve().parents[1]
PASSED, NOTICED = 0, 1          # pytest's exit status: all passed, tests failed; others: it could not run


@dataclass(frozen=True)
class Outcome:
    """What the tests said of one defect. by: the first test that failed, "" if none did."""

    defect: Defect
    by: str
    seconds: float


def outcomes(defects):          # yields Outcome; first of all, that the same tests pass where nothing is planted
    """Each defect in turn, in a process of its own. Raises Refused without a checkout, or if the tests fail of themselves."""
    if not (HOME / "tests" / "ops").is_dir():
        raise Refused(f"museum: expected a checkout with tests beside the package, got {HOME}. Try it in a clone of the project.")
    status, by = _tested("none", sorted({defect.tests for defect in defects}))
    if status != PASSED:
        raise Refused(f"museum: expected tests that pass where nothing is planted, got {by or status}. Try: pytest tests/ops")
    for defect in defects:
        began = time.perf_counter()
        status, by = _tested(defect.name, [defect.tests])
        if status not in (PASSED, NOTICED):
            raise Refused(f"museum, {defect.name}: expected tests that run, got exit status {status}. Try: pytest {defect.tests}")
        yield Outcome(defect, by, time.perf_counter() - began)


def planted(defect, source):    # -> the file's text with the defect in it
    """Raises Refused where the line to change is not there exactly once: the code moved on, and the defect must follow."""
    found = source.count(defect.right)
    if found != 1:
        raise Refused(f"museum, {defect.name}: expected {defect.right!r} once in {defect.file}, got {found}. "
                      "Try the line that does it now.")
    return source.replace(defect.right, defect.wrong)


class Planter:
    """A finder of modules, first in sys.meta_path: it gives one module of the package with the defect in it."""

    def __init__(self, defect):
        self.defect = defect
        self.module = f"v4mini.{defect.file.removesuffix('.py').replace('/', '.')}"
        if self.module in sys.modules:
            raise Refused(f"museum: expected {self.module} not to be imported yet. Try: python -m v4mini.lessons.planted")

    def find_spec(self, name, path=None, target=None):
        """As importlib asks. None: somebody else finds it."""
        if name != self.module:
            return None
        spec = PathFinder.find_spec(name, path)
        spec.loader = _Planted(name, spec.origin)
        spec.loader.defect = self.defect
        return spec


class _Planted(SourceFileLoader):
    def get_code(self, fullname):       # from the text, not from __pycache__
        return compile(planted(self.defect, self.get_source(fullname)), self.path, "exec")


def _tested(name, tests):       # -> pytest's exit status, the first test that failed
    command = [sys.executable, "-m", "v4mini.lessons.planted", name, *tests]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.M)
    return done.returncode, failed.group(1) if failed else ""


def main(name, tests):          # -> exit status
    """Run pytest here, with the defect of that name."""
    import pytest

    sys.meta_path[:0] = [Planter(defect) for defect in DEFECTS if defect.name == name]
    return pytest.main(["-q", "-x", "-p", "no:cacheprovider", "--no-header", "--tb=no", *tests])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
