"""machine: is this computer ready for the lessons? Not here: accelerators (accel/), sizes of models (planning/)."""

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version

LEAST_MEMORY = 4            # GiB
LEAST_CORES = 2


def machine():
    """Print one line per thing the lessons need: what is wanted, and OK or what was found instead."""
    rows = [_python(), *_packages(), _at_least("cores", os.cpu_count(), LEAST_CORES, ""),
            _at_least("memory", _memory(), LEAST_MEMORY, " GiB")]
    for name, wanted, found in rows:
        print(f"{name:<12} {wanted:<14} {'OK' if found is None else found}")
    faults = [name for name, _, found in rows if found is not None]
    print("ready" if not faults else f"not ready: {', '.join(faults)}. Try: python -m pip install -e \".[lab]\"")


def _python():
    low, high = (3, 11), (3, 14)
    return "python", "3.11 to 3.13", None if low <= sys.version_info[:2] < high else sys.version.split()[0]


def _packages():                            # what pyproject.toml asks for, so that it is said once
    for line in requires("v4mini") or ():
        package, _, condition = line.partition(";")
        name, least = re.match(r"([\w-]+)(?:>=([\d.]+))?", package).groups()
        if condition and "lab" not in condition:
            continue
        yield name, f"{least or 'any'} or newer", _too_old(name, least)


def _too_old(name, least):                  # -> None if fine
    try:
        found = version(name)
    except PackageNotFoundError:
        return "missing"
    return None if least is None or _parts(found) >= _parts(least) else found


def _parts(text):
    return [int(part) for part in re.findall(r"\d+", text)[:3]]


def _at_least(name, found, least, unit):
    wanted = f"{least}{unit} or more"
    return name, wanted, None if found is None or found >= 0.9 * least else f"{found:.3g}{unit}"


def _memory():                              # -> GiB, or None where the system does not tell
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
