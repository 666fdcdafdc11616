"""Muon against SVD, against a float64 twin written from the formulas, and against torch's own."""

import numpy as np
import pytest

from v4mini.training.muon import Muon, newton_schulz

SHAPES = [(1, 7), (7, 1), (16, 16), (24, 64), (64, 24), (128, 256)]


def orthogonal(matrix):                                 # U V^T
    u, _, vt = np.linalg.svd(matrix, full_matrices=False)
    return u @ vt


@pytest.mark.parametrize("shape", SHAPES)
def test_newton_schulz_is_u_v_transposed(rng, shape):
    matrix = rng.standard_normal((3, *shape))
    for got, given in zip(newton_schulz(matrix), matrix):
        # singular values above a hundredth of the largest: gaussian squares have smaller ones, checked below
        u, s, vt = np.linalg.svd(given, full_matrices=False)
        strong = s > 0.01 * s[0]
        np.testing.assert_allclose((u.T @ got @ vt.T)[strong][:, strong], np.eye(strong.sum()), atol=2e-3)


def test_every_singular_value_from_a_hundredth_up_becomes_one(rng):
    u, v = (np.linalg.qr(rng.standard_normal((40, 40)))[0] for _ in range(2))
    spread = np.geomspace(0.01, 1, 40) * 6e4
    got = np.linalg.svd(newton_schulz((u * spread @ v.T)[None])[0], compute_uv=False)
    assert np.abs(got - 1).max() < 2e-3
    # ten rounds cannot lift everything: what began at a billionth is still small
    far = newton_schulz((u * np.geomspace(1e-9, 1, 40) @ v.T)[None])[0]
    assert np.linalg.svd(far, compute_uv=False).min() < 0.1


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_the_size_of_a_gradient_does_not_matter(rng, size):
    matrix = rng.standard_normal((1, 12, 20)).astype(np.float32)
    np.testing.assert_allclose(newton_schulz(matrix * np.float32(size)), newton_schulz(matrix), atol=1e-4)


def test_zeros_stay_zeros():
    assert not newton_schulz(np.zeros((2, 4, 6), np.float32)).any()


def test_float32_is_near_float64(rng):
    matrix = rng.standard_normal((2, 96, 128))
    got = newton_schulz(matrix.astype(np.float32))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, newton_schulz(matrix), atol=1e-4)


def twin(w, gradients, rate, mu=0.95, decay=0.1):       # float64, one matrix, the report's lines one by one
    m = np.zeros_like(w)
    for g in gradients:
        m = mu * m + g
        x = mu * m + g
        x = x / np.linalg.norm(x)
        for a, b, c in [(3.4445, -4.7750, 2.0315)] * 8 + [(2, -1.5, 0.5)] * 2:
            x = a * x + b * (x @ x.T) @ x + c * (x @ x.T) @ (x @ x.T) @ x
        w = w * (1 - rate * decay) - rate * x * np.sqrt(max(w.shape)) * 0.18
    return w


@pytest.mark.parametrize("shape", SHAPES)
def test_four_steps_equal_the_twin(rng, shape):
    w, gradients = rng.standard_normal(shape), [rng.standard_normal(shape) for _ in range(4)]
    params = {"w": w.copy()}
    muon = Muon({"w": [slice(None)]}, params)
    for g in gradients:
        muon.step(params, {"w": g}, 0.02)
    np.testing.assert_allclose(params["w"], twin(w, gradients, 0.02), atol=1e-9)


def test_an_update_has_entries_of_0_18(rng):
    for shape in ((128, 256), (256, 128), (24, 1024)):
        params = {"w": np.zeros(shape)}
        Muon({"w": [slice(None)]}, params).step(params, {"w": rng.standard_normal(shape)}, 1.0)
        assert abs(np.sqrt((params["w"] ** 2).mean()) - 0.18) < 2e-3


def test_slices_are_matrices_of_their_own_and_stacks_change_nothing(rng):
    w, g = rng.standard_normal((24, 10)), rng.standard_normal((24, 10))
    other, gradient = rng.standard_normal((16, 10)), rng.standard_normal((16, 10))
    params = {"w": w.copy(), "other": other.copy()}     # other has the shape of w's second slice
    muon = Muon({"w": [slice(0, 8), slice(8, 24)], "other": [slice(None)]}, params)
    muon.step(params, {"w": g, "other": gradient}, 0.1)
    np.testing.assert_allclose(params["w"][:8], twin(w[:8], [g[:8]], 0.1), atol=1e-10)
    np.testing.assert_allclose(params["w"][8:], twin(w[8:], [g[8:]], 0.1), atol=1e-10)
    np.testing.assert_allclose(params["other"], twin(other, [gradient], 0.1), atol=1e-10)
    assert sorted(map(len, muon.stacks.values())) == [1, 2]


def test_what_has_no_gradient_stays(rng):
    w, g = rng.standard_normal((6, 8)), rng.standard_normal((6, 8))
    params = {"w": w.copy(), "other": w.copy()}         # of one shape, so of one stack
    muon = Muon({"w": [slice(None)], "other": [slice(None)]}, params)
    muon.step(params, {"other": g}, 0.1)
    np.testing.assert_array_equal(params["w"], w)
    np.testing.assert_allclose(params["other"], twin(w, [g], 0.1), atol=1e-9)
    muon.step(params, {"w": g}, 0.1)
    np.testing.assert_allclose(params["w"], twin(w, [g], 0.1), atol=1e-9)


@pytest.mark.parity
def test_torchs_muon_agrees(rng):
    """torch's has one set of coefficients, no 0.18 sqrt(max), works in bfloat16, and weighs each new gradient by 0.05.

    The last changes the length of the momentum only, which Newton-Schulz does not see; the others are set equal here.
    """
    import torch

    if not hasattr(torch.optim, "Muon"):
        pytest.skip("torch.optim.Muon came with torch 2.9")
    w = rng.standard_normal((32, 48)).astype(np.float32)
    gradients = [rng.standard_normal(w.shape).astype(np.float32) for _ in range(4)]
    theirs = torch.nn.Parameter(torch.tensor(w))
    optimiser = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.1, momentum=0.95, nesterov=True, eps=1e-12,
                                 ns_coefficients=(3.4445, -4.7750, 2.0315), ns_steps=8)
    params, rate = {"w": w.copy()}, 0.1 / (0.18 * 48**0.5)
    muon = Muon({"w": [slice(None)]}, params, decay=0.1 * 0.1 / rate, rounds=((3.4445, -4.7750, 2.0315),) * 8)
    for g in gradients:
        theirs.grad = torch.tensor(g)
        optimiser.step()
        muon.step(params, {"w": g}, rate)
    moved, theirs_moved = params["w"] - w, theirs.detach().numpy() - w
    assert np.abs(moved - theirs_moved).max() < 0.02 < 0.1 * np.abs(moved).max()          # bfloat16 has 8 bits
