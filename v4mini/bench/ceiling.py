"""What this machine can do at best: matrix products and reading memory. Not here: what we reach of it."""

import statistics
import time

import numpy as np

from v4mini.machine import cores


def median_seconds(work, repeats=5):                    # -> seconds
    """Median of several runs after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def gemm_flops_per_second():                            # -> FLOP/s, float32, all cores
    """Of gemm_work, five times."""
    work, flops = gemm_work()
    return flops / median_seconds(work)


def read_bytes_per_second():                            # -> bytes/s, all cores
    """Of read_work, five times."""
    work, nbytes = read_work()
    return nbytes / median_seconds(work)


def gemm_work(n=1536):                                  # -> a function to time, and its FLOPs
    """A product of two square matrices that fit the cache: the ceiling for dense work, float32, all cores."""
    a, b = np.ones((n, n), np.float32), np.ones((n, n), np.float32)
    return lambda: a @ b, 2 * n**3


def read_work(megabytes=512):                           # -> a function to time, and its bytes
    """Summing an array far larger than the cache, one thread per core: the ceiling for whatever must read its weights."""
    from numba import njit, prange

    @njit(parallel=True, fastmath=True)                 # of integers that are all finite: order does not matter
    def total(x):
        sums = np.zeros(x.shape[0], np.int64)
        for i in prange(x.shape[0]):
            s = np.int64(0)
            for j in range(x.shape[1]):
                s += x[i, j]
            sums[i] = s
        return sums.sum()

    x = np.ones((cores() * 8, megabytes * 1_000_000 // (8 * cores() * 8)), np.int64)
    return lambda: total(x), x.nbytes


def ceilings():                                         # -> {"gemm_flops", "read_bytes", "cores"}
    """Both ceilings, per second."""
    return {"gemm_flops": gemm_flops_per_second(), "read_bytes": read_bytes_per_second(), "cores": cores()}
