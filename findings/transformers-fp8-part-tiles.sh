#!/usr/bin/env bash
# transformers 5.24.0 reading FP8 weights in tiles of 128 x 128 whose sides are not whole tiles. DeepSeek's releases have
# ceil(side / 128) scales along a side: the last tile is smaller. transformers divides the side by the number of scales instead.
# Seen with torch 2.13.0 (CPU), Python 3.11, a DeepSeek-V3 of one layer, weight_block_size [128, 128], dequantize=True:
#   192 columns, 2 scales: read as tiles of 96, so 32 columns get their neighbour's scale; nothing is said
#   576 rows, 5 scales (DeepSeek-V3's own kv_a_proj_with_mqa: 512 + 64): "not divisible by scale grid"
# Fails when either changes. For whom: anyone who quantises, converts or checks FP8 checkpoints without a GPU.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"; python=$work/venv/bin/python
"$python" -m pip install -q torch==2.13.0 transformers==5.24.0 accelerate==1.15.0
cat >"$work/read.py" <<'E'
import json
import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM
from transformers.utils import logging

logging.set_verbosity_warning()
TILE = 128


def tiles(weight):      # [n, m] -> FP8 codes, float32 scales [ceil(n / 128), ceil(m / 128)], the numbers that they stand for
    n, m = weight.shape
    scales = torch.empty(-(-n // TILE), -(-m // TILE))
    codes, numbers = torch.empty(n, m, dtype=torch.float8_e4m3fn), torch.empty(n, m)
    for i in range(scales.shape[0]):
        for j in range(scales.shape[1]):
            tile = slice(i * TILE, (i + 1) * TILE), slice(j * TILE, (j + 1) * TILE)
            scales[i, j] = 2.0 ** (i + 2 * j)           # far apart, so that a wrong one shows
            codes[tile] = (weight[tile] / scales[i, j]).to(torch.float8_e4m3fn)
            numbers[tile] = codes[tile].float() * scales[i, j]
    return codes, scales, numbers


def reading(folder, kv_lora_rank, rope, q_lora_rank):   # -> the largest difference by tensor, as a share; or what was raised
    sizes = dict(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
                 kv_lora_rank=kv_lora_rank, q_lora_rank=q_lora_rank, qk_rope_head_dim=rope, qk_nope_head_dim=64, v_head_dim=128,
                 first_k_dense_replace=1, vocab_size=256, max_position_embeddings=64)
    torch.manual_seed(0)
    model, wanted, stored = DeepseekV3ForCausalLM(DeepseekV3Config(**sizes)), {}, {}
    for name, weight in model.state_dict().items():
        if "_proj" in name and weight.dim() == 2:
            stored[name], stored[name + "_scale_inv"], wanted[name] = tiles(weight.float())
        else:
            stored[name] = weight.contiguous()
    model.config.save_pretrained(folder)
    config = json.load(open(f"{folder}/config.json"))
    config["architectures"] = ["DeepseekV3ForCausalLM"]
    config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [TILE, TILE], "activation_scheme": "dynamic",
                                     "dequantize": True}
    json.dump(config, open(f"{folder}/config.json", "w"))
    save_file(stored, f"{folder}/model.safetensors", {"format": "pt"})
    try:
        read = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return {name.removeprefix("model.layers.0."): float((read[name] - w).abs().max() / w.abs().max())
            for name, w in wanted.items()}


print(json.dumps(reading(sys.argv[1], *map(int, sys.argv[2:]))))
E
read() { mkdir "$work/$1"; "$python" -W ignore "$work/read.py" "$work/$1" "${@:2}" 2>"$work/$1.log" | tail -1; }

whole=$(read whole 128 128 256)         # 128 + 128 rows of kv_a_proj_with_mqa: all sides are whole tiles
part=$(read part 128 128 192)           # q_a_proj has 192 rows, q_b_proj 192 columns
released=$(read released 512 64 256)    # 512 + 64 rows of kv_a_proj_with_mqa: DeepSeek-V3's own
"$python" - "$whole" "$part" "$released" "$work/released.log" <<'E'
import json
import re
import sys

whole, part, released = map(json.loads, sys.argv[1:4])
said = re.search(r"Weight shape \(576, 256\) not divisible by scale grid \(5, 2\)", open(sys.argv[4]).read() + str(released))
wrong = {name: round(share, 2) for name, share in part.items() if share}
print("whole tiles: largest difference", max(whole.values()))
print("192 rows or columns, differences as a share:", wrong)
print("576 rows:", said.group() if said else released)
if max(whole.values()) or sorted(wrong) != ["self_attn.q_a_proj.weight", "self_attn.q_b_proj.weight"] or not said:
    sys.exit("CHANGED: see above")
E
