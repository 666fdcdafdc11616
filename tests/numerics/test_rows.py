"""Stored rows decode to what DeepSeek's rounding gives, and arrays of them behave as the arrays they stand for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.config import Config
from v4mini.numerics.bf16 import round_bf16
from v4mini.numerics.blocks import round_index, round_kv
from v4mini.numerics.hadamard import hadamard
from v4mini.numerics.rows import BFloat16, Float32, ReleasedKey, ReleasedRow, Rows, formats

SPREADS = [1e-30, 1e-9, 1e-5, 1e-3, 1.0, 1e3, 1e20]


def wild(rng, n, width, spread):                        # float32 [n, width]: large beside small, zeros, both signs
    x = rng.standard_normal((n, width)) * spread * 10.0 ** rng.uniform(-4, 4, (n, width))
    return np.where(rng.random((n, width)) < 0.05, 0, x).astype(np.float32)


def test_released_sizes():
    row, key, state = formats(Config.flash(), "released")
    assert type(state(7)) is Float32
    assert (row.columns, key.columns) == (584, 68)
    assert row.encode(np.ones((3, 512), np.float32)).shape == (3, 584)


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("width, rope", [(512, 64), (96, 32), (64, 64), (194, 66)])
def test_a_released_row_is_round_kv_and_bf16(rng, width, rope, spread):
    x, format = wild(rng, 50, width, spread), ReleasedRow(width, rope)
    wanted = round_kv(x, rope)
    wanted[:, width - rope:] = round_bf16(x[:, width - rope:])
    for given_rows in (x, wanted):                      # what was rounded before comes back, bit for bit
        np.testing.assert_array_equal(format.decode(format.encode(given_rows)).view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("width", [32, 128])
def test_a_released_key_is_round_index(rng, width, spread):
    x, format = hadamard(wild(rng, 50, width, spread)), ReleasedKey(width)
    wanted = round_index(x)
    for given_rows in (x, wanted):
        np.testing.assert_array_equal(format.decode(format.encode(given_rows)).view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("width, rope", [(24, 8), (70, 2), (130, 66), (8, 8)])
def test_any_width_has_a_layout(rng, width, rope):
    x = wild(rng, 9, width, 1.0)
    for format in (ReleasedRow(width, rope), ReleasedKey(width - 1), BFloat16(width), Float32(width)):
        rows = x[:, : format.width]
        codes = format.encode(rows)
        assert codes.shape == (9, format.columns) and codes.dtype == format.dtype
        groups = np.abs(format.decode(codes) - rows) / np.abs(rows).max(axis=1, keepdims=True)
        assert groups.max() < 0.2, format               # FP4: 1 of 6 at worst


@pytest.mark.parametrize("format", [ReleasedRow(128, 32), ReleasedKey(128), BFloat16(128), Float32(128)])
def test_nan_is_seen_again(format, rng):
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((2, 128), np.float32)
        x[1, 5] = bad
        back = format.decode(format.encode(x))
        np.testing.assert_array_equal(back[0], x[0])
        assert not np.isfinite(back[1, 5])


@pytest.mark.parametrize("format", [ReleasedRow(20, 4), ReleasedKey(20), BFloat16(20), Float32(20)])
def test_no_rows_at_all(format):
    codes = format.encode(np.empty((0, 20), np.float32))
    assert codes.shape == (0, format.columns) and format.decode(codes).shape == (0, 20)


FORMATS = [Float32(6), BFloat16(6), ReleasedRow(6, 2), ReleasedKey(6)]


@settings(max_examples=150, deadline=None)
@given(format=st.sampled_from(FORMATS), sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4), data=st.data())
def test_pieces_index_as_one_array(format, sizes, data):
    x = np.random.default_rng(sum(sizes)).standard_normal((sum(sizes), 6)).astype(np.float32)
    ends = np.cumsum(sizes)[:-1]
    rows, whole = Rows(format, [format.encode(part) for part in np.split(x, ends)]), format.decode(format.encode(x))
    assert (len(rows), rows.shape, rows.ndim, rows.dtype) == (len(x), x.shape, 2, np.float32)
    which = data.draw(st.slices(len(x)), label="slice")
    np.testing.assert_array_equal(rows[which], whole[which])
    np.testing.assert_array_equal(np.asarray(rows), whole)
    np.testing.assert_array_equal(rows.T, whole.T)
    if len(x):
        shape = data.draw(st.sampled_from([(), (0,), (5,), (4, 3), (2, 0)]), label="shape")
        index = np.random.default_rng(1).integers(-len(x), len(x), shape)
        got = rows[index]
        np.testing.assert_array_equal(got, whole[index])
        assert got.dtype == np.float32 and got.shape == (*shape, 6)


def test_what_rows_cannot_do_they_say():
    rows = Rows(BFloat16(4), [np.zeros((3, 4), BFloat16.dtype)])
    for bad in ([3], [-4]):
        with pytest.raises(IndexError, match="expected -3 to 2"):
            rows[bad]
    for bad in ([0.5], [True, False, True]):
        with pytest.raises(TypeError, match="slice or an array of integers"):
            rows[bad]
    assert repr(rows) == "<3 rows of 4 numbers, stored as BFloat16>"


@pytest.mark.parametrize("format", [Float32(4), BFloat16(4), ReleasedRow(4, 2), ReleasedKey(4)], ids=lambda f: type(f).__name__)
def test_what_an_engine_says_of_its_rows(format, rng):
    """empty, copy and the ways to and from the host keep codes as they are; one float32 piece is handed out as it lies there."""
    codes = format.empty(5)
    assert codes.shape == (5, format.columns) and codes.dtype == format.dtype and format.on_host
    codes[:] = format.encode(rng.standard_normal((5, 4), np.float32))
    twin, kept = format.copy(codes), codes.copy()
    np.testing.assert_array_equal(format.from_host(format.to_host(codes)).view(np.uint8), kept.view(np.uint8))
    codes[2] = 0
    np.testing.assert_array_equal(twin.view(np.uint8), kept.view(np.uint8))
    for pieces in ([twin], [twin[:2], twin[2:]]):
        np.testing.assert_array_equal(np.asarray(format.joined(pieces)), format.decode(twin))
    assert (format.joined([twin]) is twin) == (type(format) is Float32)
    large = format.empty(1 << 19)                       # from the system, page by page
    large[-1] = large[0] = twin[0]
    np.testing.assert_array_equal(large[-1].view(np.uint8), twin[0].view(np.uint8))
