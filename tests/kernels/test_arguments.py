"""Arrays of every kind come in as one kind, and copying is the exception."""

import numpy as np
import pytest

from v4mini.kernels.arguments import COPY_UP_TO, as_floats, as_plain, check_shape
from v4mini.shapes import Refused


def test_a_plain_array_comes_through_as_it_is(normal):
    x = normal(3, 4)
    assert as_floats(x) is x


@pytest.mark.parametrize("size", [8, COPY_UP_TO + 2])
def test_everything_else_becomes_plain(normal, size):
    x = normal(2, size)
    frozen, shifted = x.copy(), np.zeros(4 * x.size + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    frozen.flags.writeable, shifted[:] = False, x
    for other in (frozen, shifted, x.astype(np.float64), np.asfortranarray(x), np.repeat(x, 2, 1)[:, ::2], x.tolist()):
        got = as_floats(other)
        assert got.flags.carray and got.dtype == np.float32
        np.testing.assert_array_equal(got, x)


def test_large_read_only_memory_is_borrowed_and_kept_alive(normal):
    x = normal(COPY_UP_TO + 1)
    x.flags.writeable = False
    address, borrowed = x.ctypes.data, as_plain(x, np.float32)
    assert borrowed.ctypes.data == address
    wanted = x.copy()
    del x
    np.testing.assert_array_equal(borrowed, wanted)


def test_a_shape_that_does_not_fit_is_told_in_a_sentence(normal):
    check_shape("x", normal(2, 3), 2, 3)
    with pytest.raises(Refused, match=r"^x: expected \[2, 4\], got \[2, 3\]. Is it another layer's\?$"):
        check_shape("x", normal(2, 3), 2, 4, hint="Is it another layer's?")
