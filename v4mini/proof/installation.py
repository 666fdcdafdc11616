"""Is this installation ready? The one list that `v4mini doctor` and lesson 00 show; what it calls ok it has tried.

Not here: what the operating system tells (machine.py), printing (cli/, lessons/).
"""

import importlib.metadata
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from v4mini import machine
from v4mini.engines import ENGINES, choose_backend, missing
from v4mini.shapes import Refused
from v4mini.viz.tables import human_bytes

PYTHON = (3, 11), (3, 14)                               # from, and below
CORES = 2                                               # the lessons and the tests run with that
MEMORY = 4 << 30                                        # bytes
DISK = 1 << 30
NEARLY = 0.9                                            # a machine sold with 4 GiB tells of a little less
EXTRAS = "lab", "test", "hub", "parity"


@dataclass(frozen=True)
class Need:
    """`found` is what is here. fault: "" if that will do, else what is wrong. A basic need must be met for anything to run.

    extra: the part of pyproject.toml that asks for it, "" for what everything needs.
    """

    what: str
    wanted: str
    found: str
    fault: str
    is_basic: bool = True
    extra: str = ""


def needs(extras=("lab",)):                             # yields Need
    """Python, the packages that pyproject.toml asks for (in these extras too), cores, memory."""
    low, high = PYTHON
    is_known = low <= sys.version_info[:2] < high
    yield Need("python", f"{low[0]}.{low[1]} to {high[0]}.{high[1] - 1}", platform.python_version(),
               "" if is_known else sys.version.split()[0])
    yield from _packages(extras)
    cores, memory = machine.cores(), machine.memory_bytes()
    yield Need("cores", f"{CORES} or more", str(cores), "" if cores >= CORES else str(cores), False)
    is_little = memory is not None and memory < NEARLY * MEMORY
    found = "unknown" if memory is None else f"{memory / 2**30:.3g} GiB"
    yield Need("memory", f"{MEMORY >> 30} GiB or more", found, found if is_little else "", False)


def _packages(extras):                                  # yields Need
    for line in importlib.metadata.requires("v4mini") or ():
        package, _, condition = line.partition(";")
        name, least = re.match(r"([\w-]+)(?:[>=]=([\d.]+))?", package).groups()
        extra = re.search(r"extra == ['\"](\w+)['\"]", condition)
        if name == "v4mini" or extra and extra[1] not in extras:
            continue
        found = _version(name)
        is_old = found is not None and least is not None and _parts(found) < _parts(least)
        fault = "missing" if found is None else found if is_old else ""
        yield Need(name, f"{least or 'any'} or newer", found or "not installed", fault, not extra, extra[1] if extra else "")


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _parts(text):                                       # "2.13.0+cpu" -> [2, 13, 0]
    return [int(part) for part in re.findall(r"\d+", text)[:3]]


def report(data_folder):                                # -> [{"what", "found", "verdict"}]
    """verdict: "ok", "missing" (the basics will not run), or a note on what it is good for."""
    try:
        facts = [_judged(need) for need in needs(EXTRAS)]
    except importlib.metadata.PackageNotFoundError:
        facts = [_fact("v4mini", "not installed", "runs from its source; which packages it needs is not known")]
    free = shutil.disk_usage(Path.cwd()).free
    facts.append(_fact("free disk", human_bytes(free), "ok" if free > DISK else "low: the test suite writes about 1 GB"))
    facts.append(_fact("bundled data", str(data_folder), "ok" if (data_folder / "mini").exists() else
                       "missing" if not data_folder.exists() else "no data/mini"))
    return [*facts, *_engines(), _kernel_cache()]


def _fact(what, found, verdict):
    return {"what": what, "found": found, "verdict": verdict}


def _judged(need):
    if not need.fault:
        return _fact(need.what, need.found, "ok")
    if need.is_basic:
        return _fact(need.what, f"{need.found} (wanted: {need.wanted})", "missing")
    if need.found == "not installed":
        return _fact(need.what, need.found, f'optional: python -m pip install -e ".[{need.extra}]"')
    return _fact(need.what, need.found, f"low: the lessons want {need.wanted}")


def _engines():                                         # yields a fact for each engine: tried, or why it is absent
    for name, engine in ENGINES.items():
        reason = missing(name)
        yield _fact(f"engine {name}", engine.about, f"absent: {reason}") if reason else _try_engine(name, engine.about)


def _try_engine(name, words):                           # two tokens of a tiny model, computed
    from v4mini.config import Config
    from v4mini.inference.cached import CachedModel
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    config = Config.tiny()
    try:
        model = CachedModel(config, build(config, random_tensors(config).get), choose_backend(name))
        model.prefill([1, 2], model.new_cache())        # numbers that are not finite are refused
        fault = ""
    except Refused as refused:
        fault = str(refused)
    except Exception as error:                          # whatever it is, this is where it is told
        fault = f"{type(error).__name__}: {error}"
    return _fact(f"engine {name}", words, f"missing: {fault}" if fault else "ok")


def _kernel_cache():                                    # -> a fact: where machine code is kept, tried
    from v4mini.kernels.compiled import folders

    kept = folders()
    if not kept.write("doctor", b"tried"):
        return _fact("kernel cache", "none", "no folder can be written: kernels are compiled anew in every process")
    if kept.written.parent == kept.last_resort:
        return _fact("kernel cache", str(kept.written), "temporary: set NUMBA_CACHE_DIR to a folder of your own")
    return _fact("kernel cache", str(kept.written), "ok")
