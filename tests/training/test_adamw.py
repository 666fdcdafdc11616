"""AdamW against torch's, and where eps is smaller than anything."""

import numpy as np
import pytest

from v4mini.training.adamw import AdamW


@pytest.mark.parity
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_torchs_adamw_agrees(rng, decay):
    import torch

    w = rng.standard_normal((5, 7))
    theirs = torch.nn.Parameter(torch.tensor(w))
    optimiser = torch.optim.AdamW([theirs], lr=0.01, betas=(0.9, 0.95), eps=1e-20, weight_decay=decay)
    params = {"w": w.copy()}
    ours = AdamW({"w": decay}, params)
    for step in range(20):
        g = rng.standard_normal(w.shape) * 10.0 ** rng.integers(-6, 3)
        theirs.grad = torch.tensor(g)
        for group in optimiser.param_groups:
            group["lr"] = 0.01 / (1 + step)
        optimiser.step()
        ours.step(params, {"w": g}, 0.01 / (1 + step))
    np.testing.assert_allclose(params["w"], theirs.detach().numpy(), rtol=1e-10)


def test_the_first_step_is_the_rate_in_the_sign_of_the_gradient():
    params = {"w": np.zeros(4, np.float32)}
    AdamW({"w": 0.0}, params).step(params, {"w": np.array([3, -1e-6, 0, 2e4], np.float32)}, 0.01)
    np.testing.assert_allclose(params["w"], [-0.01, 0.01, 0, -0.01], rtol=1e-4)


def test_twenty_steps_by_hand(rng):
    w, mean, square = 1.0, 0.0, 0.0
    params = {"w": np.array([w])}
    ours = AdamW({"w": 0.1}, params)
    for step in range(1, 21):
        g = rng.standard_normal()
        mean, square = 0.9 * mean + 0.1 * g, 0.95 * square + 0.05 * g * g
        w = w * (1 - 0.03 * 0.1) - 0.03 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.95**step)) + 1e-20)
        ours.step(params, {"w": np.array([g])}, 0.03)
    np.testing.assert_allclose(params["w"], [w], rtol=1e-12)


def test_what_has_no_gradient_stays_and_tiny_gradients_stay_finite():
    params = {"w": np.ones(3, np.float32)}
    ours = AdamW({"w": 0.1}, params)
    for _ in range(3):
        ours.step(params, {}, 0.1)
    np.testing.assert_array_equal(params["w"], 1)
    ours.step(params, {"w": np.full(3, 1e-30, np.float32)}, 0.1)        # its square is 0 in float32
    assert np.isfinite(params["w"]).all()
