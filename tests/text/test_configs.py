"""data/configs: the presets in the release's spelling, and the released ones field by field."""

import json
from pathlib import Path

import pytest

from v4mini.config import Config

FOLDER = Path(__file__).parents[2] / "data" / "configs"

SHARED = {                                      # the released config.json of both
    "num_key_value_heads": 1, "head_dim": 512, "qk_rope_head_dim": 64, "o_lora_rank": 1024, "num_experts_per_tok": 6,
    "n_shared_experts": 1, "num_hash_layers": 3, "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc",
    "norm_topk_prob": True, "swiglu_limit": 10.0, "index_n_heads": 64, "index_head_dim": 128, "sliding_window": 128,
    "rope_theta": 10000, "compress_rope_theta": 160000, "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6,
    "rms_norm_eps": 1e-6, "max_position_embeddings": 1048576, "vocab_size": 129280, "bos_token_id": 0, "eos_token_id": 1,
    "tie_word_embeddings": False, "num_nextn_predict_layers": 1, "attention_bias": False, "attention_dropout": 0.0,
    "hidden_act": "silu", "torch_dtype": "bfloat16", "expert_dtype": "fp4", "model_type": "deepseek_v4",
    "architectures": ["DeepseekV4ForCausalLM"],
    "rope_scaling": {"type": "yarn", "factor": 16, "original_max_position_embeddings": 65536, "beta_fast": 32, "beta_slow": 1},
    "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                            "weight_block_size": [128, 128], "scale_fmt": "ue8m0"},
}
FLASH = SHARED | {
    "hidden_size": 4096, "num_hidden_layers": 43, "num_attention_heads": 64, "q_lora_rank": 1024, "o_groups": 8,
    "n_routed_experts": 256, "moe_intermediate_size": 2048, "routed_scaling_factor": 1.5, "index_topk": 512,
    "compress_ratios": [0, 0] + [4, 128] * 20 + [4] + [0],
}
PRO = SHARED | {
    "hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "q_lora_rank": 1536, "o_groups": 16,
    "n_routed_experts": 384, "moe_intermediate_size": 3072, "routed_scaling_factor": 2.5, "index_topk": 1024,
    "compress_ratios": [128, 128] + [4, 128] * 29 + [4] + [0],
}
KINDS = {"flash": {"window": 2, "csa": 21, "hca": 20}, "pro": {"window": 0, "csa": 30, "hca": 31}}


def fields(name):
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["flash", "pro", "mini", "bench", "tiny"])
def test_a_file_loads_as_its_preset(name):
    preset = getattr(Config, name)()
    assert Config.load(FOLDER / f"{name}.json") == preset
    assert fields(name) == preset.to_released()


@pytest.mark.parametrize("name, published", [("flash", FLASH), ("pro", PRO)])
def test_a_released_config_is_what_was_published(name, published):
    assert fields(name) == published


@pytest.mark.parametrize("name", ["flash", "pro"])
def test_the_main_layers_are_of_the_published_kinds(name):
    config = Config.load(FOLDER / f"{name}.json")
    kinds = [config.layer_kind(layer) for layer in range(config.n_layers)]
    assert {kind: kinds.count(kind) for kind in ("window", "csa", "hca")} == KINDS[name]
    assert config.layer_kind(config.n_layers) == "window", "the MTP block"


def test_no_other_file_lies_there():
    assert {path.stem for path in FOLDER.iterdir()} == {"flash", "pro", "mini", "bench", "tiny"}
