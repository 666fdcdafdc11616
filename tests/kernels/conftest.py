"""What tests of kernels share: threads on small inputs, and the same bits from one thread and from two."""

import numba
import numpy as np
import pytest

from v4mini.kernels import attention, blas, compress, experts, fp4, fp8, index, keys, mix, norm, packed, rope, route

WITH_THRESHOLD = (attention, blas, compress, experts, fp4, fp8, index, keys, mix, norm, packed, rope, route)


@pytest.fixture(params=["serial", "parallel"])
def either_way(request, monkeypatch):
    """Small inputs run serial by themselves; without the threshold they take the parallel way."""
    if request.param == "parallel":
        for module in WITH_THRESHOLD:
            monkeypatch.setattr(module, "PARALLEL_FROM", 0)


@pytest.fixture
def same_bits(monkeypatch):
    """same_bits(run): call it with one thread and with two, expect the same bits, return them."""
    for module in WITH_THRESHOLD:
        monkeypatch.setattr(module, "PARALLEL_FROM", 0)
    before = numba.get_num_threads()

    def check(run):
        numba.set_num_threads(1)
        one = run()
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        two = run()
        for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (one, two)), strict=True):
            np.testing.assert_array_equal(a.view(np.uint32) if a.dtype == np.float32 else a,
                                          b.view(np.uint32) if b.dtype == np.float32 else b)
        return one
    yield check
    numba.set_num_threads(before)
