"""How many threads kernels use: `v4mini.set_threads`. Not here: how many there are at the start (__init__.py)."""

import numba
from threadpoolctl import threadpool_limits

from v4mini.shapes import Refused


def set_threads(n):                                     # int -> how many it was
    """Use n threads from now on, for kernels that this Python thread calls and for NumPy's own products.

    Results are the same bits with any number. Refused for more than the pool has, which is made once, before the first kernel.
    """
    most, before = numba.config.NUMBA_NUM_THREADS, numba.get_num_threads()
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= most:
        raise Refused(f"set_threads: expected 1 to {most} threads, got {n!r}. For more, set NUMBA_NUM_THREADS before Python "
                      "starts.")
    numba.set_num_threads(n)
    threadpool_limits(n, user_api="blas")
    return before
