"""A checkpoint for other programs: the same weights decoded, under the released names; and who takes which folder.

Not here: the released format itself (write.py); running those programs.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from v4mini.numerics.matrix import TILE, Matrix
from v4mini.shapes import Refused
from v4mini.untrusted import read_file
from v4mini.weights.checkpoint import open_checkpoint
from v4mini.weights.spec import tensors
from v4mini.weights.write import save

BESIDE = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")
MOST_BYTES = 256 << 20          # of a file beside the weights


def export(folder, out, dtype="bf16"):                  # -> Path of the folder
    """Write the checkpoint in `folder` decoded to bf16 or f32, with its tokenizer, so that transformers loads it.

    FP8 and FP4 numbers times their powers of two are exact in bfloat16, so nothing is lost by it. float32 weights are rounded
    in bf16: for those take f32. Refused for another dtype, and if `out` holds what others made.
    """
    if dtype not in ("bf16", "f32"):
        raise Refused(f"dtype: expected 'bf16' or 'f32', got {str(dtype)[:40]!r}.")
    folder, checkpoint = Path(folder), open_checkpoint(folder)
    stored = {spec.name: spec for spec in tensors(checkpoint.config)}

    def value(name):
        array = checkpoint.tensor(name)
        if array.ndim != 2 or array.dtype.kind in "iu" and stored[name].format == "i64":
            return array if array.dtype.kind in "iu" else np.asarray(array, np.float32)
        return Matrix(array, checkpoint.tensor(stored[name].scale_name) if stored[name].format in ("fp8", "fp4") else None,
                      name=name).dense()
    beside = folder if folder.is_dir() else folder.parent
    others = {name: read_file(beside / name, MOST_BYTES, name, "") for name in BESIDE if (beside / name).exists()}
    return save(out, checkpoint.config.replace(dtype=dtype, expert_dtype=None), value, kind="export", others=others)


class Target(NamedTuple):
    """A program that serves V4: how it is started on a folder, and where its rules were read."""

    title: str
    launch: str
    source: str


TARGETS = {
    "transformers": Target("Hugging Face transformers 5.23 and 5.24",
                           "AutoModelForCausalLM.from_pretrained({folder!r})",
                           "run: logits compared with v4mini's (tests/weights/test_export.py)"),
    "vllm": Target("vLLM", "vllm serve {folder} --tensor-parallel-size 4 --kv-cache-dtype fp8",
                   "read, not run: vllm models/deepseek_v4.py, layers/deepseek_v4_attention.py, November 2026"),
    "sglang": Target("SGLang", "python -m sglang.launch_server --model-path {folder} --tp 4",
                     "read, not run: sglang srt/models/deepseek_v4.py, November 2026"),
    "vllm-ascend": Target("vLLM on Ascend", "vllm serve Eco-Tech/DeepSeek-V4-Flash-w8a8-mtp --quantization ascend",
                          "read, not run: vllm-ascend docs, tutorials DeepSeek-V4-Flash.md, August 2026"),
}


def problems(folder, target):                           # -> [sentence], empty if `target` takes the folder
    """What stands between a checkpoint and a program, by the rules in that program's source. Reads headers and some scales."""
    if target not in TARGETS:
        raise Refused(f"target: expected one of {', '.join(TARGETS)}, got {str(target)[:40]!r}.")
    checkpoint = open_checkpoint(folder)
    if target == "transformers":
        return _transformers(checkpoint)
    return {"vllm": _vllm, "sglang": _sglang, "vllm-ascend": _ascend}[target](checkpoint.config)


def _transformers(checkpoint):
    wrong = [f"{spec.name} {list(spec.shape)}" for spec in tensors(checkpoint.config) if spec.format == "fp8"
             and not _read_alike(spec.shape, checkpoint.tensor(spec.scale_name).view(np.uint8))]
    if not wrong:
        return []
    return [f"FP8 tiles: expected sides of whole tiles of {TILE}, or equal scales along them, got {len(wrong)} matrices with "
            f"other scales, the first {wrong[0]}. transformers divides a side by its scales, loads them without a word, and "
            "answers wrongly. Try v4mini export."]


def _read_alike(shape, scale):                          # whether tiles cut evenly have the scales of tiles of 128
    return all(size <= TILE or size % TILE == 0 or (scale == scale.take([0], axis)).all() for axis, size in enumerate(shape))


def _vllm(config):
    found = []
    if config.dtype != "fp8" or config.expert_dtype not in ("fp4", "fp8"):
        found.append(f"formats: expected FP8 linears and FP4 or FP8 experts, got {config.dtype} and {config.expert_dtype}. "
                     "Try the folder as released.")
    if config.head_dim != 512:
        found.append(f"head_dim: expected 512, which its sparse attention kernels are built for, got {config.head_dim}.")
    if config.n_heads > 128:
        found.append(f"n_heads: expected at most 128, got {config.n_heads}.")
    return found


def _sglang(config):
    if config.dtype != "fp8":
        return [f"wo_a: expected FP8 with a scale, got {config.dtype}. Try the folder as released."]
    partial = [f"{spec.name} {list(spec.shape)}" for spec in tensors(config) if spec.format == "fp8" and "attn.wo_a" in spec.name
               and any(size > TILE and size % TILE for size in spec.shape)]
    return [f"wo_a: expected tiles of {TILE} x {TILE} that fill it, got {partial[0]}."] if partial else []


def _ascend(config):
    return [f"formats: expected a W8A8 checkpoint (INT8, made by ModelSlim, since 910B and 910C have no FP8), got {config.dtype} "
            f"linears and {config.expert_dtype or config.dtype} experts. Try one published for it, as in the launch line."]
