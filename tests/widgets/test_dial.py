"""The number dial without a browser: its codes and values are those of ml_dtypes, its blocks those of the files."""

import sys

import ml_dtypes
import numpy as np
import pytest

import v4mini as v4
from v4mini.numerics.blocks import quantise_fp4, quantise_fp8
from v4mini.widgets.dial import FORMATS, NumberDial

OTHERS = {"e4m3": ml_dtypes.float8_e4m3fn, "e2m1": ml_dtypes.float4_e2m1fn, "ue8m0": ml_dtypes.float8_e8m0fnu,
          "bf16": ml_dtypes.bfloat16}


@pytest.mark.parametrize("name", FORMATS)
def test_every_code_means_what_ml_dtypes_says_and_comes_back(name):
    own = FORMATS[name]
    codes = np.arange(2**own.bits, dtype=np.uint16 if own.bits == 16 else np.uint8)[:: 17 if name == "bf16" else 1]
    theirs = codes.view(OTHERS[name]).astype(np.float32)
    for code, value in zip(codes.tolist(), theirs.tolist()):
        assert own.decode(code) == value or np.isnan(own.decode(code)) and np.isnan(value), code
        if np.isfinite(value):
            assert own.encode(value) == code


@pytest.mark.parametrize("name", ["e4m3", "e2m1", "bf16"])
def test_what_lies_between_goes_to_the_code_that_ml_dtypes_takes(name):
    own, rng = FORMATS[name], np.random.default_rng(0)
    top = {"e4m3": 448, "e2m1": 6, "bf16": 1e30}[name]
    sent = np.sort([own.decode(code) for code in range(2**min(own.bits, 8) // 2 - 1)])
    values = np.float32([*rng.uniform(-top, top, 300), *(sent[1:] + sent[:-1]) / 2])       # and all ties
    theirs = values.astype(OTHERS[name]).view(np.uint16 if own.bits == 16 else np.uint8)
    assert [own.encode(value) for value in values] == [int(code) & (2**own.bits - 1) for code in theirs]


def test_beyond_the_largest_it_is_the_largest_and_scales_are_rounded_up():
    assert [FORMATS["e4m3"].decode(FORMATS["e4m3"].encode(x)) for x in (1e9, -1e9)] == [448, -448]
    assert FORMATS["e2m1"].decode(FORMATS["e2m1"].encode(100)) == 6
    assert [FORMATS["ue8m0"].decode(FORMATS["ue8m0"].encode(x)) for x in (2.6, 4, 4.1, -4.1, 0)] == [4, 4, 8, 8, 2.0**-127]


def test_a_block_is_what_the_files_hold():
    block = np.random.default_rng(1).normal(0, 0.02, 32).astype(np.float32)
    dial = NumberDial(block=block)
    scale, values = dial.quantised("e2m1")
    np.testing.assert_array_equal(values, quantise_fp4(block[None]).dense()[0])
    assert scale == 2.0 ** np.ceil(np.log2(np.abs(block).max() / 6))
    np.testing.assert_array_equal(dial.quantised("e4m3")[1], quantise_fp8(block[None]).dense()[0])
    assert dial.error("e4m3") < dial.error("e2m1")
    assert NumberDial(block=block[:5]).quantised("e2m1")[1].shape == (5,)


def test_it_says_what_it_shows_and_refuses_what_it_cannot():
    dial = NumberDial()
    assert repr(dial) == "NumberDial: 2.6 in e2m1 is code 5 (0 10 1), which means 3."
    assert [row[0] for row in dial.tables()[0][2]] == list(FORMATS)
    view = dial.view
    view.asked = {"value": -0.3, "format": "e4m3", "block": [1, 2], "number": 1}
    assert (dial.value, dial.format, dial.block.tolist()) == (-0.3, "e4m3", [1, 2])
    view.asked = {"block": [], "number": 2}
    assert "block: expected 1 to 32 finite numbers, got 0" in view.said
    for name, value in (("format", "fp5"), ("value", float("nan")), ("value", float("inf"))):
        with pytest.raises(v4.Refused, match=f"{name}: expected"):
            setattr(dial, name, value)


def test_without_anywidget_its_tables_are_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    bundle = NumberDial()._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and "10000001" in bundle["text/html"]
