"""Dynamic scheduling for kernels that last milliseconds: threads take small chunks of the work. Not here: the kernels."""

from numba import get_num_threads, parallel_chunksize

CHUNKS_PER_THREAD = 8


def in_small_chunks(kernel, units, *args):              # a kernel that shares out so many units of work -> what it returns
    """kernel(*args), its units handed out a few at a time.

    By default each thread gets its half at once, and all wait for the one that woke late or was held up by other programs.
    """
    with parallel_chunksize(max(1, units // (CHUNKS_PER_THREAD * get_num_threads()))):
        return kernel(*args)
