"""Config: three spellings, one meaning; whatever is wrong is refused in a sentence."""

import dataclasses
import json
import math
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from v4mini.config import Config
from v4mini.shapes import Refused

PRESETS = ("flash", "pro", "mini", "bench", "tiny")
FIELDS = [field.name for field in dataclasses.fields(Config)]

# What transformers 5.23.0 wrote beside Config.tiny() without its MTP block. A parity test below sees that it is still so.
SAVED_BY_TRANSFORMERS = json.loads("""{
    "architectures": ["DeepseekV4ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": 0,
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 128},
    "compress_rope_theta": 160000.0, "dtype": "float32", "eos_token_id": 1, "expert_dtype": null, "hc_eps": 1e-06,
    "hc_mult": 4, "hc_sinkhorn_iters": 20, "head_dim": 24, "hidden_act": "silu", "hidden_size": 48, "index_head_dim": 16,
    "index_n_heads": 3, "index_topk": 7, "initializer_range": 0.02,
    "layer_types": ["compressed_sparse_attention", "sliding_attention", "heavily_compressed_attention",
                    "compressed_sparse_attention"],
    "max_position_embeddings": 1048576, "mlp_bias": false, "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
    "model_type": "deepseek_v4", "moe_intermediate_size": 40, "n_routed_experts": 5, "n_shared_experts": 1,
    "norm_topk_prob": true, "num_attention_heads": 6, "num_experts_per_tok": 2, "num_hidden_layers": 4,
    "num_key_value_heads": 1, "num_nextn_predict_layers": 0, "o_groups": 3, "o_lora_rank": 20,
    "output_router_logits": false, "pad_token_id": null, "partial_rotary_factor": 0.3333333333333333, "q_lora_rank": 36,
    "qk_rope_head_dim": 8, "rms_norm_eps": 1e-06,
    "rope_parameters": {
        "compress": {"attention_factor": 1.0, "beta_fast": 32.0, "beta_slow": 1.0, "factor": 16.0,
                     "original_max_position_embeddings": 64, "partial_rotary_factor": 0.3333333333333333,
                     "rope_theta": 160000.0, "rope_type": "yarn", "type": "yarn"},
        "main": {"partial_rotary_factor": 0.3333333333333333, "rope_theta": 10000.0, "rope_type": "default"}},
    "rope_theta": 10000.0, "routed_scaling_factor": 1.5, "router_aux_loss_coef": 0.001, "router_jitter_noise": 0.0,
    "scoring_func": "sqrtsoftplus", "sliding_window": 16, "swiglu_limit": 2.0, "tie_word_embeddings": false,
    "topk_method": "noaux_tc", "transformers_version": "5.23.0", "use_cache": true, "vocab_size": 97}""")


def preset(name):
    return getattr(Config, name)()


# ---- reading and writing ----

@pytest.mark.parametrize("name", PRESETS)
def test_each_spelling_comes_back_as_it_was(name):
    config = preset(name)
    assert Config.from_dict(config.to_dict()) == config
    assert Config.from_dict(config.to_released()) == config
    assert Config.from_dict(json.loads(json.dumps(config.to_released()))) == config


@pytest.mark.parametrize("name", PRESETS)
def test_the_file_in_data_is_the_preset(name):
    assert Config.load(Path(__file__).parents[1] / "data" / "configs" / f"{name}.json") == preset(name)


def test_what_transformers_saves_reads_as_the_same_config():
    assert Config.from_dict(SAVED_BY_TRANSFORMERS) == Config.tiny().replace(n_mtp_layers=0)


@pytest.mark.parametrize("left_out, share, rotated", [("qk_rope_head_dim", 8 / 24, 8), ("qk_rope_head_dim", 1, 24)])
def test_without_its_name_the_rotated_part_is_a_share_of_the_head(left_out, share, rotated):
    fields = {name: value for name, value in SAVED_BY_TRANSFORMERS.items() if name != left_out}
    config = Config.from_dict(fields | {"partial_rotary_factor": share, "index_head_dim": 32})
    assert config.rope_head_dim == rotated


@pytest.mark.parametrize("share", [0.0001, 2, -1, "half", math.nan, math.inf, [1], 10**400])
def test_a_rotated_share_that_is_none_is_refused(share):
    fields = {name: value for name, value in SAVED_BY_TRANSFORMERS.items() if name != "qk_rope_head_dim"}
    with pytest.raises(Refused, match="partial_rotary_factor|rope_head_dim"):
        Config.from_dict(fields | {"partial_rotary_factor": share})


@pytest.mark.parity
def test_what_transformers_saves_is_still_what_stands_here(tmp_path):
    from v4mini.proof.huggingface import transformers_model
    from v4mini.weights.random import random_tensors

    config = Config.tiny().replace(n_mtp_layers=0)
    transformers_model(random_tensors(config), config).config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    saved["transformers_version"] = SAVED_BY_TRANSFORMERS["transformers_version"]       # the same from 5.23.0 and 5.24.0
    # "architectures" is written with a whole model only
    assert {"architectures": ["DeepseekV4ForCausalLM"], "dtype": "float32"} | saved == SAVED_BY_TRANSFORMERS
    assert Config.load(tmp_path) == config or saved.get("dtype") is None


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_have_the_layer_kinds_of_the_table(name):
    wanted = {"flash": (2, 21, 20), "pro": (0, 30, 31), "mini": (2, 1, 1), "bench": (2, 2, 2), "tiny": (1, 2, 1)}[name]
    kinds = [preset(name).layer_kind(i) for i in range(preset(name).n_layers)]
    assert tuple(kinds.count(kind) for kind in ("window", "csa", "hca")) == wanted


def test_flash_has_csa_at_even_layers_and_pro_at_even_layers_from_2():
    flash, pro = Config.flash(), Config.pro()
    assert [i for i in range(43) if flash.layer_kind(i) == "csa"] == list(range(2, 43, 2))
    assert [i for i in range(61) if pro.layer_kind(i) == "csa"] == list(range(2, 61, 2))
    assert [i for i in range(43) if flash.is_hash_layer(i)] == [0, 1, 2]


def test_a_ratio_other_than_4_is_hca():
    config = Config.tiny().replace(compress_ratios=(4, 0, 8, 2, 0))
    assert [config.layer_kind(i) for i in range(5)] == ["csa", "window", "hca", "hca", "window"]


@pytest.mark.parametrize("changes, ratios, n_hash", [
    ({"n_layers": 2}, (4, 0, 0), 1), ({"n_mtp_layers": 0}, (4, 0, 128, 4), 1), ({"n_layers": 1, "n_mtp_layers": 0}, (4,), 1),
    ({"n_layers": 3, "n_hash_layers": 3}, (4, 0, 128, 0), 3)])
def test_replace_cuts_the_ratios_with_the_layers(changes, ratios, n_hash):
    config = Config.tiny().replace(**changes)
    assert config.compress_ratios == ratios and config.n_hash_layers == n_hash


def test_replace_checks_anew():
    with pytest.raises(Refused, match="config: o_groups must be a divisor of n_heads, got 4"):
        Config.tiny().replace(o_groups=4)


def test_ints_become_floats_where_floats_are_meant_so_that_equal_configs_are_equal():
    assert Config.tiny().replace(rope_theta=10000) == Config.tiny()


def test_a_config_is_a_value():
    assert len({Config.tiny(), Config.tiny(), Config.mini()}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config.tiny().dim = 3


# ---- refusals ----

WRONG = [True, 1.5, "7", None, [3], {}, -1, 2**63, 10**5000, math.nan, math.inf]
COUNTS = ["vocab_size", "dim", "moe_inter_dim", "n_layers", "n_heads", "n_routed_experts", "n_activated_experts", "q_lora_rank",
          "o_groups", "o_lora_rank", "index_topk", "head_dim", "rope_head_dim", "window_size", "index_n_heads", "index_head_dim",
          "hc_mult", "hc_sinkhorn_iters", "max_seq_len", "n_shared_experts"]
FLOATS = ["route_scale", "norm_eps", "rope_theta", "compress_rope_theta", "rope_factor", "beta_slow"]
ILLEGAL = [
    *[(name, value) for name in COUNTS for value in [*WRONG, 0]],
    *[(name, value) for name in ("n_hash_layers", "n_mtp_layers", "original_seq_len", "bos_id") for value in WRONG],
    *[("eos_id", value) for value in [*WRONG, [], [97], [1, 97], ["1"], [True], [1] * 100] if value != [3]],
    *[("more_eos_ids", value) for value in (3, None, [97], ["1"])],
    *[("n_dspark_layers", value) for value in (True, None, 3, 65, -1)],
    *[(name, value) for name in ("dspark_block_size", "dspark_markov_rank") for value in (True, 5, -1, 2.0)],
    *[("dspark_noise_token_id", value) for value in (97, -1, None)],
    *[("dspark_target_layer_ids", value) for value in (3, [4], ["a"])],
    *[(name, value) for name in FLOATS for value in (True, "7", None, [3.0], -1, 0, 10**5000, math.nan, math.inf)],
    *[(name, value) for name in ("swiglu_limit", "hc_eps") for value in (True, "7", None, [3.0], -1, math.nan, -math.inf)],
    *[("norm_eps", 1.0), ("hc_eps", 1.0), ("rope_theta", 1.0), ("rope_factor", 0.9), ("beta_slow", 33.0)],
    *[("rope_head_dim", value) for value in (7, 26, 1)],
    *[("compress_ratios", value) for value in (
        None, 4, "44440", {}, (), (4, 0, 128), (4, 0, 128, 4, 0, 4), (4, 0, 128, 4, 4), (4, 0, 1, 4, 0), (4, 0, -4, 4, 0),
        (4, 0, 128.0, 4, 0), (True, 0, 128, 4, 0), (4, 0, None, 4, 0), (4, 0, [4], 4, 0), (4, 0, 2**70, 4, 0))],
    *[(name, value) for name in ("dtype", "score_func", "scale_fmt") for value in ("f16", "", 8, None, True, ["fp8"])],
    *[("expert_dtype", value) for value in ("fp4", "fp8", "int4", 4, False)],      # tiny stores f32: FP4 would be an orphan
    *[("n_mtp_layers", 2), ("n_hash_layers", 5), ("n_activated_experts", 6), ("n_shared_experts", 2), ("o_groups", 4),
      ("bos_id", 97), ("eos_id", 97)],
]


@pytest.mark.parametrize("name, value", ILLEGAL, ids=lambda value: value if isinstance(value, str) else "")
def test_an_illegal_value_is_refused_in_one_sentence_with_its_field(name, value):
    with pytest.raises(Refused) as refused:
        Config.from_dict(Config.tiny().to_dict() | {name: value})
    message = str(refused.value)
    related = {"n_layers": "n_hash_layers|compress_ratios", "n_mtp_layers": "compress_ratios",
               "n_dspark_layers": "compress_ratios|dspark",
               "dspark_block_size": "dspark", "eos_id": "more_eos_ids", "more_eos_ids": "more_eos_ids", "bos_id": "vocab_size",
               "n_heads": "o_groups", "head_dim": "rope_head_dim", "index_head_dim": "rope_head_dim", "vocab_size": "eos_id",
               "n_routed_experts": "n_activated_experts"}
    assert message.startswith("config: ") and any(word in message for word in [name, *related.get(name, name).split("|")])
    assert ", got " in message and "\n" not in message and len(message) < 400


def test_every_field_has_an_illegal_value_above():
    assert {name for name, _ in ILLEGAL} >= set(FIELDS) - {"beta_fast"}


@pytest.mark.parametrize("name, value", [("dim", 200), ("moe_inter_dim", 100), ("q_lora_rank", 100), ("o_lora_rank", 100),
                                         ("head_dim", 100), ("index_head_dim", 48)])
def test_quantised_formats_have_size_rules_of_their_own(name, value):
    with pytest.raises(Refused, match=name):
        Config.mini().replace(**{name: value})
    Config.mini().replace(**{name: value}, dtype="bf16", expert_dtype=None)


@pytest.mark.parametrize("spelling", ["to_dict", "to_released"])
def test_missing_fields_are_listed_together(spelling):
    fields = getattr(Config.flash(), spelling)()
    gone = ["n_heads" if spelling == "to_dict" else "num_attention_heads", "head_dim", "vocab_size"]
    with pytest.raises(Refused) as refused:
        Config.from_dict({name: value for name, value in fields.items() if name not in gone})
    assert str(refused.value).startswith("config: missing head_dim, n_heads, vocab_size")


@pytest.mark.parametrize("name, value", [
    ("num_key_value_heads", 8), ("hidden_act", "gelu"), ("attention_bias", True), ("tie_word_embeddings", True),
    ("norm_topk_prob", False), ("topk_method", "greedy"), ("mlp_bias", True)])
def test_a_field_that_says_another_model_is_not_passed_over(name, value):
    with pytest.raises(Refused, match=f"config: {name} must be "):
        Config.from_dict(Config.flash().to_released() | {name: value})


@pytest.mark.parametrize("changes, word", [
    ({"layer_types": None}, "compress_ratios"), ({"layer_types": ["full_attention"] * 4}, "full_attention"),
    ({"layer_types": [3] * 4}, "layer_types"), ({"mlp_layer_types": ["moe", "hash_moe", "moe", "moe"]}, "mlp_layer_types"),
    ({"compress_rates": {"compressed_sparse_attention": 8}}, "compress_rates"), ({"compress_rates": [4]}, "compress_rates"),
    ({"layer_types": ["moe"] * 4}, "layer_types"), ({"rope_parameters": {"main": {}}}, "rope_parameters"),
    ({"layer_types": ["sliding_attention"] * 3}, "compress_ratios"), ({"quantization_config": {"quant_method": "awq"}}, "awq"),
    ({"quantization_config": 3}, "quant_method")], ids=str)
def test_a_foreign_config_of_transformers_is_refused(changes, word):
    with pytest.raises(Refused, match=word):
        Config.from_dict(SAVED_BY_TRANSFORMERS | changes)


@pytest.mark.parametrize("text, word", [
    (b"", "expected JSON"), (b"{", "expected JSON"), (b"[1]", "JSON object, got .1."), (b"null", "JSON object, got None"),
    (b"\xff\xfe{", "UTF-8"), (b"[" * 100_000, "nested too deeply"), (b'{"dim": ' + b"9" * 5000 + b"}", "expected JSON"),
    (b"{}", "missing"), (b" " * (5 << 20), "at most")],
    ids=["empty", "cut", "list", "null", "bytes", "deep", "digits", "nothing", "large"])
def test_a_file_that_is_no_config_is_refused(tmp_path, text, word):
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(Refused, match=word):
        Config.load(tmp_path)


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(Refused, match="no file .*config.json"):
        Config.load(tmp_path)
    with pytest.raises(Refused, match="no file .*nowhere"):
        Config.load(tmp_path / "nowhere")


# ---- anything at all ----

NUMBERS = st.integers() | st.sampled_from([2**31, 2**53, 2**63, 10**400]) | st.floats()
JSON = st.recursive(st.none() | st.booleans() | NUMBERS | st.text(max_size=8),
                    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=6),
                    max_leaves=12)
SPELLINGS = [Config.tiny().to_dict(), Config.mini().to_dict(), Config.mini().to_released(), SAVED_BY_TRANSFORMERS]
# a quick answer is part of the claim: a config of a billion layers is refused before a list of them is made
FUZZ = settings(derandomize=True, max_examples=120, deadline=timedelta(seconds=20), suppress_health_check=list(HealthCheck))


def read(fields):                                       # a Config that means the same in both spellings, or Refused
    try:
        config = Config.from_dict(fields)
    except Refused:
        return None
    assert Config.from_dict(config.to_dict()) == config
    again = Config.from_dict(config.to_released())
    if config.original_seq_len == 0:                    # without YaRN its settings mean nothing, and are not written
        config = config.replace(rope_factor=again.rope_factor, beta_fast=again.beta_fast, beta_slow=again.beta_slow)
    assert again == config
    return config


@FUZZ
@given(JSON)
def test_any_json_is_read_or_refused(value):
    assert read(value) is None


@FUZZ
@given(st.data())
def test_any_change_of_any_config_is_read_or_refused(data):
    fields = dict(data.draw(st.sampled_from(SPELLINGS)))
    for name in data.draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            fields[name] = data.draw(JSON)
        else:
            fields.pop(name, None)
    read(fields)


@FUZZ
@given(st.sampled_from(["layer_types", "mlp_layer_types", "compress_rates", "rope_parameters"]), st.data())
def test_any_change_inside_the_nested_fields_is_read_or_refused(name, data):
    nested = json.loads(json.dumps(SAVED_BY_TRANSFORMERS[name]))
    places = range(len(nested)) if isinstance(nested, list) else sorted(nested)
    nested[data.draw(st.sampled_from(places))] = data.draw(JSON)
    read(SAVED_BY_TRANSFORMERS | {name: nested})


@FUZZ
@given(st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 300) | st.floats(0, 300), min_size=1, max_size=3))
def test_likely_changes_too(changes):
    read(Config.tiny().to_dict() | changes)


def test_replace_checks_what_it_is_given():
    with pytest.raises(Refused, match="n_layers must be an integer"):
        Config.flash().replace(n_layers="one")
    assert Config.flash().replace(n_layers=1, n_mtp_layers=0).compress_ratios == (0,)


def test_transformers_computes_with_the_nested_base():
    saved = Config.tiny().to_released() | {"rope_scaling": None,
        "layer_types": ["compressed_sparse_attention", "sliding_attention", "heavily_compressed_attention",
                        "compressed_sparse_attention"], "mlp_layer_types": ["hash_moe", "moe", "moe", "moe"],
        "compress_rates": {"heavily_compressed_attention": 128},
        "rope_parameters": {"main": {"rope_theta": 123.0}, "compress": {"rope_theta": 456.0, "rope_type": "default"}}}
    config = Config.from_dict(saved)
    assert (config.rope_theta, config.compress_rope_theta, config.original_seq_len) == (123.0, 456.0, 0)


@pytest.mark.parametrize("theirs, value", [("max_position_embeddings", None), ("num_key_value_heads", 2), ("bos_token_id", None),
                                           ("sliding_window", 0), ("index_topk", "8"), ("num_experts_per_tok", 99)])
def test_a_refusal_says_the_name_that_stands_in_the_file(theirs, value):
    with pytest.raises(Refused) as error:
        Config.from_dict(Config.mini().to_released() | {theirs: value})
    assert theirs in str(error.value) and str(error.value).count(theirs) == 1
