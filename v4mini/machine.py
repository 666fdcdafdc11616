"""What the operating system tells of this machine and this process, as plain numbers; None where it does not tell.

Not here: whether that is enough (proof/installation.py), other machines (planning/machines.py), accelerators (accel/).
"""

import math
import os
import sys


def cores():                                            # -> int, at least 1
    """Cores that this process may use: fewer than the machine has under taskset, a batch system or a container's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:                              # macOS, Windows
        count = os.cpu_count() or 1
    quota = _control_group("cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():          # microseconds of work in so many microseconds
        count = min(count, math.ceil(int(quota[0]) / int(quota[1])))
    return max(1, count)


def memory_bytes():                                     # -> bytes, or None
    """Memory that this process may use: the machine's, or less where a container is limited."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):       # Windows has no sysconf
        return None
    limit = _control_group("memory.max").strip()
    return min(total, int(limit)) if limit.isdigit() else total


def resident_bytes():                                   # -> bytes, or 0 where the system does not tell
    """This process's resident set, mapped files included."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError):
        return 0


def peak_bytes():                                       # -> bytes that were resident at most, or None
    """This process's own peak. Where /proc tells it, from there: ru_maxrss starts from the parent's peak."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:                                 # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def disk_read_bytes():                                  # -> bytes this process has had fetched from disks, or None
    try:
        with open("/proc/self/io", encoding="ascii") as io:
            return next(int(line.split()[1]) for line in io if line.startswith("read_bytes"))
    except OSError:
        return None


def _control_group(name):                               # -> what Linux limits this process's container to, or ""
    try:
        with open(f"/sys/fs/cgroup/{name}", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
