"""Hyper-connections: gradients against finite differences, through Sinkhorn's divisions too."""

import numpy as np
import pytest
from ops import naive
from training.backward.finite_differences import FLOAT64, expect, finite_difference

from v4mini.training.backward.mix import sinkhorn

EPS, NORM_EPS = 1e-6, 1e-6


def pre_of(iters, eps=EPS):
    def forward(streams, fn, base, scale):
        return tuple(map(np.array, zip(*(naive.hc_pre(s, fn, base, scale, iters, eps, NORM_EPS) for s in streams))))
    return forward


@pytest.mark.parametrize("T, M, D", [(2, 3, 2), (1, 1, 4), (3, 2, 3)])
@pytest.mark.parametrize("iters", [1, 2, 20])
def test_reading_and_what_will_be_written(engine, draw, T, M, D, iters):
    n = (2 + M) * M
    arrays = draw(T, M, D), draw(n, M * D, size=0.5), draw(n), 1 + draw(3, size=0.3)
    g = draw(T, D), draw(T, M), draw(T, M, M)
    streams, *hc = engine.given(*arrays)
    g_streams, g_hc = engine.gradients.hc_pre(*engine.given(*g), streams, tuple(hc), iters, EPS, NORM_EPS)
    engine.agrees((g_streams, *g_hc), pre_of(iters), arrays, g, ["g_streams", "g_fn", "g_base", "g_scale"])


@pytest.mark.parametrize("part", [0, 1, 2])
def test_each_of_the_three_answers_alone(engine, draw, part):
    """A mistake in a small gradient could hide behind a larger one."""
    arrays = draw(2, 2, 3), draw(8, 6, size=0.5), draw(8), np.array([1.0, 0.5, 2.0])
    g = tuple(draw(*shape) * (number == part) for number, shape in enumerate(((2, 3), (2, 2), (2, 2, 2))))
    streams, *hc = engine.given(*arrays)
    g_streams, g_hc = engine.gradients.hc_pre(*engine.given(*g), streams, tuple(hc), 3, EPS, NORM_EPS)
    engine.agrees((g_streams, *g_hc), pre_of(3), arrays, g, ["g_streams", "g_fn", "g_base", "g_scale"])


def test_streams_of_zeros_and_long_ones(engine, draw):
    """Nudged with a larger norm_eps, as 1e-6 bends within a nudge of 0."""
    arrays = draw(2, 2, 3), draw(8, 6, size=0.5), draw(8), np.ones(3)
    arrays[0][0] = 0
    arrays[0][1] *= 30
    g = draw(2, 3), draw(2, 2), draw(2, 2, 2)
    streams, *hc = engine.given(*arrays)
    g_streams, g_hc = engine.gradients.hc_pre(*engine.given(*g), streams, tuple(hc), 3, EPS, 0.25)

    def forward(streams, fn, base, scale):
        return tuple(map(np.array, zip(*(naive.hc_pre(s, fn, base, scale, 3, EPS, 0.25) for s in streams))))
    engine.agrees((g_streams, *g_hc), forward, arrays, g)


@pytest.mark.parametrize("M", [1, 2, 4])
@pytest.mark.parametrize("iters", [1, 2, 3, 20])
@pytest.mark.parametrize("size, eps", [(1.0, 1e-6), (6.0, 1e-6), (1.0, 0.1)])
def test_sinkhorn(draw, M, iters, size, eps):
    """An eps of 0.1 shows whether every division has it."""
    logits, g = draw(2, M, M, size=size), draw(2, M, M)
    wanted, = finite_difference(lambda z: np.array([naive.sinkhorn(one, iters, eps) for one in z]), [logits], g)
    if M == 1:                                          # one stream's mix is 1 whatever its logit
        return np.testing.assert_allclose(sinkhorn(g, logits, iters, eps), 0, atol=1e-9)
    expect(sinkhorn(g, logits, iters, eps), wanted, 2 * FLOAT64)


def test_sinkhorn_of_logits_that_leave_nothing_to_learn(engine, draw):
    """A mix that is a permutation to the last digit: finite, and next to no gradient."""
    g = draw(1, 3, 3)
    logits = np.full((1, 3, 3), -300.0)
    logits[0, [0, 1, 2], [1, 2, 0]] = 300
    found = sinkhorn(*engine.given(g, logits), 20, EPS)
    np.testing.assert_allclose(found, 0, atol=1e-5)


def test_writing(engine, draw):
    arrays, g = (draw(3, 4), draw(3, 2, 4), draw(3, 2), draw(3, 2, 2)), draw(3, 2, 4)
    found = engine.gradients.hc_post(*engine.given(g, *arrays))
    engine.agrees(found, lambda *token: np.array([naive.hc_post(*one) for one in zip(*token)]), arrays, g,
                  ["g_y", "g_streams", "g_post", "g_comb"])


@pytest.mark.parametrize("T, M, D", [(3, 2, 4), (2, 4, 3), (1, 1, 5)])
def test_the_head(engine, draw, T, M, D):
    arrays, g = (draw(T, M, D), draw(M, M * D, size=0.5), draw(M), np.array([0.7])), draw(T, D)
    streams, *hc = engine.given(*arrays)
    g_streams, g_hc = engine.gradients.hc_head(*engine.given(g), streams, tuple(hc), EPS, NORM_EPS)
    engine.agrees((g_streams, *g_hc), lambda s, *hc: np.array([naive.hc_head(one, *hc, EPS, NORM_EPS) for one in s]), arrays, g,
                  ["g_streams", "g_fn", "g_base", "g_scale"])


@pytest.mark.parametrize("T", [63, 64, 150])
def test_loops_say_the_same_of_many_tokens(twins, draw, T):
    M, D = 4, 20
    n = (2 + M) * M
    streams, hc = draw(T, M, D), (draw(n, M * D, size=0.3), draw(n), np.array([1.0, 0.5, 2.0]))
    twins("hc_pre", draw(T, D), draw(T, M), draw(T, M, M), streams, hc, 20, EPS, NORM_EPS)
    twins("hc_post", draw(T, M, D), draw(T, D), streams, draw(T, M), draw(T, M, M))
    twins("hc_head", draw(T, D), streams, (draw(M, M * D, size=0.3), draw(M), np.array([0.7])), EPS, NORM_EPS)
