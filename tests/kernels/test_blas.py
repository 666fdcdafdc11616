"""Products by the BLAS that NumPy has loaded, in our threads: NumPy's numbers, the same bits from one thread and from two."""

import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from v4mini.kernels import blas

pytestmark = pytest.mark.skipif(not blas.addresses()[0], reason="NumPy brought no OpenBLAS here, or nothing is compiled")


@pytest.mark.parametrize("T, width, n, groups", [(1, 1, 1, 1), (2, 5, 3, 1), (129, 64, 257, 1), (300, 33, 512, 2), (7, 16, 12, 4),
                                                 (500, 8, 40, 5)])
def test_agrees_with_float64(normal, same_bits, T, width, n, groups):
    x, weight = normal(T, groups * width), normal(n, width)
    got = same_bits(lambda: blas.product(x, weight, np.empty((T, n), np.float32), groups))
    parts = zip(np.split(x.astype(np.float64), groups, axis=1), np.split(weight.astype(np.float64), groups))
    np.testing.assert_allclose(got, np.concatenate([own @ mine.T for own, mine in parts], axis=1), rtol=0, atol=1e-5 * width)


def test_rows_of_the_result_may_lie_apart(normal):
    x, weight, out = normal(5, 6), normal(4, 6), np.zeros((5, 10), np.float32)
    blas.product(x, weight, out[:, 3:7])
    np.testing.assert_allclose(out[:, 3:7], x @ weight.T, rtol=1e-5, atol=1e-5)
    assert not out[:, :3].any() and not out[:, 7:].any()


def test_the_readers_own_products_keep_their_threads(normal):
    """NumPy's number of threads is as it was after every product of ours, whatever it was."""
    for threads in (2, 1):
        with threadpool_limits(threads, user_api="blas"):
            blas.product(normal(200, 64), normal(300, 64), np.empty((200, 300), np.float32))
            assert {pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"} == {threads}


def test_without_openblas_numpys_own_products_run(normal, monkeypatch):
    monkeypatch.setattr(blas, "addresses", lambda: np.zeros(4, np.int64))
    x, weight = normal(9, 12), normal(8, 6)
    got = blas.product(x, weight, np.empty((9, 8), np.float32), groups=2)
    np.testing.assert_array_equal(got, np.hstack([x[:, :6] @ weight[:4].T, x[:, 6:] @ weight[4:].T]))


def test_after_a_product_no_thread_of_blas_waits_in_a_loop():
    """Half a second of rest after products takes next to no processor time: NumPy's own threads would spin for all of it."""
    code = """
import resource, time, numpy as np
from v4mini.kernels import blas
x, weight, out = (np.ones(shape, np.float32) for shape in ((512, 512), (512, 512), (512, 512)))
blas.product(x, weight, out)
def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
before = spent(); time.sleep(0.5); print(spent() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.1
