"""Bounds from eight-bit codes are never below the float32 score, and codes lose no more than they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from v4mini.kernels import bounds
from v4mini.kernels.compiled import njit
from v4mini.numerics.rows import ReleasedKey
from v4mini.ops.index import index_scores

WORST = np.finfo(np.float32).max


@njit
def encoded(x, codes):
    return bounds.encode(x, codes)


@njit
def above(keys, q, weights, bar, bits):                 # which keys' bounds are not at most `bar`; -> limits
    groups, steps = (len(keys) + bounds.GROUP - 1) // bounds.GROUP, (keys.shape[1] + bounds.STEP - 1) // bounds.STEP
    codes, lengths = np.zeros((groups, steps, 2, bounds.GROUP, 4), np.uint8), np.zeros((groups, 3, bounds.GROUP), np.float32)
    bounds.encode_keys(keys, 0, len(keys), codes, lengths)
    words, start = np.zeros((len(q), steps * bounds.STEP), np.int8), np.zeros(len(q), np.int32)
    heads, limits = np.zeros((2, len(q)), np.float32), np.zeros(4, np.float32)
    limits[0], limits[1], limits[2], limits[3] = bounds.encode_query(q, weights, words, start, heads)
    any_above = bounds.tile_bounds(codes, lengths, 0, groups, words.view(np.int32), start, heads, limits, bar, bits)
    return any_above, limits


def passing(keys, q, weights, bar):                     # -> bool [N]
    bits = np.zeros(-(-len(keys) // bounds.GROUP), np.uint8)
    any_above, _ = above(keys, q, weights, np.float32(bar), bits)
    found = np.unpackbits(bits[:, None], axis=1, bitorder="little").ravel().astype(bool)
    assert any_above == found.any()
    return found[: len(keys)]


@pytest.mark.parametrize("scale", [0, 1e-44, 1e-31, 1e-20, 1, 1e17, 1e19, 1e38])
def test_what_codes_lose_is_what_they_say(normal, scale):
    x, codes = normal(37) * np.float32(scale), np.zeros(37, np.int8)
    step, rest, length = encoded(x, codes)
    exact = x.astype(np.float64)
    assert np.linalg.norm(exact - np.float64(step) * codes) <= rest and np.linalg.norm(exact) <= length
    assert np.abs(codes).max() == (63 if 1e-30 < scale < 1e18 else 0)


def test_rows_that_were_rounded_to_fp4_lose_nothing(normal):
    format = ReleasedKey(64)
    for row in format.decode(format.encode(normal(20, 64))):
        assert encoded(row, np.zeros(64, np.int8))[1] == 0


def test_a_bound_is_close_where_nothing_is_lost(rng):
    keys, q = (rng.integers(-63, 64, shape).astype(np.float32) for shape in ((200, 24), (3, 24)))
    keys[:, 0], q[:, 0], weights = 63, 63, np.array([1, -2, 0.5], np.float32)
    scores = index_scores(q[None], keys, weights[None])[0]
    for bar in np.quantile(scores, [0.1, 0.5, 0.9]):
        slack = 1e-4 * np.abs(scores).max()
        np.testing.assert_array_equal(passing(keys, q, weights, bar + slack), scores > bar + slack)


def holds(keys, q, weights):
    """Every key's bound passes whatever is below its score, added up in two orders."""
    one_by_one = np.zeros((len(q), len(keys)), np.float32)
    for d in range(q.shape[1]):
        one_by_one += q[:, d, None] * keys[:, d]
    for score in index_scores(q[None], keys, weights[None])[0], weights @ np.maximum(one_by_one, 0):
        for j in range(len(keys)):
            if np.isfinite(score[j]):
                assert passing(keys[j: j + 1], q, weights, np.nextafter(score[j], -WORST)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 40), st.sampled_from([0, 1e-42, 1e-22, 1e-3, 1, 1e12, 1e30]),
       st.booleans())
def test_no_score_is_above_its_bound(seed, heads, width, spread, is_sparse):
    rng = np.random.default_rng(seed)

    def drawn(*shape):
        x = rng.standard_normal(shape) * rng.choice([1, spread], shape)
        return (x * (rng.random(shape) < 0.3) if is_sparse else x).astype(np.float32)
    with np.errstate(all="ignore"):
        holds(drawn(4, width), drawn(heads, width), drawn(heads))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["keys", "q", "weights"])
def test_what_is_not_finite_rules_nothing_out(normal, bad, where):
    given = {"keys": normal(9, 8), "q": normal(2, 8), "weights": np.abs(normal(2))}
    given[where].flat[3 % given[where].size] = bad
    found = passing(**given, bar=WORST)
    assert found[0] if where == "keys" else found.all()


def test_no_weight_above_zero_no_score_above_zero(normal):
    q, bits = normal(2, 8), np.zeros(1, np.uint8)
    assert above(normal(3, 8), q, np.float32([-1, 0]), np.float32(0), bits)[1][3] == 0
    assert above(normal(3, 8), q, np.float32([-1, 1e-9]), np.float32(0), bits)[1][3] == np.inf
    assert above(normal(3, 8), q, np.float32([-1, np.nan]), np.float32(0), bits)[1][3] == np.inf
