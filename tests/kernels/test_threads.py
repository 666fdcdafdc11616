"""One pool: as many threads as the process may use cores, or as it is told."""

import os
import subprocess
import sys

import numba
import pytest
from threadpoolctl import threadpool_info

import v4mini
from v4mini.machine import cores
from v4mini.shapes import Refused

CODE = "import v4mini.kernels, numba; print(numba.config.NUMBA_NUM_THREADS)"


def threads(code=CODE, **variables):                    # -> of a new process
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | variables
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def test_the_usual_variables_count():
    assert threads(OMP_NUM_THREADS="1") == 1
    assert threads(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="2") == 2
    assert threads(OMP_NUM_THREADS="many") == threads() == cores()


def test_a_process_on_one_core_uses_one():
    assert threads("import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); " + CODE) == 1


def test_a_containers_quota_counts():
    code = "import v4mini.machine as machine; machine._control_group = lambda name: '50000 100000' if name == 'cpu.max' else ''; "
    assert threads(code + CODE) == 1


def test_set_threads_is_for_kernels_and_for_numpy():
    before = v4mini.set_threads(1)
    try:
        assert numba.get_num_threads() == 1 and v4mini.set_threads(1) == 1
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} <= {1}
    finally:
        v4mini.set_threads(before)


@pytest.mark.parametrize("n", [0, -1, 10_000, 1.0, True, "2"])
def test_other_numbers_are_refused(n):
    with pytest.raises(Refused, match="set_threads: expected 1 to .* threads, got"):
        v4mini.set_threads(n)
