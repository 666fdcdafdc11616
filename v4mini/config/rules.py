"""Which values of a Config are legal: one rule a line, each with what it wants and what to try.

Not here: how a file spells them (reading.py).
"""

import math

from v4mini.config.reading import CSA_RATIO
from v4mini.shapes import Refused
from v4mini.untrusted import brief

SMALLEST_HCA_RATIO = 2
WANTED = {int: "an integer", float: "a finite number", str: "text", str | None: "text or null"}
LISTS = {"compress_ratios": "Use 0, 4 or 128.", "dspark_target_layer_ids": "Flash has [40, 41, 42].",
         "more_eos_ids": "Give token ids."}


def typed(name, kind, value):               # checks the type; turns 10 into 10.0 where a float is wanted, a list into a tuple
    """The value as a Config holds it. Raises Refused."""
    if name in LISTS:
        if not isinstance(value, list | tuple):
            raise Refused(f"config: {name} must be a list of integers, got {brief(value)}. {LISTS[name]}")
        bad = [entry for entry in value if type(entry) is not int]
        if bad:
            raise Refused(f"config: {name} must hold integers, got {brief(bad[0])}. {LISTS[name]}")
        return tuple(value)
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    right = isinstance(value, kind) and not isinstance(value, bool)
    if right and not (kind is float and not math.isfinite(value)):
        return value
    raise Refused(f"config: {name} must be {WANTED.get(kind)}, got {brief(value)}. Compare with data/configs/flash.json.")


def check_rules(config):
    """Raises Refused with the first rule that does not hold."""
    for name, wanted, fits, hint in RULES:
        if not fits(config):
            raise Refused(f"config: {name} must be {wanted}, got {_show(config, name)}. {hint}")


def _show(config, name):
    value = getattr(config, name.split(" ")[0])
    return f"{len(value)} of them: {brief(list(value))}" if isinstance(value, tuple) else brief(value)


def _positive(name, most):
    return name, f"between 1 and {most:,}", lambda c: 1 <= getattr(c, name) <= most, "Compare with data/configs/flash.json."


def _below(name, most):                     # beyond these float32 overflows, and every logit is NaN
    return name, f"at most {most:g}", lambda c: getattr(c, name) <= most, "Compare with data/configs/flash.json."


def _multiple_of_128(name, value):
    return (name, "such that each quantised matmul has an inner size that is a multiple of 128",
            lambda c: c.dtype != "fp8" or value(c) % 128 == 0, "Change it, or store dtype bf16.")


MOST_EXPERTS = 65_536                       # of all layers; V4-Pro has 23,808, each with six tensors in the files

RULES = (                                   # (field, wanted, does it fit, try)
    _positive("vocab_size", 2**24), _positive("dim", 2**20), _positive("moe_inter_dim", 2**20),
    _positive("n_layers", 1000), _positive("n_heads", 4096), _positive("n_routed_experts", 65536),
    _positive("q_lora_rank", 2**20), _positive("o_groups", 4096), _positive("o_lora_rank", 2**20),
    _positive("index_topk", 2**24), _positive("head_dim", 65536), _positive("window_size", 2**24),
    _positive("index_n_heads", 4096), _positive("index_head_dim", 65536), _positive("hc_mult", 64),
    _positive("hc_sinkhorn_iters", 1000), _positive("max_seq_len", 2**40),
    *(_below(name, most) for name, most in (("route_scale", 1e6), ("swiglu_limit", 1e30), ("rope_theta", 1e30),
                                            ("compress_rope_theta", 1e30), ("rope_factor", 1e9), ("beta_fast", 1e9))),
    ("n_routed_experts", f"such that all layers together have at most {MOST_EXPERTS:,}",
     lambda c: c.n_layers * c.n_routed_experts <= MOST_EXPERTS, "V4-Pro has 384 in each of 62."),
    ("n_mtp_layers", "0 or 1", lambda c: c.n_mtp_layers in (0, 1),
     "V4 has one; three blocks are DSpark's, and their config has dspark_block_size."),
    ("n_dspark_layers", "between 0 and 64", lambda c: 0 <= c.n_dspark_layers <= 64, "The release of 31 July 2026 has 3."),
    ("n_dspark_layers", "0 beside an MTP block", lambda c: not (c.n_dspark_layers and c.n_mtp_layers),
     "A checkpoint drafts with the one or the other."),
    ("dspark_block_size", "between 1 and 1,024 where there are DSpark blocks, else 0",
     lambda c: 1 <= c.dspark_block_size <= 1024 if c.n_dspark_layers else c.dspark_block_size == 0, "The release has 5."),
    ("dspark_markov_rank", "between 1 and 65,536 where there are DSpark blocks, else 0",
     lambda c: 1 <= c.dspark_markov_rank <= 65536 if c.n_dspark_layers else c.dspark_markov_rank == 0, "The release has 256."),
    ("dspark_noise_token_id", "a token id", lambda c: 0 <= c.dspark_noise_token_id < c.vocab_size, "The release has 128799."),
    ("dspark_target_layer_ids", "layers of this model, at least one where there are DSpark blocks",
     lambda c: (0 < len(c.dspark_target_layer_ids) <= 64 if c.n_dspark_layers else not c.dspark_target_layer_ids)
     and all(0 <= layer < c.n_layers for layer in c.dspark_target_layer_ids), "Flash has [40, 41, 42]."),
    ("n_shared_experts", "1", lambda c: c.n_shared_experts == 1, "V4 has exactly one."),
    ("score_func", "'sqrtsoftplus'", lambda c: c.score_func == "sqrtsoftplus", "V3 used 'sigmoid'; this is V4 only."),
    ("scale_fmt", "'ue8m0'", lambda c: c.scale_fmt == "ue8m0", "V4's scales are powers of two."),
    ("dtype", "'fp8', 'bf16' or 'f32'", lambda c: c.dtype in ("fp8", "bf16", "f32"), "The release is 'fp8'."),
    ("expert_dtype", "'fp4', 'fp8', 'bf16' or null", lambda c: c.expert_dtype in ("fp4", "fp8", "bf16", None),
     "The release is 'fp4'."),
    ("n_activated_experts", "between 1 and n_routed_experts",
     lambda c: 1 <= c.n_activated_experts <= c.n_routed_experts, "A token cannot choose more experts than there are."),
    ("n_hash_layers", "between 0 and n_layers", lambda c: 0 <= c.n_hash_layers <= c.n_layers, "Flash and Pro have 3."),
    ("compress_ratios", "one per layer and one per block that drafts (n_layers + n_mtp_layers + n_dspark_layers)",
     lambda c: len(c.compress_ratios) == c.n_layers + c.n_draft_layers, "The 0 of the MTP block comes last."),
    ("compress_ratios", f"0 (window only), {CSA_RATIO} (CSA) or at least {SMALLEST_HCA_RATIO} (HCA)",
     lambda c: all(r == 0 or SMALLEST_HCA_RATIO <= r <= 2**20 for r in c.compress_ratios), "Use 0, 4 or 128."),
    ("compress_ratios", "0 for the blocks that draft, the last of them",
     lambda c: not any(c.compress_ratios[c.n_layers:]), "They see a window only."),
    ("rope_head_dim", "even, at least 2, at most head_dim and (with CSA layers) index_head_dim",
     lambda c: c.rope_head_dim % 2 == 0 and 2 <= c.rope_head_dim <= c.head_dim
     and (CSA_RATIO not in c.compress_ratios or c.rope_head_dim <= c.index_head_dim), "Flash rotates 64 of 512 numbers."),
    ("o_groups", "a divisor of n_heads", lambda c: c.n_heads % c.o_groups == 0, "Heads are shared out evenly among groups."),
    ("route_scale", "greater than 0", lambda c: c.route_scale > 0, "Flash has 1.5."),
    ("swiglu_limit", "0 (no clamp) or greater", lambda c: c.swiglu_limit >= 0, "V4 has 10."),
    ("norm_eps", "between 0 and 1", lambda c: 0 < c.norm_eps < 1, "V4 has 1e-6."),
    ("hc_eps", "between 0 and 1", lambda c: 0 <= c.hc_eps < 1, "V4 has 1e-6."),
    ("rope_theta", "greater than 1", lambda c: c.rope_theta > 1, "V4 has 10000."),
    ("compress_rope_theta", "greater than 1", lambda c: c.compress_rope_theta > 1, "V4 has 160000."),
    ("original_seq_len", "0 (no YaRN) or greater", lambda c: 0 <= c.original_seq_len <= 2**40, "V4 has 65536."),
    ("rope_factor", "at least 1", lambda c: c.rope_factor >= 1, "V4 has 16."),
    ("beta_slow", "greater than 0 and at most beta_fast", lambda c: 0 < c.beta_slow <= c.beta_fast, "V4 has 1 and 32."),
    ("bos_id", "a token id", lambda c: 0 <= c.bos_id < c.vocab_size, "V4 has 0."),
    ("eos_id", "a token id", lambda c: 0 <= c.eos_id < c.vocab_size, "V4 has 1."),
    ("more_eos_ids", "at most 64 token ids", lambda c: len(c.more_eos_ids) <= 64
     and all(0 <= id < c.vocab_size for id in c.more_eos_ids), "Leave it out."),
    ("expert_dtype", "'bf16' or null where dtype is 'f32'",
     lambda c: c.dtype != "f32" or c.expert_dtype in (None, "bf16"), "Quantised experts come with fp8 or bf16 linears."),
    _multiple_of_128("dim", lambda c: c.dim), _multiple_of_128("moe_inter_dim", lambda c: c.moe_inter_dim),
    _multiple_of_128("q_lora_rank", lambda c: c.q_lora_rank),
    _multiple_of_128("o_lora_rank", lambda c: c.o_groups * c.o_lora_rank),
    ("head_dim", "rope_head_dim plus a multiple of 64 where dtype is 'fp8'",
     lambda c: c.dtype != "fp8" or (c.head_dim - c.rope_head_dim) % 64 == 0, "Cached rows are rounded in blocks of 64."),
    ("index_head_dim", "a power of two of at least 32 where dtype is 'fp8' and a layer is CSA",
     lambda c: c.dtype != "fp8" or CSA_RATIO not in c.compress_ratios
     or (c.index_head_dim >= 32 and c.index_head_dim & (c.index_head_dim - 1) == 0), "The Hadamard transform needs it."),
)
