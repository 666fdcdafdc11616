"""The bug museum (lesson 21): defects that others' V4 really had, each with its public source and the line that plants it here.

    python -m v4mini.lessons museum     plants each in this package while it is imported, and shows which of our tests notices

Not here: planting and running the tests (planted.py), the toys that a reader repairs (exercises/l21_*.py).
"""

from dataclasses import dataclass

GITHUB = "https://github.com"
MLX = f"{GITHUB}/ml-explore/mlx-lm/pull/1189"
AETHER = f"{GITHUB}/itz-sayak/deepseek-v4-codebase/blob/2c0f46d51ed2b8171095f8fcb82d76781b88cdd2/deepseek_v4_pro_2b/modeling.py"
NANO = f"{GITHUB}/hebo1221/nano-deepseek-v4/blob/105506fb930fa4058730b6f7b29461a1b14ac137/CHANGELOG.md"


@dataclass(frozen=True)
class Defect:
    """One exhibit. In `file` of the package the text `right` stands once; `wrong` in its place is the defect."""

    name: str                   # of its exercise: museum.<name>
    what: str                   # in a few words
    source: str                 # where it was found, or mended
    file: str                   # below v4mini/
    right: str
    wrong: str
    tests: str                  # of this project, that notice it: a file, or file::test

    @property
    def exercise(self):         # -> "museum.future"
        return f"museum.{self.name}"

    @property
    def upstream(self):         # -> "transformers #45820"
        parts = self.source.removeprefix(f"{GITHUB}/").split("/")
        return f"{parts[1]} #{parts[3]}" if parts[2] in ("issues", "pull") else parts[1]


_WHOLE, _INDEX, _MIX = "tests/layers/test_whole_model.py", "tests/ops/test_index.py", "tests/ops/test_mix.py"
_TAPE = ("tests/training/test_tape.py::"
         "test_the_indexer_is_taught_what_attention_does_and_attention_learns_nothing_from_that[numpy]")

DEFECTS = (
    Defect("one_base", "one RoPE base for all layers", MLX, "layers/attention.py",
           "config.compress_rope_theta, config.original_seq_len", "config.rope_theta, config.original_seq_len", _WHOLE),
    Defect("yarn_in_windows", "YaRN in window layers too", f"{GITHUB}/sgl-project/sglang/pull/34788", "layers/attention.py",
           "return frequencies(config.rope_head_dim, config.rope_theta)",
           "return frequencies(config.rope_head_dim, config.rope_theta, config.original_seq_len, config.rope_factor)", _WHOLE),
    Defect("unturned_entries", "entries that are never rotated", MLX, "layers/compressor.py",
           "rows = ops.rope(ops.rms_norm(rows, w.norm, config.norm_eps), memory.block_positions(first, last, ratio), freqs)",
           "rows = ops.rms_norm(rows, w.norm, config.norm_eps)", _WHOLE),
    Defect("future", "an indexer that sees the future", f"{GITHUB}/huggingface/transformers/issues/45820", "ops/index.py",
           "seen = np.arange(N) < visible[rows, None] ",
           "visible = np.full_like(visible, N); seen = np.arange(N) < visible[rows, None] ", _INDEX),
    Defect("padding", "padding pooled into entries", f"{GITHUB}/huggingface/transformers/issues/45938", "ops/compress.py",
           "np.full_like(score, -np.inf, shape=(ratio, C))", "np.zeros_like(score, shape=(ratio, C))",
           "tests/ops/test_compress.py"),
    Defect("hidden_entries", "entries that nobody may read", MLX, "ops/compress.py",
           "return (np.asarray(positions) + 1) // ratio", "return 0 * np.asarray(positions)", "tests/ops/test_compress.py"),
    Defect("no_relu", "an indexer without its relu", f"{GITHUB}/1CatAI/1Cat-vLLM/pull/250", "ops/index.py",
           "np.maximum(products, 0, out=products)", "pass", _INDEX),
    Defect("mean_of_heads", "index heads through a sigmoid, then averaged", MLX, "ops/index.py",
           "return np.matmul(weights[:, None, :], products)[:, 0]",
           "return np.matmul(1 / (1 + np.exp(-weights[:, None, :])), products)[:, 0] / Hi", _INDEX),
    Defect("other_models_k", "index_topk of the other model", f"{GITHUB}/ROCm/ATOM/pull/1591", "layers/attention.py",
           "keys, weights, seen, config.index_topk)", "keys, weights, seen, 1024)", _WHOLE),
    Defect("transposed", "streams mixed by the transposed matrix", f"{GITHUB}/NVIDIA-NeMo/Automodel/issues/2154", "ops/mix.py",
           "np.matmul(comb.swapaxes(1, 2), streams)", "np.matmul(comb, streams)", _MIX),
    Defect("half_gate", "a post gate without its factor two", NANO, "ops/mix.py",
           "post = np.float32(2) * sigmoid(", "post = sigmoid(", _MIX),
    Defect("unclamped", "a shared expert that is never cut", f"{GITHUB}/sgl-project/sglang/pull/23776", "layers/moe.py",
           "w.shared_experts, c.swiglu_limit)", "w.shared_experts, 0)", _WHOLE),
    Defect("leaking_bias", "a router's bias inside the weights", AETHER, "ops/route.py",
           "chosen = choose(affinities, bias, k)", "affinities = affinity(scores + bias); chosen = choose(affinities, 0, k)",
           "tests/ops/test_route.py"),
    Defect("equal_shares", "hash layers that weigh all experts alike", AETHER, "ops/route.py",
           "chosen = np.asarray(chosen, np.int64)", "chosen, affinities = np.asarray(chosen, np.int64), 0 * affinities + 1",
           "tests/ops/test_route.py"),
    Defect("codes_as_integers", "FP8 codes read as integers", f"{GITHUB}/ml-explore/mlx-lm/pull/1192", "numerics/e4m3.py",
           "return elementwise(TABLE.__getitem__, codes.view(np.uint8), np.float32)",
           "return codes.view(np.uint8).astype(np.float32)", "tests/numerics/test_e4m3.py"),
    Defect("bytes_as_scales", "a scale's exponent byte copied as a number", f"{GITHUB}/vllm-project/vllm/issues/43416",
           "numerics/ue8m0.py", "return TABLE[codes.view(np.uint8)]", "return codes.view(np.uint8).astype(np.float32)",
           "tests/numerics/test_ue8m0.py"),
    Defect("fp4_as_fp8", "FP4 experts decoded as FP8", f"{GITHUB}/modelscope/ms-swift/issues/9724", "numerics/e2m1.py",
           "pairs = elementwise(PAIRS.__getitem__, packed.view(np.uint8), np.uint64)",
           "from v4mini.numerics import e4m3; pairs = e4m3.decode(packed)", "tests/numerics/test_e2m1.py"),
    Defect("guessed_tiles", "tile sizes guessed from shapes", f"{GITHUB}/NVIDIA/TensorRT-Model-Connect/pull/1115",
           "numerics/matrix.py", "tile_row = np.arange(self.shape[0])[which] // TILE",
           "tile_row = np.arange(self.shape[0])[which] // -(-self.shape[0] // len(self.scale))", "tests/numerics/test_matrix.py"),
    Defect("frozen_indexer", "an indexer that never learns", f"{GITHUB}/AMD-AGI/Primus/pull/930", "training/tape.py",
           "lambda g: (g * g_scores,)), mass))", "lambda g: (0 * g * g_scores,)), mass))", _TAPE),
    Defect("lost_share", "a teacher normalised over the entries alone", f"{GITHUB}/AMD-AGI/Primus/pull/992",
           "training/backward/attention.py", "on_entries[some, :n] = p[:, :, len(rows[near]):].sum(axis=1)",
           "far = p[:, :, len(rows[near]):]; on_entries[some, :n] = "
           "(far / np.maximum(far.sum(axis=2, keepdims=True), 1e-30)).sum(axis=1)", "tests/training/backward/test_attention.py::"
           "test_what_is_watched_is_the_weight_on_entries_over_all_heads[numpy]"),
)
