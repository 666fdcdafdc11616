"""Manifold-constrained hyper-connections."""

import numpy as np
import pytest
from ops import naive
from tolerances import OP

from v4mini.ops.mix import hc_head, hc_post, hc_pre, sinkhorn

EPS = 1e-6


def case(rng, T, M=4, D=5, size=1.0):
    n = (2 + M) * M
    return ((rng.standard_normal((T, M, D)) * size).astype(np.float32), rng.standard_normal((n, M * D), dtype=np.float32),
            rng.standard_normal(n, dtype=np.float32), rng.standard_normal(3, dtype=np.float32))


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("T, M, iters", [(0, 4, 20), (1, 1, 20), (3, 2, 1), (5, 4, 20), (2, 7, 3)])
def test_reading_the_streams(rng, T, M, iters, size):
    streams, fn, base, scale = case(rng, T, M, size=size)
    u, post, comb = hc_pre(streams, fn, base, scale, iters, EPS, 1e-6)
    wanted = [naive.hc_pre(x, fn, base, scale, iters, EPS, 1e-6) for x in streams]
    for got, place, shape, by in ((u, 0, (T, 5), size), (post, 1, (T, M), 1), (comb, 2, (T, M, M), 1)):
        np.testing.assert_allclose(got, np.array([w[place] for w in wanted]).reshape(shape), rtol=1e-4, atol=OP["atol"] * by)


def test_writing_the_streams_sums_over_the_first_index_of_comb(rng):
    streams, y = rng.standard_normal((3, 4, 5), dtype=np.float32), rng.standard_normal((3, 5), dtype=np.float32)
    post, comb = rng.random((3, 4), dtype=np.float32), rng.random((3, 4, 4), dtype=np.float32)
    wanted = [naive.hc_post(y[t], streams[t], post[t], comb[t]) for t in range(3)]
    np.testing.assert_allclose(hc_post(y, streams, post, comb), wanted, **OP)


def test_comb_jk_carries_stream_j_into_stream_k():
    streams = np.array([[[1.0], [10.0]]], np.float32)
    comb = np.array([[[0.0, 1.0], [0.0, 0.0]]], np.float32)             # only comb_01
    assert hc_post(np.zeros((1, 1), np.float32), streams, np.zeros((1, 2), np.float32), comb).tolist() == [[[0.0], [1.0]]]


def test_the_head_weighs_all_streams_into_one(rng):
    streams = rng.standard_normal((4, 3, 5), dtype=np.float32)
    fn, base, scale = rng.standard_normal((3, 15), dtype=np.float32), rng.standard_normal(3, dtype=np.float32), np.float32([0.7])
    wanted = [naive.hc_head(x, fn, base, scale, EPS, 1e-6) for x in streams]
    np.testing.assert_allclose(hc_head(streams, fn, base, scale, EPS, 1e-6), wanted, **OP)


@pytest.mark.parametrize("iters", [1, 2, 20])
@pytest.mark.parametrize("M", [1, 2, 4, 6])
@pytest.mark.parametrize("size", [0.0, 1.0, 5.0])
def test_sinkhorn_is_the_formula_of_the_reference(rng, M, iters, size):
    logits = rng.standard_normal((3, M, M), dtype=np.float32) * np.float32(size)
    wanted = [naive.sinkhorn(x, iters, EPS) for x in logits]
    np.testing.assert_allclose(sinkhorn(logits, iters, EPS), wanted, rtol=1e-4, atol=OP["atol"])


@pytest.mark.parametrize("iters", [2, 20])
def test_sinkhorn_ends_on_columns_so_they_sum_to_one(rng, iters):
    comb = sinkhorn(rng.standard_normal((50, 4, 4), dtype=np.float32) * 3, iters, EPS)
    np.testing.assert_allclose(comb.sum(axis=1), 1, atol=1e-5)
    assert np.all(comb > 0)


def test_rows_come_nearer_to_one_with_every_round(rng):
    logits = rng.standard_normal((50, 4, 4), dtype=np.float32)
    off = [float(np.abs(sinkhorn(logits, iters, EPS).sum(axis=2) - 1).max()) for iters in (1, 2, 5, 20)]
    assert off[0] > off[1] > off[2] > off[3] and off[3] < 1e-4
    slow = np.abs(sinkhorn(logits * 5, 20, EPS).sum(axis=2) - 1).max()
    assert 1e-3 < slow < 0.3                            # logits of scale 5: only as good as convergence


def test_huge_logits_overflow_nowhere(rng):
    comb = sinkhorn(np.float32([[[1e4, -1e4], [-1e4, 1e4]]]), 20, EPS)
    np.testing.assert_allclose(comb, [[[1, 0], [0, 1]]], atol=1e-4)
