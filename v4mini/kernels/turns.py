"""Work that threads take in turns, for kernels that last milliseconds. Not here: the kernels."""

from numba import get_num_threads, parallel_chunksize

TURNS = 8                       # of each thread


def in_turns(kernel, units, *args):                     # a kernel that shares out so many units of work -> what it returns
    """kernel(*args), its units handed out a few at a time.

    By default each thread gets its half at once, and all wait for the one that woke late or was held up by other programs.
    """
    with parallel_chunksize(max(1, units // (TURNS * get_num_threads()))):
        return kernel(*args)
