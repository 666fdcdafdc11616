"""Many tokens into one entry."""

import numpy as np
import pytest
from ops import naive
from tolerances import OP, OP_LARGE

from v4mini.ops import compress as formulas
from v4mini.ops.compress import pool, visible


def compress(kv, score, ratio, previous=None, overlap=False):
    return formulas.compress(kv, score, np.zeros((ratio, kv.shape[1]), np.float32), ratio, previous, overlap)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("size, tolerance", [(1.0, OP), (1000.0, OP_LARGE)])
@pytest.mark.parametrize("n, ratio", [(0, 4), (1, 4), (5, 4), (2, 128), (3, 1)])
def test_each_channel_takes_its_own_softmax_over_tokens(rng, n, ratio, overlap, size, tolerance):
    kv, score = (rng.standard_normal((n * ratio, 6), dtype=np.float32) * np.float32(size) for _ in range(2))
    wanted = naive.compress(kv, score, ratio, overlap)
    np.testing.assert_allclose(compress(kv, score, ratio, overlap=overlap), wanted, **tolerance)


def test_a_csa_entry_pools_old_columns_of_the_block_before_and_new_columns_of_its_own():
    kv = np.array([[10, 1], [20, 2], [30, 3], [40, 4]], np.float32)     # ratio 2, D = 1: columns "for the next" and "for mine"
    even = np.zeros_like(kv)
    entries = compress(kv, even, 2, overlap=True)
    assert entries.tolist() == [[1.5],                  # block -1 is absent: (1 + 2) / 2, not (0 + 0 + 1 + 2) / 4
                                [9.25]]                 # (10 + 20 + 3 + 4) / 4


def test_a_previous_block_continues_where_the_last_call_stopped(rng):
    kv, score = rng.standard_normal((20, 6), dtype=np.float32), rng.standard_normal((20, 6), dtype=np.float32)
    whole = compress(kv, score, 4, overlap=True)
    later = compress(kv[12:], score[12:], 4, previous=(kv[8:12], score[8:12]), overlap=True)
    np.testing.assert_allclose(later, whole[3:], **OP)
    np.testing.assert_allclose(later, naive.compress(kv[12:], score[12:], 4, True, (kv[8:12], score[8:12])), **OP)


@pytest.mark.parametrize("overlap", [False, True])
def test_ape_is_added_to_the_scores_of_every_block_the_previous_one_too(rng, overlap):
    kv, score, ape = (rng.standard_normal((rows, 6), dtype=np.float32) for rows in (12, 12, 4))
    before = tuple(rng.standard_normal((2, 4, 6), dtype=np.float32))
    wanted = compress(kv, score + np.tile(ape, (3, 1)), 4, (before[0], before[1] + ape), overlap)
    np.testing.assert_array_equal(formulas.compress(kv, score, ape, 4, before, overlap), wanted)
    assert np.abs(wanted - compress(kv, score, 4, before, overlap)).max() > 0.1


def test_a_slot_of_score_minus_infinity_is_absent(rng):
    kv, score = rng.standard_normal((2, 4, 3), dtype=np.float32), rng.standard_normal((2, 4, 3), dtype=np.float32)
    score[:, 1] = -np.inf
    np.testing.assert_allclose(pool(kv, score), pool(np.delete(kv, 1, 1), np.delete(score, 1, 1)), **OP)


def test_the_same_shift_of_all_scores_changes_nothing(rng):
    kv, score = rng.standard_normal((3, 5, 2), dtype=np.float32), rng.standard_normal((3, 5, 2), dtype=np.float32)
    np.testing.assert_allclose(pool(kv, score + np.float32(64)), pool(kv, score), **OP)


def test_which_entries_of_4_tokens_each_of_9_tokens_may_read():
    assert (np.arange(2) < visible(range(9), 4)[:, None]).astype(int).tolist() == [
        [0, 0],
        [0, 0],
        [0, 0],
        [1, 0],                                         # token 3 ends block 0 and already reads its entry
        [1, 0],
        [1, 0],
        [1, 0],
        [1, 1],                                         # token 7 ends block 1
        [1, 1]]


@pytest.mark.parametrize("ratio", [1, 2, 4, 128])
def test_visible_blocks_are_those_that_have_ended(ratio):
    at = [0, 1, 2, 3, 4, 5, 7, 8, 126, 127, 128, 129, 254, 255, 256]
    assert visible(at, ratio).tolist() == [naive.visible(t, ratio) for t in at]
