"""What the operating system tells is plausible, and what it does not tell is None, not a guess."""

import builtins
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from v4mini import machine

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc and control groups")


def limited(monkeypatch, **files):
    """As in a container whose control group has these files."""
    real = builtins.open

    def open_(path, *args, **how):
        name = str(path).removeprefix("/sys/fs/cgroup/").replace(".", "_")
        if str(path).startswith("/sys/fs/cgroup/"):
            if name not in files:
                raise FileNotFoundError(path)
            return io.StringIO(files[name])
        return real(path, *args, **how)
    monkeypatch.setattr(machine, "open", open_, raising=False)


@linux
def test_a_process_held_to_one_core_has_one():
    script = ("import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
              "from v4mini import machine; print(machine.cores())")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "1\n"


@linux
@pytest.mark.parametrize("quota, count", [("max 100000\n", 8), ("150000 100000\n", 2), ("50000 100000\n", 1), ("", 8)])
def test_a_containers_quota_bounds_its_cores(monkeypatch, quota, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    limited(monkeypatch, cpu_max=quota)
    assert machine.cores() == count


@linux
def test_a_containers_limit_bounds_its_memory(monkeypatch):
    limited(monkeypatch)
    total = machine.memory_bytes()
    assert total == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limited(monkeypatch, memory_max="max\n")
    assert machine.memory_bytes() == total
    limited(monkeypatch, memory_max="1000000\n")
    assert machine.memory_bytes() == 1_000_000


@linux
def test_memory_that_is_touched_is_resident_and_stays_in_the_peak():
    before = machine.resident_bytes()
    touched = np.ones(40_000_000, np.uint8)
    assert machine.resident_bytes() >= before + 30_000_000 and machine.peak_bytes() >= before + 30_000_000
    del touched
    assert machine.peak_bytes() >= before + 30_000_000
    assert machine.disk_read_bytes() >= 0


def test_a_system_that_tells_nothing_is_not_guessed_at(monkeypatch):
    limited(monkeypatch)

    def nothing(*_, **__):
        raise FileNotFoundError
    monkeypatch.setattr(machine, "open", nothing)
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert (machine.memory_bytes(), machine.resident_bytes(), machine.disk_read_bytes()) == (None, 0, None)
