"""Pooling blocks into entries: gradients against finite differences."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import expect


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("n, ratio", [(1, 4), (3, 2), (4, 1), (2, 5)])
def test_every_slot_of_every_channel(engine, draw, n, ratio, overlap):
    C = 6 if overlap else 3
    kv, score, g = draw(n * ratio, C), draw(n * ratio, C), draw(n, 3)
    found = engine.gradients.compress(*engine.given(g, kv, score), ratio, overlap)
    engine.agrees(found, lambda kv, score: naive.compress(kv, score, ratio, overlap), (kv, score), g, ["g_kv", "g_score"])


def test_the_last_blocks_first_half_and_nothing_before_the_first_take_part_in_nothing(engine, draw):
    kv, score, g = draw(8, 6), draw(8, 6), draw(2, 3)
    for found in engine.gradients.compress(*engine.given(g, kv, score), 4, overlap=True):
        assert not found[4:, :3].any() and found[:4, :3].all() and found[:, 3:].all()


def test_equal_scores_share_evenly(engine, draw):
    kv, g = draw(4, 2), draw(1, 2)
    g_kv, g_score = engine.gradients.compress(*engine.given(g, kv, np.zeros((4, 2))), 4)
    expect(g_kv, np.tile(g / 4, (4, 1)), engine.share)
    expect(g_score, (kv - kv.mean(axis=0)) * g / 4, engine.share)


@pytest.mark.parametrize("size", [30.0, 1e4])
def test_where_one_slot_takes_all_scores_learn_nothing_and_nothing_overflows(engine, draw, size):
    kv, score, g = draw(4, 3), np.tile([[0.0], [size], [-size], [0.0]], (1, 3)), draw(1, 3)
    g_kv, g_score = engine.gradients.compress(*engine.given(g, kv, score), 4)
    np.testing.assert_allclose(g_kv, [[0] * 3, g[0], [0] * 3, [0] * 3], atol=1e-6)
    np.testing.assert_allclose(g_score, 0, atol=1e-6)


def test_no_entries_leave_zeros(engine):
    for found in engine.gradients.compress(*engine.given(np.empty((0, 3)), np.empty((0, 3)), np.empty((0, 3))), 4):
        assert found.shape == (0, 3)


@pytest.mark.parametrize("overlap", [False, True])
def test_loops_say_the_same_of_many_entries(twins, draw, overlap):
    twins("compress", draw(40, 24), draw(160, 48 if overlap else 24), draw(160, 48 if overlap else 24), 4, overlap)
