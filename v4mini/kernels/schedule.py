"""How work is shared out among threads, beside plain prange. Not here: the kernels, how many threads there are (threads.py)."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

from numba import config, get_num_threads, parallel_chunksize

CHUNKS_PER_THREAD = 8


def in_small_chunks(kernel, units, *args):              # a kernel that shares out so many units of work -> what it returns
    """kernel(*args), its units handed out a few at a time.

    By default each thread gets its half at once, and all wait for the one that woke late or was held up by other programs.
    """
    with parallel_chunksize(max(1, units // (CHUNKS_PER_THREAD * get_num_threads()))):
        return kernel(*args)


def share_out(kernel, parts, *args):
    """kernel(part, *args) for each part of range(parts), as soon as a thread is free. kernel: @njit(nogil=True).

    A prange in the kernel would do the same. But Numba compiles its body several times, as part of larger and larger functions:
    for the kernels of a training step that took 60 of 180 seconds. These threads sleep while there is nothing to do, and start
    within 0.1 milliseconds, on cores that others keep busy too.
    """
    rest = iter(range(parts))

    def work():
        for part in rest:
            kernel(part, *args)

    others = [_helpers().submit(work) for _ in range(min(get_num_threads(), parts) - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


@functools.cache
def _helpers():
    return ThreadPoolExecutor(max(1, config.NUMBA_NUM_THREADS - 1), "kernels")


if hasattr(os, "register_at_fork"):                     # a forked process has no thread but its first
    os.register_at_fork(after_in_child=_helpers.cache_clear)
