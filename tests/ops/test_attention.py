"""One softmax over a window, entries and a sink."""

import numpy as np
import pytest
from ops import naive
from tolerances import OP, SOFTMAX_LARGE

from v4mini.engines import choose_backend
from v4mini.ops import attention
from v4mini.ops.attention import window_starts

NOBODY = -1


def attend(q, rows, sink, window, *rest, **far):        # windows as in a sequence without gaps
    return attention.attend(q, rows, window_starts(len(q), len(rows), window), sink, window, *rest, **far)


def attention_weights(q, rows, sink, window, *rest, **far):
    return attention.attention_weights(q, rows, window_starts(len(q), len(rows), window), sink, window, *rest, **far)


def case(rng, T, P=0, N=0, K=0, H=3, hd=8, size=1.0):
    def draw(*shape):
        return (rng.standard_normal(shape) * size).astype(np.float32)
    picks = np.array([sorted(rng.choice(N, K, replace=False)) for _ in range(T)]).reshape(T, K) if K else None
    return draw(T, H, hd), draw(P + T, hd), rng.standard_normal(H).astype(np.float32), draw(N, hd), picks


@pytest.mark.parametrize("size, tolerance", [(1e-3, OP), (1.0, OP), (30.0, SOFTMAX_LARGE)])
@pytest.mark.parametrize("T, P, window", [
    (0, 0, 4), (1, 0, 4), (1, 3, 4), (5, 0, 1), (9, 2, 4), (9, 3, 4), (7, 0, 128), (70, 5, 16), (130, 0, 16), (65, 15, 16)])
def test_the_window_ends_at_the_token_itself(rng, T, P, window, size, tolerance):
    q, rows, sink, _, _ = case(rng, T, P, size=size)
    np.testing.assert_allclose(attend(q, rows, sink, window, 0.3), naive.attend(q, rows, sink, window, 0.3), **tolerance)


@pytest.mark.parametrize("T, N, K", [(1, 1, 1), (5, 9, 4), (67, 20, 20), (3, 7, 1)])
def test_picked_entries_join_the_same_softmax(rng, T, N, K):
    q, rows, sink, entries, picks = case(rng, T, P=2, N=N, K=K)
    got = attend(q, rows, sink, 3, 0.3, entries, picks=picks)
    np.testing.assert_allclose(got, naive.attend(q, rows, sink, 3, 0.3, entries, picks), **OP)


def test_a_pick_of_minus_one_is_nobody(rng):
    q, rows, sink, entries, picks = case(rng, T=6, N=9, K=4)
    picks[0], picks[1, 1:], picks[5, 3] = NOBODY, NOBODY, NOBODY
    wanted = naive.attend(q, rows, sink, 3, 0.3, entries, [[e for e in row if e != NOBODY] for row in picks])
    np.testing.assert_allclose(attend(q, rows, sink, 3, 0.3, entries, picks=picks), wanted, **OP)
    on_picks = attention_weights(q, rows, sink, 3, 0.3, entries, picks=picks)[1]
    assert not on_picks[0].any() and not on_picks[1, :, 1:].any()


@pytest.mark.parametrize("T, N", [(1, 0), (5, 0), (5, 3), (66, 11)])
def test_visible_entries_are_the_first_so_many(rng, T, N):
    q, rows, sink, entries, _ = case(rng, T, N=N)
    visible = np.sort(rng.integers(0, N + 1, T))
    wanted = naive.attend(q, rows, sink, 4, 0.3, entries, [range(n) for n in visible])
    np.testing.assert_allclose(attend(q, rows, sink, 4, 0.3, entries, visible=visible), wanted, **OP)


def test_no_entries_yet_is_the_window_alone(rng):
    q, rows, sink, _, _ = case(rng, T=5)
    none = np.empty((0, 8), np.float32)
    alone = attend(q, rows, sink, 4, 0.3)
    np.testing.assert_allclose(attend(q, rows, sink, 4, 0.3, none, picks=np.empty((5, 0), np.int64)), alone, **OP)
    np.testing.assert_allclose(attend(q, rows, sink, 4, 0.3, none, visible=np.zeros(5, np.int64)), alone, **OP)


def test_who_may_read_whom_in_a_window_of_3(rng):
    q, rows, sink, _, _ = case(rng, T=6)
    near = attention_weights(q, rows, sink, 3, 0.3)[0][:, 0] > 0        # [T, W], slot j is W - 1 - j tokens ago
    may_read = np.zeros((6, 6), int)
    for t, j in np.argwhere(near):
        may_read[t, t - (2 - j)] = 1
    assert may_read.tolist() == [[1, 0, 0, 0, 0, 0],
                                 [1, 1, 0, 0, 0, 0],
                                 [1, 1, 1, 0, 0, 0],
                                 [0, 1, 1, 1, 0, 0],
                                 [0, 0, 1, 1, 1, 0],
                                 [0, 0, 0, 1, 1, 1]]


def test_weights_and_the_sinks_share_sum_to_one(rng):
    q, rows, sink, entries, picks = case(rng, T=9, P=3, N=7, K=3, size=3.0)
    near, far, nothing = attention_weights(q, rows, sink, 5, 0.3, entries, picks=picks)
    np.testing.assert_allclose(near.sum(2) + far.sum(2) + nothing, 1, **OP)
    assert near.shape == (9, 3, 5) and far.shape == (9, 3, 3) and nothing.shape == (9, 3)


def test_the_sink_takes_weight_and_gives_nothing(rng):
    q, rows, sink, _, _ = case(rng, T=4)
    near, _, nothing = attention_weights(q, rows, sink, 4, 0.3)
    without = attend(q, rows, np.full(3, -1e30, np.float32), 4, 0.3)
    np.testing.assert_allclose(attend(q, rows, sink, 4, 0.3), without * (1 - nothing[..., None]), **OP)
    assert np.all(nothing > 0.01)


@pytest.mark.parametrize("sink", [-1e4, -100.0, 100.0, 1e4])
def test_a_sink_of_any_size_leaves_finite_numbers(rng, sink):
    q, rows, _, entries, picks = case(rng, T=4, N=5, K=2)
    sinks = np.full(3, sink, np.float32)
    np.testing.assert_allclose(attend(q, rows, sinks, 4, 0.3, entries, picks=picks),
                               naive.attend(q, rows, sinks, 4, 0.3, entries, picks), **OP)
    near, far, nothing = attention_weights(q, rows, sinks, 4, 0.3, entries, picks=picks)
    np.testing.assert_allclose(near.sum(2) + far.sum(2) + nothing, 1, **OP)


def test_logits_of_thousands_overflow_nowhere(rng):
    q, rows, sink, _, _ = case(rng, T=5, size=300.0)
    np.testing.assert_allclose(attend(q, rows, sink, 4, 0.3), naive.attend(q, rows, sink, 4, 0.3), **SOFTMAX_LARGE)


def test_how_many_tokens_go_at_once_changes_nothing(rng, monkeypatch):
    q, rows, sink, entries, picks = case(rng, T=23, P=9, N=6, K=2)
    visible = np.sort(rng.integers(0, 7, 23))
    whole = [attend(q, rows, sink, 5, 0.3, entries, picks=picks), attend(q, rows, sink, 5, 0.3, entries, visible=visible)]
    monkeypatch.setattr(attention, "TOKENS_AT_ONCE", 4)
    np.testing.assert_allclose(attend(q, rows, sink, 5, 0.3, entries, picks=picks), whole[0], **OP)
    np.testing.assert_allclose(attend(q, rows, sink, 5, 0.3, entries, visible=visible), whole[1], **OP)


@pytest.mark.parametrize("T, P, window", [(1, 9, 6), (7, 0, 6), (70, 11, 16), (5, 3, 1)])
def test_a_window_may_begin_at_any_row(rng, T, P, window):
    """Training positions jump, and a fixed buffer is not full at first: rows before `first` are as if they were not there."""
    q, rows, sink, _, _ = case(rng, T, P)
    own = P + np.arange(T)
    first = own - rng.integers(0, window, T)
    first = np.maximum(first, 0)
    got = attention.attend(q, rows, first, sink, window, 0.3)
    for t in range(T):
        near = rows[first[t]: own[t] + 1]
        wanted = naive.attend(q[t: t + 1], near, sink, len(near), 0.3)
        np.testing.assert_allclose(got[t: t + 1], wanted, **OP)


def test_a_window_is_never_longer_than_it_says(rng):
    q, rows, sink, _, _ = case(rng, 9, 4)
    np.testing.assert_array_equal(attention.attend(q, rows, np.zeros(9, int), sink, 5, 0.3), attend(q, rows, sink, 5, 0.3))


@pytest.mark.parametrize("T, S, window", [(0, 0, 4), (1, 1, 4), (5, 5, 2), (3, 9, 4), (6, 6, 100)])
def test_where_windows_begin_by_counting(T, S, window):
    wanted = [min(s for s in range(S) if 0 <= own - s < window) for own in range(S - T, S)]
    assert window_starts(T, S, window).tolist() == wanted


def test_a_window_wider_than_the_text_costs_no_more_than_the_text(rng, monkeypatch):
    q, rows, sink = rng.standard_normal((5, 2, 8)), rng.standard_normal((9, 8)), rng.standard_normal(2)
    monkeypatch.setattr(attention, "WIDEST_PADDED", 4)
    wide = attend(q, rows, sink, 2**40, 0.3)
    monkeypatch.undo()
    np.testing.assert_allclose(wide, attend(q, rows, sink, 9, 0.3), rtol=1e-12)


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["window", "first", "picks", "visible"])
def test_what_may_not_be_read_does_not_reach_a_token_whatever_it_is(rng, kind, value, engine):
    T, W, ops = 70, 4, choose_backend(engine)
    q, rows, sink, entries, _ = case(rng, T, N=20)
    first, far = window_starts(T, len(rows), W), {}
    reads = np.zeros((T, len(rows) if kind in ("window", "first") else 20), bool)       # which token reads which row
    own = len(rows) - T + np.arange(T)
    if kind == "first":
        first = np.maximum(first, own - np.arange(T) % W)
    if kind in ("window", "first"):
        reads[:] = (np.arange(len(rows)) >= first[:, None]) & (np.arange(len(rows)) <= own[:, None])
    elif kind == "picks":
        picks = rng.integers(-1, 20, (T, 3))
        reads[:] = [np.isin(np.arange(20), row) for row in picks]
        far = {"entries": entries, "picks": picks}
    else:
        visible = np.arange(T) * 20 // T
        reads[:] = np.arange(20) < visible[:, None]
        far = {"entries": entries, "visible": visible}
    for place in range(0, reads.shape[1], 3):
        changed = (rows if kind in ("window", "first") else entries).copy()
        changed[place] = value
        far_of = far | ({"entries": changed} if far else {})
        with np.errstate(invalid="ignore"):
            out = ops.attend(q, rows if far else changed, first, sink, W, 0.3, **far_of)
        seen = ~np.isfinite(out).reshape(T, -1).all(axis=1)
        if np.isnan(value):
            np.testing.assert_array_equal(seen, reads[:, place])
        assert not (seen & ~reads[:, place]).any()
