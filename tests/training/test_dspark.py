"""Drafters learn by the right gradients, from the right rounds, and what they learned is worth something."""

import numpy as np
import pytest
from layers import naive_dspark
from layers.dspark_golden import CONFIG
from tolerances import WHOLE_MODEL

from v4mini.model import Model
from v4mini.training.dspark import draft_loss_and_gradients, draft_losses, rounds_of, softmax, train_drafter
from v4mini.training.gradients import choose_gradients
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

G, W = CONFIG.dspark_block_size, CONFIG.window_size


def some_rounds(anchors=(1, 3, 25)):
    params = random_tensors(CONFIG)
    ids = np.random.default_rng(0).integers(0, 97, 40)
    model = Model(CONFIG, build(CONFIG, params.get), choose_gradients("numpy")[0])
    return params, ids, rounds_of(model, ids, np.array(anchors))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_rounds_side_by_side_are_rounds_alone(monkeypatch, engine):
    """Teacher forced: base scores of the blocks, and the Markov head's addition for the tokens of the text."""
    params, ids, rounds = some_rounds()
    seen = []
    monkeypatch.setattr("v4mini.training.dspark.draft_losses", lambda logits, sure, *rest: seen.append((logits, sure)) or
                        draft_losses(logits, sure, *rest))
    draft_loss_and_gradients(CONFIG, params, rounds, engine)
    for number, anchor in enumerate((1, 3, 25)):
        rows = slice(number * G, (number + 1) * G)
        wanted = naive_dspark.round_of(CONFIG, params, ids[:anchor], ids[anchor])
        w1, w2 = (np.float64(params[f"mtp.2.markov_head.markov_{part}.weight"]) for part in ("w1", "w2"))
        forced = wanted["base"] + w1[ids[anchor: anchor + G]] @ w2.T
        np.testing.assert_allclose(seen[0][0][rows], forced, **WHOLE_MODEL)
        assert seen[0][1][rows][0] == pytest.approx(wanted["confidence"][0], abs=1e-4)
        assert rounds.targets[rows].tolist() == ids[anchor + 1: anchor + 1 + G].tolist()


def test_what_is_wanted_is_what_the_model_says_there():
    params, ids, rounds = some_rounds()
    model = Model(CONFIG, build(CONFIG, params.get), choose_gradients("numpy")[0])
    np.testing.assert_allclose(rounds.wanted[G: 2 * G], softmax(model.logits(ids))[3: 3 + G], **WHOLE_MODEL)


def test_gradients_are_slopes(rng):
    """Along a random direction of each kind of tensor; a float32 loss of 3 holds a slope of 1 over a step of 0.002 to some
    1e-4."""
    params, _, rounds = some_rounds()
    gradients = without_confidence(params, rounds)
    kinds = ["mtp.0.main_proj.weight", "mtp.0.main_norm.weight", "mtp.0.attn.wkv.weight", "mtp.1.attn.wq_a.weight",
             "mtp.1.attn_norm.weight", "mtp.2.attn.attn_sink", "mtp.1.attn.wo_a.weight", "mtp.0.hc_attn_fn",
             "mtp.2.hc_ffn_base", "mtp.1.ffn.gate.weight",
             "mtp.2.ffn.shared_experts.w2.weight", "mtp.0.ffn.experts.1.w1.weight", "mtp.2.norm.weight", "mtp.2.hc_head_fn",
             "mtp.2.markov_head.markov_w1.weight", "mtp.2.markov_head.markov_w2.weight"]
    for name in kinds:
        way, step = rng.standard_normal(params[name].shape).astype(np.float32), np.float32(2e-3)
        way /= np.linalg.norm(way)
        there, back = ({**params, name: params[name] + sign * step * way} for sign in (1, -1))
        parts = [draft_loss_and_gradients(CONFIG, one, rounds, "numpy")[0] for one in (there, back)]
        rise = sum(weight * (parts[0][part] - parts[1][part]) for part, weight in (("cross entropy", 0.1), ("distance", 0.9)))
        slope = rise / (2 * float(step))
        assert float((gradients[name] * way).sum()) == pytest.approx(slope, rel=0.03, abs=5e-4), name


def without_confidence(params, rounds):                 # -> gradients of the other two losses: its target is taken as given
    with pytest.MonkeyPatch.context() as patch:
        def deaf(*inputs):
            losses, g, g_sure = draft_losses(*inputs)
            return losses, g, 0 * g_sure
        patch.setattr("v4mini.training.dspark.draft_losses", deaf)
        return draft_loss_and_gradients(CONFIG, params, rounds, "numpy")[1]


def test_losses_by_hand():
    p, logits = np.array([[0.5, 0.5]]), np.log(np.array([[0.8, 0.2]]))
    losses, g, g_sure = draft_losses(logits, np.zeros(1), np.array([1]), p, np.ones(1))
    assert losses["distance"] == pytest.approx(0.3) and losses["cross entropy"] == pytest.approx(-np.log(0.2))
    assert losses["confidence"] == pytest.approx(np.log(2)) and g_sure == pytest.approx([0.5 - 0.7])
    # d distance / d logit_0 = q_0 (1/2 - (0.8 - 0.2) / 2) = 0.16, cross entropy's is q_0 - 0
    np.testing.assert_allclose(g, [[0.9 * 0.16 + 0.1 * 0.8, -0.9 * 0.16 - 0.1 * 0.8]])


def test_training_lowers_the_loss_and_leaves_the_model_alone():
    params, seen = random_tensors(CONFIG), []
    trained = train_drafter(CONFIG, params, lambda rng: np.arange(40) % 7, 12, rate=0.01, rounds=6, engine="numpy",
                            report=lambda step, losses: seen.append(losses["loss"]))
    assert np.mean(seen[-3:]) < 0.8 * np.mean(seen[:3])
    for name, value in params.items():
        assert name.startswith("mtp.") or np.array_equal(trained[name], value), name
    assert not np.array_equal(trained["mtp.0.main_proj.weight"], params["mtp.0.main_proj.weight"])


