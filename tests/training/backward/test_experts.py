"""Clamped experts: gradients against finite differences, on both sides of every clamp and on it."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import expect

from v4mini.training.backward.experts import Groups, swiglu

LIMIT = 1.5


def naive_swiglu(limit):
    return lambda gate, up, weight: np.array([[naive.swiglu(a, b, limit) * w for a, b in zip(*pair)]
                                              for *pair, w in zip(gate, up, weight)])


@pytest.fixture
def rule(engine):
    """What stands between the products, of this engine: g, gate, up, limit, weight -> g_gate, g_up, g_weight."""
    def through_the_door(g, gate, up, limit, weight):   # tokens and what comes back to them are unit vectors, so weights are g
        n, none = len(g), np.zeros((gate.shape[1], len(g)), np.float32)
        _, g_weight, (g_w1, _, g_w3) = engine.gradients.experts(np.eye(n, dtype=np.float32), np.eye(n, dtype=np.float32),
                                                            Groups.everyone(n), weight, ([none], [g], [none]), limit,
                                                            (gate, up, np.zeros_like(gate)))
        return g_w1[0].T, g_w3[0].T, g_weight
    return through_the_door if engine.dtype == np.float32 else swiglu


@pytest.mark.parametrize("limit", [LIMIT, 0.0])
def test_swiglu_on_both_sides_of_the_clamp(engine, draw, rule, limit):
    gate, up, weight, g = draw(4, 7, size=3), draw(4, 7, size=3), draw(4), draw(4, 7)
    gate[0, :4], up[0, :4] = [-3, 3, -3, 3], [-3, -3, 3, 3]             # every pairing of sides
    assert np.abs(np.abs(np.stack([gate, up])) - LIMIT).min() > 1e-3    # and none within a nudge of the edge
    found = rule(*engine.given(g, gate, up), limit, *engine.given(weight))
    engine.agrees(found, naive_swiglu(limit), (gate, up, weight), g, ["g_gate", "g_up", "g_weight"])
    if limit:                                           # gate is cut above only, up on both sides
        np.testing.assert_array_equal(found[0] == 0, gate > LIMIT)
        np.testing.assert_array_equal(found[1] == 0, np.abs(up) > LIMIT)


def test_a_clamp_exactly_hit_passes_the_gradient(engine, rule):
    """There the slopes on the two sides differ; taken is the one from inside, as torch.clamp does."""
    dtype = engine.dtype
    gate, up = np.array([[LIMIT, 0.5, 0.5, LIMIT]], dtype), np.array([[0.5, LIMIT, -LIMIT, LIMIT]], dtype)
    g_gate, g_up, _ = rule(np.ones((1, 4), dtype), gate, up, LIMIT, np.ones(1, dtype))
    inside, step = 1 - 1e-9, 1e-6
    for i, (a, b) in enumerate(zip(np.float64(gate[0]) * inside, np.float64(up[0]) * inside)):
        slopes = [(naive.swiglu(a, b, LIMIT) - naive.swiglu(a - step, b, LIMIT)) / step,
                  (naive.swiglu(a, b, LIMIT) - naive.swiglu(a, b - np.sign(b) * step, LIMIT)) / (step * np.sign(b))]
        np.testing.assert_allclose([g_gate[0, i], g_up[0, i]], slopes, rtol=1e-4)
        assert np.all(np.abs(slopes) > 0.1)


@pytest.mark.parity
def test_torchs_clamp_passes_it_too():
    import torch

    gate, up = np.array([[LIMIT, 0.5, 0.5, 2.0]]), np.array([[0.5, LIMIT, -LIMIT, -2.0]])
    a, b = (torch.tensor(x, requires_grad=True) for x in (gate, up))
    (torch.nn.functional.silu(a.clamp(max=LIMIT)) * b.clamp(-LIMIT, LIMIT)).sum().backward()
    g_gate, g_up, _ = swiglu(np.ones((1, 4)), gate, up, LIMIT, np.ones(1))
    np.testing.assert_allclose(g_gate, a.grad, rtol=1e-12)
    np.testing.assert_allclose(g_up, b.grad, rtol=1e-12)


def test_far_out_nothing_overflows(engine, rule):
    dtype = engine.dtype
    gate = np.array([[-1e4, -200, -88, 88, 200, 1e4]], dtype)
    g_gate, g_up, g_weight = rule(np.ones((1, 6), dtype), gate, np.ones((1, 6), dtype), 0.0, np.ones(1, dtype))
    np.testing.assert_allclose(g_gate, [[0, 0, 0, 1, 1, 1]], atol=1e-6)
    np.testing.assert_allclose(g_up, [[0, 0, 0, 88, 200, 1e4]], rtol=1e-5, atol=1e-6)
    assert np.isfinite(g_weight).all()


# ---- whole experts ----

def all_experts(chosen, E):
    def forward(x, weights, *pool):
        w1, w2, w3 = pool[:E], pool[E: 2 * E], pool[2 * E:]
        return np.array([sum(naive.expert(row, w1[e], w2[e], w3[e], LIMIT, w) for e, w in zip(mine, ws))
                         for row, mine, ws in zip(x, chosen, weights)])
    return forward


CHOSEN = {"some": [[0, 2], [2, 0], [3, 2], [0, 3]],                     # nobody chose 1
          "one for all": [[1], [1], [1], [1]], "each other": [[0], [1], [2], [3]], "all": [[3, 1, 0, 2], [0, 1, 2, 3]],
          "one twice": [[2, 2], [0, 2]]}                                # as a hash table may say


@pytest.mark.parametrize("case", CHOSEN)
def test_pools_of_experts(engine, draw, case):
    chosen, E, D, inter = np.array(CHOSEN[case]), 4, 3, 2
    (T, _), names = chosen.shape, [f"g_w{part} of expert {e}" for part in (1, 2, 3) for e in range(E)]
    x, weights, g = draw(T, D), draw(*chosen.shape), draw(T, D)
    pool = [draw(inter, D) for _ in range(E)] + [draw(D, inter) for _ in range(E)] + [draw(inter, D) for _ in range(E)]
    groups = Groups.of(chosen, E)
    dense = engine.given(*pool)
    parts = dense[:E], dense[E: 2 * E], dense[2 * E:]
    given_x, given_weights, given_g = engine.given(x, weights, g)
    spread = groups.spread(given_weights)
    y, kept = engine.gradients.experts_keeping(given_x, groups, spread, parts, LIMIT, lambda h: h)
    expect(y, all_experts(chosen, E)(x, weights, *pool), engine.share, "the answer")
    g_x, g_weight, g_parts = engine.gradients.experts(given_g, given_x, groups, spread, parts, LIMIT, kept)
    found = [g_x, g_weight[groups.place], *(one for part in g_parts for one in part)]
    engine.agrees(found, all_experts(chosen, E), (x, weights, *pool), g, ["g_x", "g_weights", *names])
    idle = np.setdiff1d(np.arange(E), chosen)
    assert not any(part[idle].any() for part in g_parts) and (case != "some" or idle.tolist() == [1])


def test_the_shared_expert_is_everyones(engine, draw):
    x, g, w1, w2, w3 = draw(5, 3), draw(5, 3), draw(2, 3), draw(3, 2), draw(2, 3)
    groups = Groups.everyone(5)
    given_x, given_g, *dense = engine.given(x, g, w1, w2, w3)
    parts, weight = [[w] for w in dense], np.ones(5, engine.dtype)
    _, kept = engine.gradients.experts_keeping(given_x, groups, weight, parts, LIMIT, lambda h: h)
    g_x, _, (g_w1, g_w2, g_w3) = engine.gradients.experts(given_g, given_x, groups, weight, parts, LIMIT, kept)
    engine.agrees([g_x, g_w1[0], g_w2[0], g_w3[0]],
                  lambda x, *w: np.array([naive.expert(row, *w, LIMIT) for row in x]), (x, w1, w2, w3), g)


def test_what_w2_reads_may_be_rounded_and_the_gradient_goes_straight_through(engine, draw):
    """g_w2 meets the rounded numbers, as w2 did; everything before it learns as if they had not been rounded."""
    x, g, weight = engine.given(draw(4, 3), draw(4, 3), draw(4))
    parts, groups = [engine.given(w) for w in (draw(2, 3), draw(3, 2), draw(2, 3))], Groups.everyone(4)
    whole, halves = ([engine.gradients.experts_keeping(x, groups, weight, parts, LIMIT, rounded)] for rounded in
                     (lambda h: h, lambda h: np.round(2 * h) / 2))
    smooth, rough = (engine.gradients.experts(g, x, groups, weight, parts, LIMIT, kept) for (_, kept), in (whole, halves))
    for index in (0, 1):
        np.testing.assert_array_equal(smooth[index], rough[index])
    expect(rough[2][1][0], g.T @ halves[0][1][2], engine.share)
    assert not np.allclose(rough[2][1], smooth[2][1])


def test_groups_sort_tokens_by_expert(rng):
    chosen = np.array([rng.permutation(6)[:2] for _ in range(20)])
    groups = Groups.of(chosen, 7)
    for e in range(7):
        mine = groups.tokens[groups.starts[e]: groups.starts[e + 1]]
        np.testing.assert_array_equal(mine, [t for t in range(20) if e in chosen[t]])
    np.testing.assert_array_equal(groups.spread(chosen), np.sort(chosen.ravel()))
    np.testing.assert_array_equal(groups.sum(groups.rows(np.arange(20.0)[:, None])), 2 * np.arange(20.0)[:, None])


def test_loops_say_the_same_of_many_tokens(twins, draw, rng):
    T, E, D, inter = 90, 5, 24, 33
    x, g, weights = draw(T, D), draw(T, D), draw(T, 2)
    groups = Groups.of(np.array([rng.permutation(E)[:2] for _ in range(T)]), E)
    parts = [[draw(inter, D, size=0.3) for _ in range(E)], [draw(D, inter) for _ in range(E)],
             [draw(inter, D, size=0.3) for _ in range(E)]]
    gate = groups.products(groups.rows(x), parts[0])
    assert np.abs(gate - LIMIT).min() > 1e-5            # float32 would else land on the other side
    kept = gate, groups.products(groups.rows(x), parts[2]), draw(2 * T, inter)
    twins("experts", g, x, groups, groups.spread(weights), parts, LIMIT, kept)
