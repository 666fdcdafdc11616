"""Weights as nouns: each released name has one place, and each place one name."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest

from v4mini.config import Config
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused
from v4mini.weights.random import random_tensors
from v4mini.weights.spec import tensors
from v4mini.weights.tree import build


def leaves(node):                                       # every array and matrix below a noun
    if isinstance(node, np.ndarray | Matrix):
        yield node
    elif isinstance(node, tuple):
        for item in node:
            yield from leaves(item)
    elif dataclasses.is_dataclass(node):
        for field in dataclasses.fields(node):
            yield from leaves(getattr(node, field.name))


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini()], ids=["tiny", "mini"])
def test_every_tensor_is_asked_for_and_ends_up_somewhere(config):
    made, asked = random_tensors(config), set()

    def tensor(name):
        asked.add(name)
        return made.get(name)
    weights = build(config, tensor)
    assert set(made) <= asked
    numbers = {id(leaf): leaf.shape[0] * leaf.shape[1] if isinstance(leaf, Matrix) else leaf.size for leaf in leaves(weights)}
    assert sum(numbers.values()) == sum(spec.size for spec in tensors(config))      # head.weight, in two places, counts once


def test_a_noun_is_the_tensor_of_that_name():
    made = random_tensors(Config.tiny())
    w = build(Config.tiny(), made.get)
    for got, name in [
            (w.embed, "embed.weight"), (w.head.weight, "head.weight"), (w.head.norm, "norm.weight"),
            (w.head.hc_head.base, "hc_head_base"), (w.layers[1].hc_attn.fn, "layers.1.hc_attn_fn"),
            (w.layers[1].hc_ffn.scale, "layers.1.hc_ffn_scale"), (w.layers[2].ffn_norm, "layers.2.ffn_norm.weight"),
            (w.layers[3].attn.wo_a, "layers.3.attn.wo_a.weight"), (w.layers[3].attn.attn_sink, "layers.3.attn.attn_sink"),
            (w.layers[2].attn.compressor.ape, "layers.2.attn.compressor.ape"),
            (w.layers[0].attn.compressor.wgate, "layers.0.attn.compressor.wgate.weight"),
            (w.layers[0].attn.indexer.compressor.wkv, "layers.0.attn.indexer.compressor.wkv.weight"),
            (w.layers[0].attn.indexer.weights_proj, "layers.0.attn.indexer.weights_proj.weight"),
            (w.layers[0].ffn.gate.tid2eid, "layers.0.ffn.gate.tid2eid"), (w.layers[1].ffn.gate.bias, "layers.1.ffn.gate.bias"),
            (w.layers[1].ffn.experts[4].w3, "layers.1.ffn.experts.4.w3.weight"),
            (w.layers[1].ffn.shared_experts.w2, "layers.1.ffn.shared_experts.w2.weight"),
            (w.mtp.e_proj, "mtp.0.e_proj.weight"), (w.mtp.h_proj, "mtp.0.h_proj.weight"), (w.mtp.enorm, "mtp.0.enorm.weight"),
            (w.mtp.hnorm, "mtp.0.hnorm.weight"), (w.mtp.head.norm, "mtp.0.norm.weight"),
            (w.mtp.block.attn.wkv, "mtp.0.attn.wkv.weight"), (w.mtp.head.hc_head.fn, "mtp.0.hc_head_fn")]:
        assert np.array_equal(got.dense() if isinstance(got, Matrix) else got, made[name]), name


def test_what_a_layer_does_not_have_is_none():
    w = build(Config.tiny(), random_tensors(Config.tiny()).get)
    assert [(b.attn.compressor is None, b.attn.indexer is None) for b in w.layers] == [
        (False, False), (True, True), (False, True), (False, False)]
    assert [(b.ffn.gate.bias is None, b.ffn.gate.tid2eid is None) for b in w.layers] == [(True, False)] + [(False, True)] * 3
    config = Config.tiny().replace(n_mtp_layers=0)
    assert build(config, random_tensors(config).get).mtp is None


def test_the_mtp_block_shares_embedding_and_head_matrix():
    w = build(Config.tiny(), random_tensors(Config.tiny()).get)
    assert w.mtp.head.weight is w.head.weight and w.mtp.head.hc_head is not w.head.hc_head


def test_matrices_stay_as_stored_and_vectors_become_float32():
    w = build(Config.mini(), random_tensors(Config.mini()).get, keep=False)
    assert {w.embed.format, w.layers[0].attn.wkv.format, w.layers[0].ffn.experts[0].w1.format} == {"bf16", "fp8", "fp4"}
    assert w.layers[0].attn_norm.dtype == w.layers[0].attn.attn_sink.dtype == np.float32


def test_half_precision_of_other_makers_is_read_as_float32():
    made = random_tensors(Config.tiny())
    halves = {name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in made.items()}
    w = build(Config.tiny(), halves.get)
    assert np.array_equal(w.embed.dense(), halves["embed.weight"].astype(np.float32)) and w.head.norm.dtype == np.float32


def test_a_decoded_matrix_is_remembered_only_where_asked(rng):
    codes = {name: array.astype(ml_dtypes.bfloat16) if array.dtype == np.float32 else array
             for name, array in random_tensors(Config.tiny()).items()}
    kept, fresh = (build(Config.tiny(), codes.get, keep).embed for keep in (True, False))
    assert kept.dense() is kept.dense() and fresh.dense() is not fresh.dense()


def test_a_hash_table_that_names_no_expert_is_refused():
    tensors = random_tensors(Config.tiny())
    tensors["layers.0.ffn.gate.tid2eid"] = tensors["layers.0.ffn.gate.tid2eid"].copy()
    tensors["layers.0.ffn.gate.tid2eid"][3, 0] = -1
    with pytest.raises(Refused, match="tid2eid: expected experts 0 to 4, got -1"):
        build(Config.tiny(), tensors.get)
