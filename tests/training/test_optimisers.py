"""Who updates which tensor, for every kind of tensor there is; clipping; the balance rule."""

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.training.losses import update_bias
from v4mini.training.optimisers import Optimisers, clip, independent_rows, layer_of, learner
from v4mini.weights.random import random_tensors
from v4mini.weights.spec import tensors

# Every kind of tensor of V4 by its last words, and who learns it: written out, so that a new kind fails here.
WHO = {
    "embed.weight": "adamw", "head.weight": "adamw", "norm.weight": "adamw", "attn_norm.weight": "adamw",
    "ffn_norm.weight": "adamw", "q_norm.weight": "adamw", "kv_norm.weight": "adamw", "enorm.weight": "adamw",
    "hnorm.weight": "adamw", "attn_sink": "adamw", "compressor.ape": "adamw", "compressor.norm.weight": "adamw",
    "hc_attn_base": "adamw", "hc_attn_scale": "adamw", "hc_ffn_base": "adamw", "hc_ffn_scale": "adamw",
    "hc_head_base": "adamw", "hc_head_scale": "adamw",
    "hc_attn_fn": "muon", "hc_ffn_fn": "muon", "hc_head_fn": "muon", "wq_a.weight": "muon", "wq_b.weight": "muon",
    "wkv.weight": "muon", "wo_a.weight": "muon", "wo_b.weight": "muon", "compressor.wkv.weight": "muon",
    "compressor.wgate.weight": "muon", "indexer.wq_b.weight": "muon", "weights_proj.weight": "muon", "gate.weight": "muon",
    "w1.weight": "muon", "w2.weight": "muon", "w3.weight": "muon", "e_proj.weight": "muon", "h_proj.weight": "muon",
    "gate.bias": "balance", "gate.tid2eid": None,
}


def kind_of(name):                                      # the longest ending that the table knows
    return max((ending for ending in WHO if name == ending or name.endswith("." + ending)), key=len)


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini(), Config.flash()], ids=["tiny", "mini", "flash"])
def test_every_tensor_has_its_learner(config):
    for spec in tensors(config):
        assert learner(spec) == WHO[kind_of(spec.name)], spec.name
    assert {kind_of(spec.name) for spec in tensors(config)} == WHO.keys()


def test_rows_that_are_matrices_of_their_own():
    config = Config.tiny()                              # 3 output groups of 20, 4 streams; layers csa, window, hca, csa
    rows = {spec.name: independent_rows(spec, config) for spec in tensors(config)}
    assert rows["layers.1.attn.wo_a.weight"] == [slice(0, 20), slice(20, 40), slice(40, 60)]
    assert rows["layers.0.attn.compressor.wkv.weight"] == [slice(0, 24), slice(24, 48)]
    assert rows["layers.3.attn.indexer.compressor.wgate.weight"] == [slice(0, 16), slice(16, 32)]
    assert rows["layers.2.attn.compressor.wkv.weight"] == [slice(0, 24)]
    assert rows["mtp.0.hc_ffn_fn"] == [slice(0, 4), slice(4, 8), slice(8, 24)]
    assert rows["hc_head_fn"] == [slice(0, 4)]
    assert rows["layers.0.ffn.experts.2.w1.weight"] == [slice(0, 40)]
    for spec in tensors(config):
        if learner(spec) == "muon":                     # no row twice, none forgotten
            assert [n for part in rows[spec.name] for n in range(part.start, part.stop)] == list(range(spec.shape[0]))


def test_layers_have_numbers_and_mtp_comes_after_the_last():
    config = Config.tiny()
    names = ("layers.3.ffn.gate.bias", "mtp.0.ffn.gate.bias", "embed.weight", "hc_head_fn")
    assert [layer_of(name, config) for name in names] == [3, 4, None, None]


def test_one_step_moves_everything_that_learns_and_nothing_else(rng):
    config = Config.tiny()
    params = random_tensors(config)
    before = {name: values.copy() for name, values in params.items()}
    gradients = {name: rng.standard_normal(values.shape, np.float32) for name, values in params.items()
                 if values.dtype == np.float32 and not name.endswith("gate.bias")}
    load = {layer: np.array([9, 1, 3, 0, 2]) for layer in range(5)}
    Optimisers(config, params).step(params, gradients, load, 0.01)
    for name, values in params.items():
        moved = not np.array_equal(values, before[name])
        assert moved == (not name.endswith("tid2eid")), name
    np.testing.assert_allclose(params["mtp.0.ffn.gate.bias"] - before["mtp.0.ffn.gate.bias"],
                               [-0.001, 0.001, 0, 0.001, 0.001], atol=1e-7)


def test_the_bias_evens_out_a_lopsided_gate(rng):
    affinities = rng.random((4000, 8)) + np.linspace(0, 0.5, 8)
    bias, loads = np.zeros(8, np.float32), []
    for _ in range(600):
        chosen = np.argsort(-(affinities + bias), axis=1)[:, :2]
        loads.append(np.bincount(chosen.ravel(), minlength=8))
        bias = update_bias(bias, loads[-1], 0.001)
    assert loads[0].max() / loads[0].mean() > 2 and loads[-1].max() / loads[-1].mean() < 1.05


def test_clipping_keeps_directions(rng):
    gradients = {"a": rng.standard_normal((3, 4)).astype(np.float32), "b": rng.standard_normal(5).astype(np.float32)}
    flat = np.concatenate([gradients["a"].ravel(), gradients["b"]])
    shorter, norm = clip(gradients, 0.5)
    assert norm == pytest.approx(np.linalg.norm(flat), rel=1e-6)
    got = np.concatenate([shorter["a"].ravel(), shorter["b"]])
    np.testing.assert_allclose(got, flat * 0.5 / np.linalg.norm(flat), rtol=1e-5)
    assert clip(gradients, 100)[0] is gradients         # short enough: left as they are
