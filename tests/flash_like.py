"""A small config that has all of Flash's kinds of layers and formats, with experts enough to crowd each other out."""

from v4mini.config import Config

FLASH_LIKE = Config.flash().replace(n_layers=5, dim=256, moe_inter_dim=128, n_heads=8, head_dim=96, rope_head_dim=32,
                                    q_lora_rank=128, o_groups=4, o_lora_rank=64, n_routed_experts=16, index_n_heads=4,
                                    index_head_dim=32, index_topk=8, vocab_size=500)
