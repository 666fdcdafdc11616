"""Every spelling of every tensor leads to the released one, and the values with it."""

import numpy as np
import pytest

from v4mini.shapes import Refused
from v4mini.weights.names import HfSlice, Source, resolve, to_hf, to_native
from v4mini.weights.store import open_store, write_store

# What transformers 5.23.0 wrote for a model of three layers: CSA with hash routing, HCA, window; two experts. Copied from its
# files: the top, then what all layers have, then what a kind of layer has besides. A parity test below sees that it is still so.
RELEASED = {
    "top": "embed.weight head.weight norm.weight hc_head_base hc_head_fn hc_head_scale",
    "all": "attn.attn_sink attn.kv_norm.weight attn.q_norm.weight attn.wkv.weight attn.wo_a.weight attn.wo_b.weight "
           "attn.wq_a.weight attn.wq_b.weight attn_norm.weight ffn.gate.weight ffn.shared_experts.w1.weight "
           "ffn.shared_experts.w2.weight ffn.shared_experts.w3.weight ffn_norm.weight hc_attn_base hc_attn_fn hc_attn_scale "
           "hc_ffn_base hc_ffn_fn hc_ffn_scale",
    "hash": "ffn.gate.tid2eid",
    "bias": "ffn.gate.bias",
    "compressor": "attn.compressor.ape attn.compressor.norm.weight attn.compressor.wgate.weight attn.compressor.wkv.weight",
    "indexer": "attn.indexer.compressor.ape attn.indexer.compressor.norm.weight attn.indexer.compressor.wgate.weight "
               "attn.indexer.compressor.wkv.weight attn.indexer.weights_proj.weight attn.indexer.wq_b.weight",
    "experts": "ffn.experts.0.w1.weight ffn.experts.0.w2.weight ffn.experts.0.w3.weight ffn.experts.1.w1.weight "
               "ffn.experts.1.w2.weight ffn.experts.1.w3.weight",
}
# save_pretrained() of a model made from a config, or loaded from released names.
SAVED = RELEASED | {
    "top": "model.embed_tokens.weight head.weight model.norm.weight model.hc_head.hc_base model.hc_head.hc_fn "
           "model.hc_head.hc_scale",
    "all": RELEASED["all"].replace("attn.kv_norm.weight", "attn.norm.weight"),
}
# save_pretrained(save_original_format=False), the names of state_dict(). Same order as above.
IN_MEMORY = {
    "top": "model.embed_tokens.weight lm_head.weight model.norm.weight model.hc_head.hc_base model.hc_head.hc_fn "
           "model.hc_head.hc_scale",
    "all": "self_attn.sinks self_attn.kv_norm.weight self_attn.q_a_norm.weight self_attn.kv_proj.weight "
           "self_attn.o_a_proj.weight self_attn.o_b_proj.weight self_attn.q_a_proj.weight self_attn.q_b_proj.weight "
           "input_layernorm.weight mlp.gate.weight mlp.shared_experts.gate_proj.weight mlp.shared_experts.down_proj.weight "
           "mlp.shared_experts.up_proj.weight post_attention_layernorm.weight attn_hc.base attn_hc.fn attn_hc.scale "
           "ffn_hc.base ffn_hc.fn ffn_hc.scale",
    "hash": "mlp.gate.tid2eid",
    "bias": "mlp.gate.e_score_correction_bias",
    "compressor": "self_attn.compressor.position_bias self_attn.compressor.kv_norm.weight "
                  "self_attn.compressor.gate_proj.weight self_attn.compressor.kv_proj.weight",
    "indexer": "self_attn.compressor.indexer.position_bias self_attn.compressor.indexer.kv_norm.weight "
               "self_attn.compressor.indexer.gate_proj.weight self_attn.compressor.indexer.kv_proj.weight "
               "self_attn.compressor.indexer.scorer.weights_proj.weight self_attn.compressor.indexer.q_b_proj.weight",
    "experts": "mlp.experts.gate_up_proj mlp.experts.down_proj",
}
# Such a file loaded with from_pretrained() and saved again: in-memory names, but every kv_norm became norm.
SAVED_AGAIN = {kind: names.replace("kv_norm", "norm") for kind, names in IN_MEMORY.items()}
LAYERS = ["all hash compressor indexer experts", "all bias compressor experts", "all bias experts"]


def spelled(table, prefix):     # -> names of the three-layer model
    layers = [(layer, kind) for layer, kinds in enumerate(LAYERS) for kind in kinds.split()]
    return table["top"].split() + [f"{prefix}layers.{layer}.{leaf}" for layer, kind in layers for leaf in table[kind].split()]


NATIVE, IN_MEMORY_NAMES = spelled(RELEASED, ""), spelled(IN_MEMORY, "model.")
ONE_TO_ONE = list(zip(spelled(RELEASED | {"experts": ""}, ""), spelled(IN_MEMORY | {"experts": ""}, "model."), strict=True))


@pytest.mark.parametrize("native, hf", ONE_TO_ONE)
def test_released_and_in_memory_names_are_each_others_inverse(native, hf):
    assert (to_native(hf), to_hf(native)) == (native, hf)
    assert to_native(native) == native and to_native("model." + native) == native


@pytest.mark.parametrize("table", [SAVED, RELEASED], ids=["saved", "released"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_save_pretrained_writes_is_found(table, prefix):
    assert [to_native(name) for name in spelled(table, prefix)] == NATIVE
    assert list(resolve(spelled(table, prefix))) == NATIVE


@pytest.mark.parametrize("table", [IN_MEMORY, SAVED_AGAIN], ids=["in memory", "saved again"])
def test_what_it_writes_with_fused_experts_is_found(table):
    names = spelled(table, "model.")
    tensors = {name: np.empty((2, 6, 4) if "gate_up" in name else (2, 4, 3)) for name in names}
    assert resolve(tensors).keys() == set(NATIVE)
    base_model = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    assert resolve(base_model).keys() == set(NATIVE)


def test_one_leaf_means_three_tensors():
    here = "model.layers.7.self_attn."
    assert to_native(here + "kv_norm.weight") == "layers.7.attn.kv_norm.weight"
    assert to_native(here + "compressor.kv_norm.weight") == "layers.7.attn.compressor.norm.weight"
    assert to_native(here + "compressor.indexer.kv_norm.weight") == "layers.7.attn.indexer.compressor.norm.weight"


def test_scales_follow_their_weights():
    assert to_native("model.layers.0.self_attn.q_a_proj.weight_scale_inv") == "layers.0.attn.wq_a.scale"
    assert to_hf("layers.0.attn.wq_a.scale") == "model.layers.0.self_attn.q_a_proj.weight_scale_inv"
    assert to_native("model.layers.0.mlp.experts.11.up_proj.weight_scale_inv") == "layers.0.ffn.experts.11.w3.scale"
    assert to_hf("layers.0.ffn.experts.11.w3.scale") == HfSlice("model.layers.0.mlp.experts.gate_up_proj_scale_inv", 11, 1)


@pytest.mark.parametrize("name", [
    "mtp.0.e_proj.weight", "mtp.0.h_proj.scale", "mtp.0.enorm.weight", "mtp.0.norm.weight", "mtp.0.hc_head_fn",
    "mtp.0.attn.kv_norm.weight", "mtp.0.ffn.experts.3.w2.scale", "mtp.0.ffn.gate.bias"])
def test_mtp_keeps_its_one_spelling(name):
    assert to_native(name) == to_native("model." + name) == to_hf(name) == name


@pytest.mark.parametrize("name", [
    "", "model.", "model.foo", "layers.0", "layers.0.", "layers.00.attn_norm.weight", "layers.-1.attn_norm.weight",
    "layers.0.attn.norm.bias", "layers.0.kv_norm.weight", "model.layers.0.self_attn.rotary_emb.inv_freq",
    "layers.0.ffn.experts.01.w1.weight", "layers.0.ffn.experts.1.w4.weight", "layers.٣.attn_norm.weight",
    "layers.0.attn_norm.weight\n", "model.model.norm.weight", "layers.0.e_proj.weight", "lm_head.bias"])
def test_a_name_that_is_nobodys_stays_as_it_is(name):
    assert to_native(name) == to_hf(name) == name
    assert resolve([name]) == {name: Source(name)}


def test_a_fused_tensor_is_cut_into_its_experts_without_a_copy():
    gate_up, down = np.arange(2 * 6 * 4).reshape(2, 6, 4), np.arange(2 * 4 * 3).reshape(2, 4, 3)
    stored = {"model.layers.5.mlp.experts.gate_up_proj": gate_up, "model.layers.5.mlp.experts.down_proj": down}
    found = {name: source.of(stored) for name, source in resolve(stored).items()}
    assert list(found) == [f"layers.5.ffn.experts.{where}.weight" for where in ("0.w1", "0.w3", "1.w1", "1.w3", "0.w2", "1.w2")]
    for expert in (0, 1):
        part = {w: found[f"layers.5.ffn.experts.{expert}.{w}.weight"] for w in ("w1", "w2", "w3")}
        assert np.array_equal(part["w1"], gate_up[expert, :3]) and np.array_equal(part["w3"], gate_up[expert, 3:])
        assert np.array_equal(part["w2"], down[expert])
        assert np.shares_memory(part["w3"], gate_up)


@pytest.mark.parametrize("shape", [(2, 7, 4), (6, 4), (), (10**6, 0, 0)])
def test_a_fused_tensor_that_cannot_be_cut_is_refused(shape):
    with pytest.raises(Refused, match=r"gate_up_proj: expected \[experts, 2 \* inter, D\]"):
        resolve({"layers.0.mlp.experts.gate_up_proj": np.empty(shape)})


def test_fused_experts_need_more_than_names():
    with pytest.raises(Refused, match="give a mapping"):
        resolve(["layers.0.mlp.experts.gate_up_proj"])


@pytest.mark.parametrize("one, two", [("head.weight", "lm_head.weight"), ("norm.weight", "model.norm.weight"),
                                      ("layers.0.attn.norm.weight", "layers.0.attn.kv_norm.weight"),
                                      ("layers.0.mlp.experts.down_proj", "layers.0.ffn.experts.1.w2.weight")])
def test_two_names_for_one_tensor_are_refused_with_both_named(one, two):
    with pytest.raises(Refused, match=f"{one}.*{two}"):
        resolve({one: np.empty((2, 4, 4)), two: np.empty((4, 4))})


def test_resolving_a_store_reads_only_its_headers(tmp_path):
    row = ("model.layers.0.mlp.experts.down_proj", "F32", (2, 3, 1), lambda: [np.arange(6, dtype=np.float32)])
    write_store(tmp_path, [row])
    with open_store(tmp_path) as store:
        found = resolve(store.entries())
        assert store._files[tmp_path / "model.safetensors"]._map is None
        assert found["layers.0.ffn.experts.1.w2.weight"].of(store).tolist() == [[3], [4], [5]]


W, C, H = "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"


def hf_model(kinds, hash_layers, experts=2):
    """A small random model of transformers; no two of its sides are equal, so a wrong tensor rarely fits."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = transformers.DeepseekV4Config(
        vocab_size=32, hidden_size=24, moe_intermediate_size=10, num_hidden_layers=len(kinds), num_attention_heads=4, head_dim=16,
        qk_rope_head_dim=4, q_lora_rank=12, n_routed_experts=experts, num_experts_per_tok=2, layer_types=kinds, sliding_window=8,
        num_hash_layers=hash_layers, o_groups=2, o_lora_rank=14, index_n_heads=3, index_head_dim=8, index_topk=2)
    model = transformers.DeepseekV4ForCausalLM(config)
    with torch.no_grad():
        for tensor in model.state_dict().values():      # drawn anew, or all norms would be ones and all biases zeros
            tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.randint(0, experts, tensor.shape))
    return model


def hf_values(model, native):   # -> array, from state_dict
    where = to_hf(native)
    if isinstance(where, str):
        return model.state_dict()[where].numpy()
    tensor = model.state_dict()[where.name][where.expert].numpy()
    return tensor if where.part is None else np.split(tensor, 2)[where.part]


def assert_holds(folder, model):
    """The folder holds the model: every tensor found, every value equal, nothing left over."""
    with open_store(folder) as store:
        found = resolve(store.entries())
        for native, source in found.items():
            assert np.array_equal(source.of(store), hf_values(model, native)), native
        assert sum(source.of(store).size for source in found.values()) == sum(t.numel() for t in model.state_dict().values())


@pytest.mark.parity
@pytest.mark.parametrize("kinds, hash_layers, experts", [
    ([C, H, W], 1, 2), ([W, W, C, H, C], 3, 3), ([H, H, C], 0, 2), ([C], 1, 12), ([H, C], 2, 2)])
@pytest.mark.parametrize("how", [{}, {"save_original_format": False}, {"max_shard_size": "8KB"}], ids=str)
def test_whatever_transformers_saves_we_find_with_its_values(tmp_path, kinds, hash_layers, experts, how):
    model = hf_model(kinds, hash_layers, experts)
    model.save_pretrained(tmp_path / "saved", **how)
    assert_holds(tmp_path / "saved", model)
    again = type(model).from_pretrained(tmp_path / "saved")
    again.save_pretrained(tmp_path / "again", **how)
    assert_holds(tmp_path / "again", model)


@pytest.mark.parity
def test_the_names_written_down_here_are_still_the_ones_it_saves(tmp_path):
    model = hf_model([C, H, W], 1)
    model.save_pretrained(tmp_path / "default")
    model.save_pretrained(tmp_path / "memory", save_original_format=False)
    type(model).from_pretrained(tmp_path / "memory").save_pretrained(tmp_path / "again")
    model.model.save_pretrained(tmp_path / "base")
    assert set(open_store(tmp_path / "default")) == set(spelled(SAVED, "model."))
    assert set(open_store(tmp_path / "memory")) == set(IN_MEMORY_NAMES) == set(model.state_dict())
    assert set(open_store(tmp_path / "again")) == set(spelled(SAVED_AGAIN, "model."))
    assert set(map(to_native, open_store(tmp_path / "base"))) == set(NATIVE) - {"head.weight"}


@pytest.mark.parity
def test_transformers_loads_what_we_write_under_released_names(tmp_path):
    model = hf_model([C, H, W], 1)
    model.save_pretrained(tmp_path / "theirs")
    model.config.save_pretrained(tmp_path / "ours")
    with open_store(tmp_path / "theirs") as store:
        arrays = {native: source.of(store) for native, source in resolve(store.entries()).items()}
        rows = [(name, "I64" if array.dtype == np.int64 else "F32", array.shape, lambda array=array: [array])
                for name, array in arrays.items()]
        write_store(tmp_path / "ours", rows, shard_bytes=30_000, metadata={"format": "pt"})
    loaded, report = type(model).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    for name, tensor in model.state_dict().items():
        assert np.array_equal(loaded.state_dict()[name].numpy(), tensor.numpy()), name
