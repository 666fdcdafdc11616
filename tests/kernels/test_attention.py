"""Attention agrees with ops.attention over every mix of window, picks and visible entries."""

import numpy as np
import pytest
from tolerances import OP, SOFTMAX_LARGE

from v4mini.kernels import attention
from v4mini.numerics.rows import BFloat16, Rows
from v4mini.ops import attention as numpy_attention
from v4mini.ops.attention import window_starts
from v4mini.shapes import Refused


def attend(q, rows, sink, window, *rest, by=attention.attend, **far):      # windows as in a sequence without gaps
    return by(q, rows, window_starts(len(q), len(rows), window), sink, window, *rest, **far)


def numpy_attend(*args, **far):
    return attend(*args, by=numpy_attention.attend, **far)


def inputs(normal, rng, T, H=3, hd=12, P=5, N=9, K=4):
    far = {"window": {}, "visible": {"entries": normal(N, hd), "visible": rng.integers(0, N + 1, T)},
           "picks": {"entries": normal(N, hd), "picks": rng.integers(-1, N, (T, K))}}
    return (normal(T, H, hd), normal(P + T, hd), normal(H)), far


@pytest.mark.parametrize("kind", ["window", "visible", "picks"])
@pytest.mark.parametrize("T, H, hd, P, N, K", [(0, 2, 8, 0, 3, 2), (1, 1, 5, 0, 1, 1), (1, 6, 24, 40, 200, 7),
                                               (7, 3, 12, 2, 1, 3), (33, 5, 16, 0, 17, 20), (20, 4, 70, 3, 0, 0)])
@pytest.mark.parametrize("window", [1, 6, 300])
def test_agrees_with_numpy(normal, rng, kind, T, H, hd, P, N, K, window, either_way):
    if kind == "picks" and N == 0:
        K = 0
    args, far = inputs(normal, rng, T, H, hd, P, N, K)
    np.testing.assert_allclose(attend(*args, window, hd**-0.5, **far[kind]),
                               numpy_attend(*args, window, hd**-0.5, **far[kind]), **OP)


def test_more_keys_than_one_tile(normal, rng, monkeypatch):
    args, _ = inputs(normal, rng, 5, P=170)
    far = {"entries": normal(2 * attention.TILE + 3, 12), "visible": np.array([0, 1, 160, 161, 323])}
    np.testing.assert_allclose(attend(*args, 200, 0.3, **far), numpy_attend(*args, 200, 0.3, **far), **OP)


def test_picks_of_nothing_leave_the_window(normal, rng):
    args, far = inputs(normal, rng, 6)
    nothing = {"entries": far["picks"]["entries"], "picks": np.full((6, 4), -1)}
    np.testing.assert_array_equal(attend(*args, 4, 0.3, **nothing), attend(*args, 4, 0.3))


def test_the_same_entry_twice_counts_twice(normal, rng):
    args, far = inputs(normal, rng, 2)
    twice = {"entries": far["picks"]["entries"], "picks": np.array([[3, 3, -1], [0, 3, 0]])}
    np.testing.assert_allclose(attend(*args, 4, 0.3, **twice), numpy_attend(*args, 4, 0.3, **twice), **OP)


@pytest.mark.parametrize("size", [1e-20, 30.0])
def test_large_and_tiny_logits(normal, rng, size):
    (q, rows, sink), far = inputs(normal, rng, 9)
    args = q * np.float32(size), rows * np.float32(max(1, size)), sink
    np.testing.assert_allclose(attend(*args, 4, 1.0, **far["visible"]),
                               numpy_attend(*args, 4, 1.0, **far["visible"]), **SOFTMAX_LARGE)


@pytest.mark.parametrize("sink", [-np.inf, -1e4, 80.0, 1e4])
def test_a_sink_of_any_size(normal, rng, sink):
    (q, rows, _), far = inputs(normal, rng, 5)
    args = q, rows, np.full(3, sink, np.float32)
    got = attend(*args, 4, 0.3, **far["picks"])
    np.testing.assert_allclose(got, numpy_attend(*args, 4, 0.3, **far["picks"]), **OP)


def test_nan_stays_with_the_tokens_that_see_it(normal, rng):
    (q, rows, sink), _ = inputs(normal, rng, 6, P=0)
    rows[2, 1] = np.nan
    seen = np.isnan(attend(q, rows, sink, 3, 0.3)).any(axis=(1, 2))
    assert seen.tolist() == [False, False, True, True, True, False]


def test_entries_out_of_a_store_that_decodes(normal, rng):
    args, far = inputs(normal, rng, 5)
    for kind in ("picks", "visible"):
        codes = BFloat16(12).encode(far[kind]["entries"])
        stored, decoded = Rows(BFloat16(12), [codes[:4], codes[4:]]), codes.astype(np.float32)
        np.testing.assert_array_equal(attend(*args, 4, 0.3, **far[kind] | {"entries": stored}),
                                      attend(*args, 4, 0.3, **far[kind] | {"entries": decoded}))


@pytest.mark.parametrize("T", [1, 35])
@pytest.mark.parametrize("kind", ["window", "visible", "picks"])
def test_one_thread_and_two_give_the_same_bits(normal, rng, same_bits, T, kind):
    args, far = inputs(normal, rng, T, H=9, hd=20)
    same_bits(lambda: attend(*args, 8, 0.3, **far[kind]))


def test_refuses_what_does_not_fit(normal, rng):
    (q, rows, sink), far = inputs(normal, rng, 6)
    with pytest.raises(Refused, match=r"rows: expected \[S, 12\] with S at least 6, got \[5, 12\]"):
        attend(q, rows[:5], sink, 4, 0.3)
    with pytest.raises(Refused, match="picks: expected -1 to 8, got -1 to 9"):
        attend(q, rows, sink, 4, 0.3, normal(9, 12), np.tile([-1, 9], (6, 1)))
    with pytest.raises(Refused, match="entries: expected rows of 12 numbers"):
        attend(q, rows, sink, 4, 0.3, normal(9, 11), visible=np.ones(6, int))
    with pytest.raises(Refused, match="window: expected at least 1"):
        attend(q, rows, sink, 0, 0.3)
    with pytest.raises(Refused, match=r"first: expected \[6\], got \[5\]"):
        attention.attend(q, rows, np.zeros(5, int), sink, 4, 0.3)


@pytest.mark.parametrize("T, P", [(1, 0), (1, 40), (37, 5)])
def test_a_window_may_begin_at_any_row(normal, rng, T, P, either_way):
    (q, rows, sink), far = inputs(normal, rng, T, P=P)
    first = P + np.arange(T) - rng.integers(-1, 30, T)          # before the first row and after the token's own, too
    for kind in far:
        np.testing.assert_allclose(attention.attend(q, rows, first, sink, 20, 0.3, **far[kind]),
                                   numpy_attention.attend(q, rows, first, sink, 20, 0.3, **far[kind]), **OP)
