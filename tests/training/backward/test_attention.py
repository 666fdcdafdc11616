"""Attention over window rows, entries and a sink: gradients against finite differences."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import expect

from v4mini.shapes import Refused
from v4mini.training.backward import attention
from v4mini.training.backward.attention import readable
from v4mini.training.gradients import numba_gradients

SCALE, HEADS, WIDTH = 0.6, 2, 3


def forward(positions, window, picks=None, visible=None):
    """The naive twin, a token's window being the rows at the last `window` positions up to its own."""
    def attend(q, rows, sink, entries=None):
        out = np.zeros(q.shape)
        for t in range(len(q)):
            keys = [rows[s] for s in range(t + 1) if positions[s] > positions[t] - window]
            if entries is not None:
                allowed = range(visible[t]) if picks is None else [e for e in picks[t] if e >= 0]
                keys += [entries[e] for e in allowed]
            for h in range(q.shape[1]):
                out[t, h], _ = naive.attend_one(q[t, h], keys, sink[h], SCALE)
        return out
    return attend


def check(engine, draw, positions, window, N=None, picks=None, visible=None, sink=None):
    """-> the gradients, once they and the forward have been found right."""
    T = len(positions)
    q, rows, g = draw(T, HEADS, WIDTH), draw(T, WIDTH), draw(T, HEADS, WIDTH)
    sink = draw(HEADS) if sink is None else np.full(HEADS, sink)
    arrays = (q, rows, sink) if N is None else (q, rows, sink, draw(N, WIDTH))
    first = np.searchsorted(positions, positions - window, side="right")
    given, (g_here,) = engine.given(*arrays), engine.given(g)
    entries = given[3] if N is not None else None
    out, log_total, _ = engine.gradients.attend_keeping(*given[:3], first, SCALE, entries, picks, visible)
    expect(out, forward(positions, window, picks, visible)(*arrays), engine.share, "the answer")
    found = engine.gradients.attend(g_here, *given[:3], first, SCALE, entries, picks, visible, out, log_total)
    engine.agrees(found[: len(arrays)], forward(positions, window, picks, visible), arrays, g,
                  ["g_q", "g_rows", "g_sink", "g_entries"][: len(arrays)])
    return found


@pytest.mark.parametrize("T, window", [(1, 4), (5, 1), (6, 3), (5, 100)])
def test_the_window_alone(engine, draw, T, window):
    assert check(engine, draw, np.arange(T), window)[3] is None


@pytest.mark.parametrize("T", [8, 34])
def test_visible_entries(engine, draw, T):
    """34 tokens are more than share a product."""
    check(engine, draw, np.arange(T), 4, N=T // 4, visible=(np.arange(T) + 1) // 4)


def test_picked_entries(engine, draw):
    """Masked picks are -1, some tokens pick nothing, and entry 1 is picked by nobody: it learns exactly nothing."""
    picks = np.array([[-1, -1], [-1, -1], [0, -1], [0, 2], [2, 3], [0, 3]])
    g_entries = check(engine, draw, np.arange(6), 3, N=4, picks=picks)[3]
    assert not g_entries[1].any() and g_entries[[0, 2, 3]].all()


def test_entries_that_nobody_sees(engine, draw):
    for how in ({"visible": np.zeros(4, int)}, {"picks": np.full((4, 2), -1)}):
        assert not check(engine, draw, np.arange(4), 3, N=3, **how)[3].any()
    assert check(engine, draw, np.arange(4), 3, N=0, visible=np.zeros(4, int))[3].shape == (0, WIDTH)


def test_the_window_goes_by_position(engine, draw):
    """After a jump the rows before it are out of sight, all or some of them."""
    positions = np.array([0, 1, 2, 3, 128, 129, 130, 132, 133])
    g_rows = check(engine, draw, positions, 4, N=2, visible=np.array([0, 0, 0, 1, 1, 1, 1, 2, 2]))[1]
    assert g_rows.all()


@pytest.mark.parametrize("sink", [-12.0, 8.0])
def test_a_sink_that_takes_nearly_nothing_or_nearly_everything(engine, draw, sink):
    check(engine, draw, np.arange(4), 3, sink=sink)


@pytest.mark.parametrize("size", [110.0, 1e4])
def test_a_sink_far_from_all_logits_overflows_nothing(engine, draw, size):
    """Below them it is as if it were not there; above them nothing else learns."""
    first, arrays = np.maximum(np.arange(4) - 2, 0), engine.given(draw(4, HEADS, WIDTH), draw(4, HEADS, WIDTH), draw(4, WIDTH))

    def run(sink):
        g, q, rows = arrays
        sinks = np.full(HEADS, sink, engine.dtype)
        out, log_total, _ = engine.gradients.attend_keeping(q, rows, sinks, first, SCALE)
        if sink > 0:                                    # the denominator is the sink's own power
            np.testing.assert_allclose(log_total, sink, rtol=1e-6)
        return engine.gradients.attend(g, q, rows, sinks, first, SCALE, None, None, None, out, log_total)[:3]
    for low, none, high in zip(run(-size), run(-60), run(size)):
        np.testing.assert_allclose(low, none, rtol=1e-6, atol=1e-20)
        np.testing.assert_allclose(high, 0, atol=1e-30)


def test_what_is_watched_is_the_weight_on_entries_over_all_heads(engine, draw):
    q, rows, sink, entries = draw(5, HEADS, WIDTH), draw(5, WIDTH), draw(HEADS), draw(3, WIDTH)
    visible = np.array([0, 0, 1, 2, 3])
    given = engine.given(q, rows, sink)
    far, = engine.given(entries)
    first = np.maximum(np.arange(5) - 1, 0)
    found = engine.gradients.attend_keeping(*given, first, SCALE, far, None, visible, with_weights=True)[2]
    wanted = np.zeros((5, 3))
    for t in range(5):
        keys = [*rows[max(0, t - 1): t + 1], *entries[: visible[t]]]
        for h in range(HEADS):
            weights = naive.attend_one(q[t, h], keys, sink[h], SCALE)[1][:-1]           # the sink's comes last
            wanted[t, : visible[t]] += weights[len(weights) - visible[t]:]
    expect(found, wanted, engine.share)


@pytest.mark.parametrize("wrong", [{"first": np.array([0, 0, 3])}, {"first": np.array([-1, 0, 0])},
                                   {"picks": np.array([[0], [1], [2]])}, {"picks": np.array([[0], [-2], [1]])}])
def test_loops_refuse_what_would_be_read_past_the_end(draw, wrong):
    q, rows, sink, entries = (np.float32(draw(*shape)) for shape in ((3, HEADS, WIDTH), (3, WIDTH), (HEADS,), (2, WIDTH)))
    given = {"first": np.array([0, 0, 0]), "picks": np.zeros((3, 1), int), **wrong}
    with pytest.raises(Refused, match=f"{next(iter(wrong))}: expected"):
        numba_gradients().attend_keeping(q, rows, sink, given["first"], SCALE, entries, given["picks"])


def test_no_tokens(engine):
    none, given = np.empty(0, np.int64), engine.given(np.empty((0, HEADS, WIDTH)), np.empty((0, WIDTH)), np.ones(HEADS))
    out, log_total, _ = engine.gradients.attend_keeping(*given, none, SCALE)
    found = engine.gradients.attend(given[0], *given, none, SCALE, None, None, None, out, log_total)
    assert [part.shape for part in found[:3]] == [(0, HEADS, WIDTH), (0, WIDTH), (HEADS,)] and not found[2].any()


def test_readable_is_the_same_however_it_was_said():
    by_count = readable(4, None, np.array([0, 2, 4]))
    by_picks = readable(4, np.array([[-1, -1, -1, -1], [0, 1, -1, -1], [0, 1, 2, 3]]), None)
    np.testing.assert_array_equal(by_count, by_picks)
    np.testing.assert_array_equal(by_count, [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])


@pytest.mark.parametrize("T", [150, 600])
def test_loops_say_the_same_of_many_tokens(twins, draw, rng, T):
    """600 are more than loops add up at once."""
    H, hd, N = 3, 16, T // 4
    q, rows, sink, entries, g = draw(T, H, hd), draw(T, hd), draw(H), draw(N, hd), draw(T, H, hd)
    first = np.maximum(np.arange(T) - 15, 0)
    picks = np.array([np.sort(np.r_[rng.permutation(N)[:5], -1, -1]) for _ in range(T)])
    for how in ((None, (np.arange(T) + 1) // 4), (picks, None)):
        twins("attend_keeping", q, rows, sink, first, SCALE, entries, *how, with_weights=True)
        out, log_total, _ = attention.attend_keeping(q, rows, sink, first, SCALE, entries, *how)
        twins("attend", g, q, rows, sink, first, SCALE, entries, *how, out, log_total)
