"""The kernels' own source in plain NumPy gives NumPy's answers, and every planted mistake is noticed, without triton."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from accel.checks import plain
from accel.checks.cases import CASES
from accel.checks.plain import tl, triton
from accel.checks.planted import NUMBERS, with_mistake
from v4mini.shapes import Refused


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_a_kernel_gives_numpys_answer(name, dtype):
    assert plain.problem(name, dtype=dtype) == ""


@pytest.mark.parametrize("mistake", NUMBERS, ids=lambda mistake: mistake.what)
def test_a_planted_mistake_is_noticed(mistake):
    assert plain.problem(mistake.case, with_mistake(mistake, plain.load))


@triton.jit
def _shift(x, out, N, B: tl.constexpr, MASKED: tl.constexpr):
    i = tl.program_id(0) * B + tl.arange(0, B)
    value = tl.load(x + i + 1, mask=i + 1 < N, other=0.0) if MASKED else tl.load(x + i + 1)
    tl.store(out + i, value, mask=i < N)


def test_an_address_outside_is_refused_by_name_line_and_offset_unless_it_is_masked():
    x, out = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    _shift[(2,)](x, out, 6, B=4, MASKED=True)
    assert out.tolist() == [1, 2, 3, 4, 5, 0]
    place = r"_shift, program \(1,\), line 31 in _shift \(value = tl.load.*\): expected offsets of x from 0 to 5, loads 6\."
    with pytest.raises(Refused, match=place):
        _shift[(2,)](x, out, 6, B=4, MASKED=False)
    with pytest.raises(Refused, match="offsets of out from 0 to 4, stores 5"):
        _shift[(2,)](x, out[:5], 6, B=4, MASKED=True)


def test_what_a_mask_leaves_out_without_other_is_nan():
    @triton.jit
    def copy(x, out):
        i = tl.arange(0, 4)
        tl.store(out + i, tl.load(x + i, mask=i < 3))
    out = np.zeros(4, np.float32)
    copy[(1,)](np.ones(3, np.float32), out)
    assert np.isnan(out).tolist() == [False, False, False, True]


def test_values_are_never_changed_in_place():
    @triton.jit
    def twice(x, out):
        first = tl.load(x + tl.arange(0, 4))
        second = first
        second += 1
        second *= 3
        second -= first
        tl.store(out + tl.arange(0, 4), second)
    x, out = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
    twice[(1,)](x, out)
    assert out.tolist() == [3, 5, 7, 9] and x.tolist() == [0, 1, 2, 3]


def test_what_triton_refuses_is_refused():
    with pytest.raises(Refused, match="power of two, got 12"):
        tl.arange(0, 12)
    with pytest.raises(Refused, match="one type, got float32 and int32"):
        tl.dot(tl.zeros((16, 16), tl.float32), tl.zeros((16, 16), tl.int32))
    with pytest.raises(Refused, match="rows lie one after the other"):
        _shift[(1,)](np.zeros((4, 4), np.float32).T, np.zeros(4, np.float32), 4, B=4, MASKED=True)


def test_no_stand_in_for_triton_is_left_behind():
    code = ("import sys; from accel.checks import plain; plain.kernel('rope.rope');"
            "assert not {'triton', 'triton.language', 'torch'} & set(sys.modules), 'left behind'")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
    before = {name: sys.modules.get(name) for name in ("triton", "triton.language")}
    plain.load(plain.KERNELS / "norm.py")
    assert {name: sys.modules.get(name) for name in before} == before
