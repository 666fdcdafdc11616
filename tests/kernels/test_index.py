"""The indexer picks the entries that ops.index picks: the same set, in the same order."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import config

from v4mini.kernels import bounds, index
from v4mini.kernels.keys import Keys
from v4mini.numerics.rows import BFloat16, ReleasedKey, Rows
from v4mini.ops import index as numpy_index
from v4mini.shapes import Refused


def whole(rng, *shape):                                 # small integers: products are exact, so every order of adding agrees
    return rng.integers(-2, 3, shape).astype(np.float32)


SIZES = [(0, 2, 4, 5, 3), (1, 3, 5, 1, 4), (1, 4, 8, 700, 9), (5, 1, 3, 130, 200), (21, 5, 16, 113, 7), (40, 2, 4, 33, 1),
         (3, 2, 4, 0, 2)]


@pytest.mark.parametrize("T, Hi, di, N, k", SIZES)
@pytest.mark.parametrize("draw", ["exact, with many ties", "normal"])
def test_picks_what_numpy_picks(rng, normal, T, Hi, di, N, k, draw, either_way):
    numbers = (lambda *shape: whole(rng, *shape)) if draw.startswith("exact") else normal
    args = numbers(T, Hi, di), numbers(N, di), numbers(T, Hi), rng.integers(0, N + 1, T), k
    np.testing.assert_array_equal(index.index_topk(*args), numpy_index.index_topk(*args))


def test_only_zeros_pick_the_earliest(normal):
    keys = normal(300, 4)
    got = index.index_topk(-np.abs(normal(2, 3, 4)), np.abs(keys), normal(2, 3), np.array([300, 2]), 5)
    assert got.tolist() == [[0, 1, 2, 3, 4], [0, 1, -1, -1, -1]]


def test_scores_that_rise_and_scores_that_fall():
    keys = np.arange(1, 401, dtype=np.float32)[:, None]
    one, all_of_them = np.ones((1, 1, 1), np.float32), np.array([400])
    assert index.index_topk(one, keys, one[0], all_of_them, 3).tolist() == [[397, 398, 399]]
    assert index.index_topk(one, keys, -one[0], all_of_them, 3).tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("visible", [3, 12])
def test_scores_that_are_no_numbers_rank_as_in_numpy(rng, bad, visible):
    q, keys, weights = whole(rng, 2, 2, 4), whole(rng, 12, 4), whole(rng, 2, 2)
    keys[[1, 7]], q[0, 0, 0], weights[:, 0] = bad, 1, [1, -1]
    for k in (2, 5, 11, 12):
        with np.errstate(invalid="ignore"):
            wanted = numpy_index.index_topk(q, keys, weights, np.array([visible, 12]), k)
            got = index.index_topk(q, keys, weights, np.array([visible, 12]), k)
        np.testing.assert_array_equal(got, wanted)


def test_keys_out_of_a_store_that_decodes(rng, monkeypatch):
    monkeypatch.setattr(index, "AT_ONCE", 50)
    q, keys, weights, visible = whole(rng, 4, 2, 8), whole(rng, 130, 8), whole(rng, 4, 2), np.array([130, 0, 49, 101])
    codes = BFloat16(8).encode(keys)
    stored = Rows(BFloat16(8), [codes[:60], codes[60:]])
    wanted = numpy_index.index_topk(q, keys, weights, visible, 9)
    np.testing.assert_array_equal(index.index_topk(q, stored, weights, visible, 9), wanted)


@pytest.mark.parametrize("T", [1, 40])
def test_one_thread_and_two_give_the_same_bits(normal, same_bits, T):
    q, keys, weights = normal(T, 3, 8), normal(500, 8), normal(T, 3)
    same_bits(lambda: index.index_topk(q, keys, weights, np.linspace(1, 500, T).astype(int), 20))


def test_refuses_keys_of_another_width(normal):
    with pytest.raises(Refused, match=r"keys: expected \[9, 8\], got \[9, 7\]"):
        index.index_topk(normal(1, 2, 8), normal(9, 7), normal(1, 2), np.array([9]), 3)


# ---- eight-bit codes ----

@pytest.fixture
def coded(monkeypatch):                                 # codes from the first key on, and judged soon
    monkeypatch.setattr(index, "CODED_FROM", 1)
    monkeypatch.setattr(index, "ENCODED_FROM", 1)


def hard(rng, kind, shape):                             # numbers whose sums are exact, so every order of adding agrees
    if kind == "all equal":
        return np.ones(shape, np.float32)
    if kind == "all zero":
        return np.zeros(shape, np.float32)
    if kind == "huge ranges":
        return whole(rng, *shape) * np.float32(2) ** rng.choice([-40, -3, 0, 12], (shape[0], 1)).astype(np.float32)
    return whole(rng, *shape)


@pytest.mark.parametrize("keys", ["all equal", "all zero", "huge ranges", "whole"])
@pytest.mark.parametrize("weights", ["any", "negative", "zero"])
def test_codes_change_no_pick_and_no_tie(rng, coded, keys, weights):
    T, Hi, di, N = 18, 2, 9, 400
    q, stored = whole(rng, T, Hi, di), hard(rng, keys, (N, di))
    w = {"any": whole(rng, T, Hi), "negative": -np.abs(whole(rng, T, Hi)), "zero": np.zeros((T, Hi), np.float32)}[weights]
    visible = rng.integers(0, N + 1, T)
    for k in (1, 7, 64):
        wanted = numpy_index.index_topk(q, stored, w, visible, k)
        np.testing.assert_array_equal(index.index_topk(q, stored, w, visible, k), wanted)
        np.testing.assert_array_equal(index.index_topk(q[:3], kept(stored), w[:3], visible[:3], k), wanted[:3])


def kept(rows):                                         # as a cache of this engine keeps them
    keys = Keys(rows.shape[1]).empty(len(rows))
    keys[:] = rows
    return keys


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 4), st.integers(1, 20), st.integers(1, 500),
       st.sampled_from([1, 3, 40]), st.sampled_from([1e-30, 1e-3, 1, 1e15, np.nan, np.inf]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_codes_and_no_codes_pick_alike(coded, monkeypatch, seed, T, Hi, di, N, k, odd):
    rng = np.random.default_rng(seed)
    q, keys, weights = (rng.standard_normal(shape).astype(np.float32) for shape in ((T, Hi, di), (N, di), (T, Hi)))
    if seed % 2:
        keys[rng.integers(N)] = np.float32(odd)
    visible = rng.integers(0, N + 1, T)
    monkeypatch.setattr(index, "CODED_FROM", N + 1)
    with np.errstate(all="ignore"):
        plain = index.index_topk(q, keys, weights, visible, k)
        monkeypatch.setattr(index, "CODED_FROM", 1)
        np.testing.assert_array_equal(index.index_topk(q, kept(keys), weights, visible, k), plain)


@pytest.mark.skipif(config.DISABLE_JIT, reason="plain Python is slow")
def test_codes_rule_out_nearly_all(normal):
    T, N, k = 3, 6000, 8
    q, keys, weights, visible = normal(T, 4, 32), normal(N, 32), normal(T, 4), np.full(T, N)
    picks, looks = index.picks_and_looks(q, kept(keys), weights, visible, k)
    np.testing.assert_array_equal(picks, numpy_index.index_topk(q, keys, weights, visible, k))
    assert not bounds.is_there() or (looks < N / 8).all()
    assert (index.picks_and_looks(q, keys, weights, visible, k)[1] == N).all()          # three tokens do not pay for codes


@pytest.mark.skipif(config.DISABLE_JIT, reason="plain Python is slow")
def test_codes_that_rule_out_little_are_given_up(normal):
    T, N, alike, k = 2, 9000, 6000, 4
    q, weights, visible = normal(T, 64, 8), np.abs(normal(T, 64)), np.full(T, N)
    keys = normal(1, 8) + normal(N, 8) * np.float32(1e-3)
    keys[alike:] = 0
    picks, looks = index.picks_and_looks(q, kept(keys), weights, visible, k)
    np.testing.assert_array_equal(picks, index.index_topk(q, keys, weights, visible, k))
    assert (looks > alike).all()                        # else the last 3,000 would have been ruled out


@pytest.mark.skipif(config.DISABLE_JIT, reason="plain Python is slow")
def test_fp4_numbers_are_codes_themselves(normal):
    """At the release's 64 heads of 128, where other numbers' bounds are too wide to pay."""
    T, N, k = 2, 6000, 64
    format = ReleasedKey(128)
    q, keys = (format.decode(format.encode(normal(n, 128))) for n in (T * 64, N))
    q, weights, visible = q.reshape(T, 64, 128), np.abs(normal(T, 64)), np.full(T, N)
    picks, looks = index.picks_and_looks(q, kept(keys), weights, visible, k)
    np.testing.assert_array_equal(picks, index.index_topk(q, keys, weights, visible, k))
    assert not bounds.is_there() or (looks < N / 4).all()
