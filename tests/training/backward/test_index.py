"""Index scores: gradients against finite differences, and what the choice lets through."""

import numpy as np
import pytest
from ops import naive


def scores_of(q, keys, weights):
    return np.array([[naive.index_score(heads, key, w) for key in keys] for heads, w in zip(q, weights)])


def away_from_the_kink(q, keys):                        # relu has no slope where its input is 0
    return np.abs(np.einsum("thd,nd->thn", q, keys)).min() > 1e-3


@pytest.mark.parametrize("T, H, N", [(3, 2, 4), (1, 1, 1), (4, 3, 5)])
def test_scores(engine, draw, T, H, N):
    q, keys, weights, g = draw(T, H, 3), draw(N, 3), draw(T, H), draw(T, N)
    weights[0, 0] = -abs(weights[0, 0])                 # they have any sign
    assert away_from_the_kink(q, keys)
    found = engine.gradients.index_scores(*engine.given(g, q, keys, weights))
    engine.agrees(found, scores_of, (q, keys, weights), g, ["g_q", "g_keys", "g_weights"])


def test_where_a_product_is_exactly_0_nothing_passes(engine, draw):
    """As torch's relu: of the two one-sided slopes, 0 and weight * key, the flat one."""
    q, keys = np.array([[[1.0, 1.0]]]), np.array([[1.0, -1.0], [2.0, 1.0]])
    g_q, g_keys, g_weights = engine.gradients.index_scores(*engine.given(np.ones((1, 2)), q, keys, np.array([[2.0]])))
    np.testing.assert_array_equal(g_keys, [[0, 0], [2, 2]])
    np.testing.assert_array_equal(g_q, [[[4, 2]]])
    np.testing.assert_array_equal(g_weights, [[3]])


def test_no_entries_leave_zeros(engine, draw):
    given = engine.given(np.empty((2, 0)), draw(2, 3, 4), np.empty((0, 4)), draw(2, 3))
    g_q, g_keys, g_weights = engine.gradients.index_scores(*given)
    assert g_keys.shape == (0, 4) and not g_q.any() and not g_weights.any()
