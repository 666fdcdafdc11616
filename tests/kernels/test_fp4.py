"""FP4 codes in kernels: every pair of them in every place, whichever way this processor looks them up."""

import ml_dtypes
import numpy as np
import pytest
from kernels.stored import stored
from numba import config, njit
from tolerances import OP

from v4mini.kernels import fp4, linear, packed
from v4mini.numerics.matrix import Matrix
from v4mini.ops import linear as numpy_linear


def test_every_fp4_code_in_every_place(normal):
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16).view(np.int8)
    scale = np.array([0, 1, 100, 127, 128, 140] * 3, np.uint8)[:16, None].view(ml_dtypes.float8_e8m0fnu)
    weight = Matrix(codes, scale)
    np.testing.assert_array_equal(packed.rows(weight, 0, 16).view(np.uint32), weight.dense().view(np.uint32))
    for place in range(32):
        x = np.zeros(32, np.float32)
        x[place] = 1
        np.testing.assert_array_equal(linear.linear(x, weight), weight.dense()[:, place])


@pytest.mark.parametrize("way", ["avx512bw", "avx2", None])
def test_each_way_to_look_up_fp4(normal, monkeypatch, way):
    has = fp4.table_lookup()
    if way and (has is None or way > has):              # "avx512bw" < "avx2": a processor with the former has both
        way_is_there = has == "avx512bw"
        if not way_is_there:
            pytest.skip(f"this processor has {has}")
    monkeypatch.setattr(fp4, "table_lookup", lambda: way)
    if way and not config.DISABLE_JIT:                  # compiled anew, as the choice is made then
        monkeypatch.setattr(fp4, "_rows_by_table", njit(fp4._rows_by_table.py_func))
    for width in (96, 128, 416):                        # no whole register, one, three and a rest
        x, weight = normal(width), stored(normal, "fp4", 7, width)
        np.testing.assert_allclose(linear.linear(x, weight), numpy_linear.linear(x, weight), **OP)
