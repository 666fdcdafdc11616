"""Growing: the larger model says what the smaller one said, and every one of its layers can learn."""

import numpy as np
import pytest

from v4mini import Refused
from v4mini.model import Model
from v4mini.training.add_layers import add_layers, some_layers
from v4mini.training.batch import Batch
from v4mini.training.init import initial_values
from v4mini.training.step import Settings, loss_and_gradients
from v4mini.weights.spec import tensors
from v4mini.weights.tree import build


@pytest.fixture
def config(small_recipe):
    return small_recipe.config                          # csa (hash), window, hca, csa, and MTP


def test_some_layers_keep_their_kinds_their_tables_and_mtp(config):
    small = some_layers(config, (0, 3))
    assert [small.layer_kind(i) for i in range(2)] == ["csa", "csa"] and small.n_hash_layers == 1 and small.n_mtp_layers == 1
    assert some_layers(config, range(4)) == config
    assert some_layers(config, (1, 2)).n_hash_layers == 0


@pytest.mark.parametrize("layers", [(), (1, 0), (0, 0), (-1,), (0, 4)], ids=str)
def test_no_such_layers(config, layers):
    with pytest.raises(Refused, match="expected some of 0 to 3 in rising order"):
        some_layers(config, layers)


@pytest.mark.parametrize("before, after", [((0, 3), None), ((3,), (0, 2, 3)), ((1, 2), (1, 2))], ids=str)
def test_what_was_learnt_is_said_again(config, rng, before, after):
    small, larger = some_layers(config, before), some_layers(config, after or range(4))
    params = initial_values(small, rng)
    for values in params.values():
        if values.dtype == np.float32:                  # as if something had been learnt
            values += np.float32(0.05) * rng.standard_normal(values.shape, np.float32)
    grown = add_layers(config, before, params, rng, after)
    assert {name: values.shape for name, values in grown.items()} == {spec.name: spec.shape for spec in tensors(larger)}
    ids = rng.integers(0, config.vocab_size, 60)
    one, two = (Model(c, build(c, p.get), _numpy()).logits(ids) for c, p in ((small, params), (larger, grown)))
    # each new layer leaves a stream 99.9 % itself, so up to three of them are worth well under a hundredth
    assert np.abs(one - two).max() <= 0.02 * np.abs(one).max()
    if before == after:
        np.testing.assert_array_equal(one, two)


def _numpy():
    from v4mini.backend import Backend

    return Backend()


def test_a_silent_layer_can_still_learn(config, rng):
    """What writes is 0, so that at first only it has a gradient; nothing of a layer is cut off."""
    grown = add_layers(config, (0, 3), initial_values(some_layers(config, (0, 3)), rng), rng)
    step = loss_and_gradients(config, grown, Batch.of([rng.integers(0, config.vocab_size, 60)]), Settings(engine="numpy"))
    for layer in (1, 2):
        silent = (f"layers.{layer}.attn.wo_b.weight", f"layers.{layer}.ffn.shared_experts.w2.weight")
        assert not any(grown[name].any() for name in silent)
        assert step.gradients[f"layers.{layer}.attn.wo_b.weight"].any()
        assert step.gradients[f"layers.{layer}.ffn.shared_experts.w2.weight"].any()


def test_layers_that_are_not_among_the_new_ones_are_refused(config, rng):
    with pytest.raises(Refused, match=r"expected the layers \[0, 3\] among the new ones, got \[0, 1\]"):
        add_layers(config, (0, 3), {}, rng, (0, 1))
