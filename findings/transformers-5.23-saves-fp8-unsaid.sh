#!/usr/bin/env bash
# transformers 5.23.0: a checkpoint in FP8 read with dequantize=True, then save_pretrained, is another model when it is read again.
# Seen with torch 2.13.0 (CPU), accelerate 1.15.0, Python 3.11, a Llama of one layer, weight_block_size [128, 128]:
#   loaded: float32, right. Saved: every matrix as FP8 codes beside a weight_scale_inv, the embedding and lm_head too, which never
#   were; config.json without quantization_config. Read again: codes are taken for weights, 448 where a weight is 0.08; the only
#   word is "UNEXPECTED ... can be ignored" about the scales.
# transformers 5.24.0 writes float32 there, and reads the same numbers back. Fails when either changes.
# For whom: anyone who turned an FP8 release into a BF16 copy with 5.23. Such a folder is known by weight_scale_inv in its files
# and no quantization_config in its config.json; its embedding has been rounded to FP8.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
export PIP_DISABLE_PIP_VERSION_CHECK=1 HF_HUB_OFFLINE=1
python3 -m venv "$work/venv"; python=$work/venv/bin/python
cat >"$work/round_trip.py" <<'E'
import json
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
folder, copy = sys.argv[1] + "/fp8", sys.argv[1] + "/copy"
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=2,
                                     num_key_value_heads=2, vocab_size=256))
stored = {}
for name, weight in model.state_dict().items():
    if "_proj" in name:
        stored[name] = (weight / 0.5).to(torch.float8_e4m3fn)
        stored[name + "_scale_inv"] = torch.full((2, 2), 0.5)
    else:
        stored[name] = weight.contiguous()
model.config.save_pretrained(folder)
config = json.load(open(folder + "/config.json"))
config["architectures"] = ["LlamaForCausalLM"]
config["quantization_config"] = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic",
                                 "dequantize": True}
json.dump(config, open(folder + "/config.json", "w"))
save_file(stored, folder + "/model.safetensors", {"format": "pt"})

loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
right = max(float((loaded.state_dict()[name] - codes.float() * 0.5).abs().max()) for name, codes in stored.items()
            if name.endswith("_proj.weight"))
loaded.save_pretrained(copy)
again = AutoModelForCausalLM.from_pretrained(copy, dtype=torch.float32).state_dict()
with safe_open(copy + "/model.safetensors", "pt") as file:
    kinds = {name: str(file.get_tensor(name).dtype) for name in file.keys()}
print(json.dumps({"right": right, "embedding": kinds["model.embed_tokens.weight"],
                  "scales": sum(name.endswith("scale_inv") for name in kinds),
                  "said": json.load(open(copy + "/config.json")).get("quantization_config"),
                  "apart": max(float((again[name] - weight).abs().max()) for name, weight in loaded.state_dict().items())}))
E
round_trip() { mkdir "$work/$1"; "$python" -m pip install -q torch==2.13.0 "transformers==$1" accelerate==1.15.0
               "$python" -W ignore "$work/round_trip.py" "$work/$1" 2>/dev/null | tail -1; }
old=$(round_trip 5.23.0)
new=$(round_trip 5.24.0)
"$python" - "$old" "$new" <<'E'
import json
import sys

old, new = map(json.loads, sys.argv[1:])
print("5.23.0:", old)
print("5.24.0:", new)
was = old["right"] == 0 and old["embedding"] == "torch.float8_e4m3fn" and old["scales"] == 9 and old["said"] is None and old["apart"] > 400
if not was or new["right"] or new["apart"] or new["scales"]:
    sys.exit("CHANGED: see above")
E
