"""What `v4mini doctor` finds out about this machine, as plain data. Not here: printing (cli/)."""

import importlib.metadata
import os
import platform
import shutil
import sys
from pathlib import Path

from v4mini.viz.tables import human_bytes

NEEDED = ("numpy", "numba", "ml_dtypes", "tokenizers", "click")
EXTRAS = {"jupyterlab": "lab", "matplotlib": "lab", "pytest": "test", "nbval": "test",
          "torch": "parity", "transformers": "parity"}
ENOUGH_MEMORY, ENOUGH_DISK = 2e9, 1e9                   # bytes: the lessons and the tests run with that


def report(data_folder):                                # -> [{"what", "found", "verdict"}]
    """verdict: "ok", "missing" (the basics will not run), or a note on what it is good for."""
    facts = [_fact("Python", platform.python_version(), "ok" if sys.version_info >= (3, 11) else "missing")]
    facts += [_package(name) for name in NEEDED]
    facts += [_extra(name, extra) for name, extra in EXTRAS.items()]
    facts.append(_fact("cores", str(os.cpu_count()), "ok"))
    facts.append(_memory())
    free = shutil.disk_usage(Path.cwd()).free
    facts.append(_fact("free disk", human_bytes(free), "ok" if free > ENOUGH_DISK else "low: the test suite writes about 1 GB"))
    facts.append(_fact("bundled data", str(data_folder), "ok" if (data_folder / "mini").exists() else
                       "missing" if not data_folder.exists() else "no data/mini"))
    facts.append(_fact("engine numpy", "plain NumPy, float32", "ok"))
    why = "ok" if _version("numba") else "absent: numba is not installed"
    facts.append(_fact("engine numba", "compiled kernels, all cores", why))
    return facts


def _fact(what, found, verdict):
    return {"what": what, "found": found, "verdict": verdict}


def _package(name):
    version = _version(name)
    return _fact(name, version or "not installed", "ok" if version else "missing")


def _extra(name, extra):
    version = _version(name)
    return _fact(name, version or "not installed", "ok" if version else f'optional: python -m pip install -e ".[{extra}]"')


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _memory():
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):       # Windows has no sysconf
        return _fact("memory", "unknown", "not told by this system")
    return _fact("memory", human_bytes(total), "ok" if total > ENOUGH_MEMORY else "low: lessons need about 2 GB")
