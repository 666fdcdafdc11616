"""The fields of a published config, by name: which mean something here, which have one legal value, which change no number.

Sources: the release's config.json and inference/config.json; DeepseekV4Config of transformers 5.23 and 5.24.
Not here: how they are read (reading.py), the rotation's fields (rotation.py).
"""

RELEASED = {                                # the release's name -> ours
    "vocab_size": "vocab_size", "hidden_size": "dim", "moe_intermediate_size": "moe_inter_dim",
    "num_hidden_layers": "n_layers", "num_hash_layers": "n_hash_layers", "num_nextn_predict_layers": "n_mtp_layers",
    "num_attention_heads": "n_heads", "n_routed_experts": "n_routed_experts", "n_shared_experts": "n_shared_experts",
    "num_experts_per_tok": "n_activated_experts", "scoring_func": "score_func", "routed_scaling_factor": "route_scale",
    "swiglu_limit": "swiglu_limit", "q_lora_rank": "q_lora_rank", "head_dim": "head_dim",
    "qk_rope_head_dim": "rope_head_dim", "rms_norm_eps": "norm_eps", "o_groups": "o_groups",
    "o_lora_rank": "o_lora_rank", "sliding_window": "window_size", "compress_ratios": "compress_ratios",
    "rope_theta": "rope_theta", "compress_rope_theta": "compress_rope_theta", "index_n_heads": "index_n_heads",
    "index_head_dim": "index_head_dim", "index_topk": "index_topk", "hc_mult": "hc_mult",
    "hc_sinkhorn_iters": "hc_sinkhorn_iters", "hc_eps": "hc_eps", "max_position_embeddings": "max_seq_len",
    "bos_token_id": "bos_id", "eos_token_id": "eos_id",
}

# Second names that transformers accepts for the same field (its attribute_map).
ALIASES = {"num_local_experts": "n_routed_experts", "intermediate_size": "moe_intermediate_size"}

# Absent in some published files, with the one value that the reference's ModelArgs and transformers agree on.
DEFAULTS = {"norm_eps": 1e-6, "hc_eps": 1e-6, "n_mtp_layers": 1, "n_shared_experts": 1, "score_func": "sqrtsoftplus",
            "beta_fast": 32.0, "beta_slow": 1.0, "max_seq_len": 1048576, "bos_id": 0, "eos_id": 1, "dtype": "fp8",
            "scale_fmt": "ue8m0", "expert_dtype": None}

# The drafter of the release of 31 July 2026: same names in both of its files.
DSPARK = ("dspark_block_size", "dspark_noise_token_id", "dspark_target_layer_ids", "dspark_markov_rank")

FIXED = {                                   # fields that could ask for another model, and V4's only value
    "num_key_value_heads": 1, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "norm_topk_prob": True,
    "topk_method": "noaux_tc", "tie_word_embeddings": False, "n_group": 1, "topk_group": 1,
}

# Fields of the architecture that came after. An empty value (0, null, false, []) says nothing and is passed over.
FOREIGN = dict.fromkeys((
    "kv_source_layer_ids", "index_source_layer_ids", "candidate_source_layer_id", "candidate_topk_blocks",
    "candidate_block_size", "engram_layer_ids", "engram_num_embeddings", "engram_vocab_size", "engram_head_dim",
    "engram_n_heads", "engram_max_ngram_size", "dspark_n_routed_experts", "dspark_num_experts_per_tok"), "V4.1")

# Known, and of no effect on the numbers of a forward pass: {field: what it is for}.
NO_EFFECT = dict.fromkeys((
    "_name_or_path", "name_or_path", "architectures", "auto_map", "model_type", "transformers_version", "torch_dtype",
    "dtype", "use_cache", "initializer_range", "attention_dropout", "output_router_logits", "router_aux_loss_coef",
    "router_jitter_noise", "aux_loss_alpha", "seq_aux", "pretraining_tp", "pad_token_id", "unsloth_version",
    "return_dict", "output_attentions", "output_hidden_states", "torchscript", "chunk_size_feed_forward", "id2label",
    "label2id", "problem_type", "is_encoder_decoder", "is_decoder", "add_cross_attention", "cross_attention_hidden_size",
    "tie_encoder_decoder", "task_specific_params", "finetuning_task", "tokenizer_class", "prefix", "sep_token_id",
    "decoder_start_token_id", "bos_token", "eos_token", "max_batch_size", "attn_implementation", "_attn_implementation",
    "experts_implementation", "ep_size", "temperature", "top_p", "do_sample", "ignore_keys_at_rope_validation"), "no effect")

# Read by name elsewhere in this folder.
READ_ELSEWHERE = {"rope_scaling", "rope_parameters", "partial_rotary_factor", "original_max_position_embeddings",
                  "layer_types", "mlp_layer_types", "compress_rates", "compress_rate_csa", "compress_rate_hca",
                  "quantization_config", "expert_dtype", "scale_fmt", "more_eos_ids", "n_dspark_layers"}
