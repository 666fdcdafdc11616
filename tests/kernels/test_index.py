"""The indexer picks the entries that ops.index picks: the same set, in the same order."""

import numpy as np
import pytest

from v4mini.kernels import index
from v4mini.numerics.rows import BFloat16, Rows
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
