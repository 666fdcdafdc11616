"""A whole step: losses and gradients agree with Hugging Face's autograd, finite differences, both engines, any packing."""

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.numerics import matrix
from v4mini.numerics.matrix import Matrix
from v4mini.proof.huggingface import closest_ranks, random_config, transformers_model
from v4mini.shapes import Refused
from v4mini.training import step as step_module
from v4mini.training.batch import Batch
from v4mini.training.parameters import leaves
from v4mini.training.step import Settings, loss_and_gradients, routes_of
from v4mini.training.tape import Tape
from v4mini.weights.names import HfSlice, to_hf
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

PLAIN = Settings(index_phase="sparse", index_weight=0, balance_weight=0, mtp_weight=0, engine="numpy")


def relative(a, b, least=1e-6):
    return float(np.abs(a - b).max() / max(np.abs(b).max(), least))


def autograd(config, params, ids):                      # -> loss, {released name: gradient} by torch
    import torch

    model = transformers_model(params, config)
    row = torch.tensor(ids[None])
    loss = torch.nn.functional.cross_entropy(model(row).logits[0, :-1], row[0, 1:])
    loss.backward()
    theirs, found = {name: tensor.grad for name, tensor in model.named_parameters()}, {}
    for name in params:
        place = to_hf(name)
        gradient = theirs.get(place.name if isinstance(place, HfSlice) else place)
        if gradient is not None:
            gradient = gradient[place.expert] if isinstance(place, HfSlice) else gradient
            gradient = gradient.chunk(2)[place.part] if isinstance(place, HfSlice) and place.part is not None else gradient
            found[name] = gradient.numpy()
    return float(loss.detach()), found


@pytest.mark.parity
@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("n_hash", [0, 1, 2])
def test_every_gradient_is_that_of_hugging_face(engine, n_hash):
    rng, gap = np.random.default_rng(n_hash), 0.0
    while gap < 1e-5:                                   # two entries so near each other may be ranked either way
        config = random_config(rng, n_hash)
        params, ids = random_tensors(config, seed=n_hash), rng.integers(0, config.vocab_size, 300)
        gap = closest_ranks(CachedModel(config, build(config, params.get), Backend()), ids)
    step = loss_and_gradients(config, params, Batch.of([ids]), Settings(**vars(PLAIN) | {"engine": engine}))
    loss, theirs = autograd(config, params, ids)
    assert abs(step.losses["next"] - loss) < 1e-4
    assert len(step.gradients) > 40
    least = 1e-4 * max(np.abs(gradient).max() for gradient in theirs.values())      # below, both are rounding
    for name, mine in step.gradients.items():
        if name.endswith("ffn.gate.weight") and config.n_activated_experts == 1:
            assert not mine.any(), "one expert alone always weighs the same"
        elif name in theirs:
            assert relative(mine, theirs[name], least) <= 1e-4, name
        else:
            assert not mine.any() or "indexer" in name, f"{name} has no gradient in torch"


# ---- finite differences in float64 ----

NUDGE = 1e-7            # for all numbers of a tensor at once: at 1e-5 some clamp or choice of experts tips, and slopes jump


@pytest.fixture
def in_float64(monkeypatch):
    """The same step with float64 weights. A model holds float32: so each leaf gets its numbers after the tree is built."""
    def wide(config, params, tape, quantise=None):
        narrow = {name: values.astype(np.float32) if values.dtype == np.float64 else values for name, values in params.items()}
        tree, found = leaves(config, narrow, tape, quantise)
        for name, value in found.items():
            value.data = Matrix(params[name], name=name) if isinstance(value.data, Matrix) else params[name]
        return tree, found
    monkeypatch.setitem(matrix.FORMATS, np.dtype(np.float64), "f32")
    monkeypatch.setattr(step_module, "leaves", wide)


ROOMS = "indexer", "compressor", "experts", "hc_", "norm", "attn", "ffn", "proj"


def group_of(name):                                     # tensors nudged together, each number by its own amount
    layer = ".".join(name.split(".")[:2])
    return f"{layer} {next((room for room in ROOMS if room in name), '')}"


@pytest.mark.parametrize("phase", ["dense", "sparse"])
def test_every_tensor_nudged_along_a_random_direction(in_float64, monkeypatch, rng, phase):
    """MTP's joining of streams and next tokens, the embedding that both read, and all the rest.

    The loss that indexers learn from counts for them alone, and of attention's weights that it is measured by nothing is
    learnt: so the others are nudged without it. A sequence of one token and one that jumps are among the three.
    """
    config = Config.tiny().replace(compress_ratios=(4, 0, 16, 4, 0), hc_sinkhorn_iters=3)
    params = {name: values.astype(np.float64) if values.dtype == np.float32 else values
              for name, values in random_tensors(config).items()}
    lengths = 22, 1, 33
    positions = np.concatenate([np.arange(22), [0], np.arange(33) + 128 * (np.arange(33) >= 16)])
    batch = Batch(rng.integers(0, config.vocab_size, sum(lengths)), np.cumsum(lengths), positions, rng.random(sum(lengths)))
    settings = Settings(index_phase=phase, engine="numpy", balance_weight=0.05, recall=False)
    step = loss_and_gradients(config, params, batch, settings)
    assert {gradient.dtype for gradient in step.gradients.values()} == {np.dtype(np.float64)}
    monkeypatch.setattr(Tape, "backward", lambda self: None)           # from here on only losses are asked for
    groups = {}
    for name in step.gradients:
        groups.setdefault(group_of(name), []).append(name)
    assert len(groups) > 30
    if phase == "sparse":                               # what differs is who reads and teaches what
        groups = {group: names for group, names in groups.items() if group.endswith(("indexer", "compressor", "attn"))}
    for group, names in groups.items():
        directions = {name: rng.standard_normal(params[name].shape) for name in names}
        weights = {"next": 1, "mtp": 0.3, "balance": 0.05, "index": "indexer" in group}
        ends = []
        for sign in (1, -1):
            moved = params | {name: params[name] + sign * NUDGE * along for name, along in directions.items()}
            found = loss_and_gradients(config, moved, batch, settings).losses
            ends.append(sum(weight * found[name] for name, weight in weights.items()))
        slope = (ends[0] - ends[1]) / (2 * NUDGE)
        wanted = sum(float(np.vdot(step.gradients[name], along)) for name, along in directions.items())
        assert slope == pytest.approx(wanted, rel=1e-6, abs=2e-8), group


def test_engines_agree_on_all_losses_and_gradients(rng):
    config = Config.tiny()
    params = random_tensors(config)
    batch = Batch.of([rng.integers(0, config.vocab_size, n) for n in (150, 1, 7, 260)])
    for phase in ("dense", "sparse"):
        one, two = (loss_and_gradients(config, params, batch, Settings(index_phase=phase, engine=name))
                    for name in ("numpy", "numba"))
        assert one.losses.keys() == two.losses.keys() >= {"next", "mtp", "balance", "index", "loss"}
        assert all(abs(one.losses[name] - two.losses[name]) < 1e-4 for name in one.losses)
        assert one.gradients.keys() == two.gradients.keys()
        worst = max(one.gradients, key=lambda name: relative(two.gradients[name], one.gradients[name]))
        assert relative(two.gradients[worst], one.gradients[worst]) < 1e-3, worst


def test_sequences_side_by_side_are_each_alone(rng):
    config = Config.tiny().replace(n_mtp_layers=0)
    params, rows = random_tensors(config), [rng.integers(0, config.vocab_size, n) for n in (40, 9, 130)]
    together = loss_and_gradients(config, params, Batch.of(rows), PLAIN)
    alone = [loss_and_gradients(config, params, Batch.of([row]), PLAIN) for row in rows]
    share = np.array([len(row) - 1 for row in rows]) / sum(len(row) - 1 for row in rows)
    assert np.isclose(together.losses["next"], sum(s * step.losses["next"] for s, step in zip(share, alone)), atol=1e-5)
    for name, gradient in together.gradients.items():
        assert relative(gradient, sum(s * step.gradients.get(name, 0) for s, step in zip(share, alone))) < 1e-3, name


def test_a_weight_belongs_to_the_token_predicted_whoever_predicts_it(model_of, rng):
    """weights[6] alone is not 0: token 7 counts, predicted by row 6 of the model and by row 5 of the MTP block."""
    config, ids = Config.tiny(), rng.integers(0, 97, 30)
    batch = Batch.of([ids], [np.eye(30)[6]])
    losses = loss_and_gradients(config, random_tensors(config), batch, Settings(index_phase="sparse", engine="numpy")).losses
    model = model_of(config)
    for name, row in (("next", model.logits(ids)[6]), ("mtp", model.mtp_logits(ids)[5])):
        row = np.float64(row)
        assert losses[name] == pytest.approx(np.log(np.exp(row - row.max()).sum()) + row.max() - row[ids[7]], abs=1e-4)


def test_a_step_downhill_lowers_the_loss_by_what_the_gradient_says(rng):
    config = Config.tiny()
    params, batch = random_tensors(config), Batch.of([rng.integers(0, config.vocab_size, 200)])
    settings = Settings(engine="numpy", balance_weight=0, index_weight=0)     # of the others the targets are held fixed
    step = loss_and_gradients(config, params, batch, settings)
    squares = sum(float((g * g).sum()) for g in step.gradients.values())
    length = np.float32(1e-3 / np.sqrt(squares))

    def moved(sign):
        there = dict(params)
        for name, gradient in step.gradients.items():
            there[name] = params[name] + np.float32(sign) * length * gradient
        found = loss_and_gradients(config, there, batch, settings).losses
        return found["next"] + settings.mtp_weight * found["mtp"]
    assert abs((moved(1) - moved(-1)) / (2 * length * squares) - 1) < 0.05


def test_what_does_not_fit_is_refused():
    config = Config.tiny()
    params = random_tensors(config)
    with pytest.raises(Refused, match="expected ids 0 to 96"):
        loss_and_gradients(config, params, Batch.of([[97, 1, 2]]))
    with pytest.raises(Refused, match="index_phase"):
        Settings(index_phase="warm")
    missing = {name: array for name, array in params.items() if name != "norm.weight"}
    with pytest.raises(Refused, match="norm.weight"):
        loss_and_gradients(config, missing, Batch.of([[1, 2, 3]]))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_routes_of_the_same_moment_change_nothing_and_others_are_obeyed(engine, rng):
    config = Config.tiny().replace(vocab_size=300)
    params, settings = random_tensors(config), Settings(engine=engine)
    batch = Batch.of([rng.integers(0, 300, n) for n in (40, 25)])
    now = loss_and_gradients(config, params, batch, settings)
    routes = routes_of(config, params, batch, settings)
    same = loss_and_gradients(config, params, batch, settings, routes)
    assert same.losses == now.losses and same.gradients.keys() == now.gradients.keys()
    assert all(same.gradients[name].tobytes() == gradient.tobytes() for name, gradient in now.gradients.items())
    learned = [layer for layer in range(config.n_layers) if not config.is_hash_layer(layer)]
    assert sorted(routes) == [*learned, config.n_layers]                # the last: the MTP block
    E = config.n_routed_experts
    others = {layer: (chosen + 1) % E for layer, chosen in routes.items()}
    moved = loss_and_gradients(config, params, batch, settings, others)
    assert moved.losses["next"] != now.losses["next"]
    for layer in moved.load:
        np.testing.assert_array_equal(moved.load[layer], np.roll(now.load[layer], 1))


def test_a_routers_gradient_is_right_for_experts_it_did_not_choose(rng):
    """In float64 against finite differences, as far as one step's loss goes: choices are fixed, weights are the router's own."""
    config = Config.tiny().replace(vocab_size=300)
    params = random_tensors(config)
    batch = Batch.of([rng.integers(0, 300, 40)])
    others = {layer: (chosen + 1) % config.n_routed_experts for layer, chosen in routes_of(config, params, batch, PLAIN).items()}
    name = f"layers.{config.n_layers - 1}.ffn.gate.weight"
    g = loss_and_gradients(config, params, batch, PLAIN, others).gradients[name]
    way, h = rng.standard_normal(g.shape).astype(np.float32), np.float32(1e-2)
    up, down = (loss_and_gradients(config, params | {name: params[name] + sign * h * way}, batch, PLAIN, others).losses["next"]
                for sign in (1, -1))
    assert np.vdot(g, way) == pytest.approx((up - down) / (2 * h), rel=0.02, abs=2e-4)
