"""Parts of a kernel, shared out among threads: each is done once, and nothing goes on behind the caller's back."""

import os
import subprocess
import sys
import threading

import numba
import pytest

from v4mini.kernels.schedule import share_out


@pytest.fixture(params=[1, 2])
def threads(request):
    if request.param > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one core")
    before = numba.get_num_threads()
    numba.set_num_threads(request.param)
    yield request.param
    numba.set_num_threads(before)


@pytest.mark.parametrize("parts", [0, 1, 2, 37])
def test_each_part_is_done_once(threads, parts):
    done = []
    share_out(lambda part, out, word: out.append((part, word)), parts, done, "x")
    assert sorted(done) == [(part, "x") for part in range(parts)]


def test_as_many_threads_work_as_may(threads):
    together, names = threading.Barrier(threads, timeout=60), set()

    def work(part):
        names.add(threading.get_ident())
        together.wait()                                 # goes on only when all are there
    share_out(work, threads)
    assert len(names) == threads


def test_an_error_reaches_the_caller_once_all_have_stopped(threads):
    together, ended = threading.Barrier(threads, timeout=60), []

    def work(part):
        together.wait()
        if threading.current_thread() is threading.main_thread():
            raise ValueError("no")
        ended.append(part)
    with pytest.raises(ValueError, match="no"):
        share_out(work, threads)
    assert len(ended) == threads - 1


FORK = """
import os
from v4mini.kernels.schedule import share_out
done = []
share_out(done.append, 8)
if os.fork() == 0:
    share_out(done.append, 8)
    os._exit(len(done))
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_has_helpers_of_its_own():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("16\n", 0), done.stderr
