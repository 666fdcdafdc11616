"""Config: every number that shapes a V4, under the names of the reference's `inference/config.json`.

Reads three spellings: the reference's own, the release's `config.json`, and what transformers 5.23.0 saves.
Not here: tensor shapes (weights/spec.py), bytes and FLOPs (planning/).
"""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

from v4mini.shapes import Refused

CSA_RATIO = 4                    # the reference: ratio 4 overlaps and has an indexer, any other non-zero ratio is HCA
SMALLEST_HCA_RATIO = 2


@dataclass(frozen=True)
class Config:
    """One V4. Illegal values raise Refused: wanted, got, try. Source: the released config.json; reference ModelArgs."""

    vocab_size: int
    dim: int                                # D, width of a residual stream
    moe_inter_dim: int                      # width inside one expert
    n_layers: int
    n_heads: int
    n_routed_experts: int
    n_activated_experts: int
    route_scale: float
    q_lora_rank: int
    o_groups: int
    o_lora_rank: int
    index_topk: int
    compress_ratios: tuple[int, ...]        # one per layer, then one 0 per MTP block
    n_hash_layers: int = 3                  # the first layers choose experts by a table of token ids
    n_mtp_layers: int = 1
    n_shared_experts: int = 1
    score_func: str = "sqrtsoftplus"
    swiglu_limit: float = 10.0              # 0: no clamp
    head_dim: int = 512
    rope_head_dim: int = 64
    norm_eps: float = 1e-6
    window_size: int = 128
    rope_theta: float = 10000.0             # window layers and MTP
    compress_rope_theta: float = 160000.0   # CSA and HCA layers, with YaRN
    original_seq_len: int = 65536           # 0: no YaRN
    rope_factor: float = 16.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    index_n_heads: int = 64
    index_head_dim: int = 128
    hc_mult: int = 4                        # M, residual streams
    hc_sinkhorn_iters: int = 20
    hc_eps: float = 1e-6
    max_seq_len: int = 1048576              # tokens
    bos_id: int = 0
    eos_id: int = 1
    dtype: str = "fp8"                      # how linears are stored: fp8, bf16 or f32
    scale_fmt: str = "ue8m0"
    expert_dtype: str | None = "fp4"        # how routed experts are stored; None: like linears

    def __post_init__(self):
        object.__setattr__(self, "compress_ratios", _as_tuple(self.compress_ratios))
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _typed(field, getattr(self, field.name)))
        for name, wanted, fits, hint in _RULES:
            if not fits(self):
                raise Refused(f"config: {name} must be {wanted}, got {_show(self, name)}. {hint}")

    # ---- derived ----

    def ratio(self, layer):
        """How many tokens one entry of `layer` stands for; 0: no entries. Layers n_layers.. are MTP blocks."""
        return self.compress_ratios[layer]

    def layer_kind(self, layer):            # -> "window" | "csa" | "hca"
        ratio = self.compress_ratios[layer]
        return "window" if ratio == 0 else "csa" if ratio == CSA_RATIO else "hca"

    def is_hash_layer(self, layer):
        return layer < self.n_hash_layers

    def replace(self, **changes):           # -> Config
        """A copy with some fields changed, checked anew. Cutting n_layers cuts compress_ratios and hash layers too."""
        n, mtp = (changes.get(name, getattr(self, name)) for name in ("n_layers", "n_mtp_layers"))
        if "compress_ratios" not in changes and type(n) is type(mtp) is int:        # else the check below says so
            changes["compress_ratios"] = (*self.compress_ratios[: self.n_layers][:n], *[0] * mtp)
            changes.setdefault("n_hash_layers", min(self.n_hash_layers, n))
        return dataclasses.replace(self, **changes)

    # ---- reading and writing ----

    @classmethod
    def load(cls, path):                    # -> Config
        """Read a config.json, or the one in a checkpoint's folder. Raises Refused."""
        path = Path(path)
        path = path / "config.json" if path.is_dir() else path
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise Refused(f"config: no file {path}. Name a config.json or the folder that holds one.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise Refused(f"config: cannot read {path}: {error}. Is it a config.json?") from None
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise Refused(f"config: {path} is not JSON ({error}). Was its download cut short?") from None
        return cls.from_dict(fields)

    @classmethod
    def from_dict(cls, fields):             # -> Config
        """From any of the three spellings; fields of no meaning here are passed over. Raises Refused."""
        if not isinstance(fields, dict):
            raise Refused(f"config: expected an object of fields, got a JSON {type(fields).__name__}. Is it a config.json?")
        if "hidden_size" in fields or "num_hidden_layers" in fields:
            fields = _from_released(fields)
        known = {field.name for field in dataclasses.fields(cls)}
        missing = sorted(known - set(fields) - _MAY_BE_ABSENT)
        if missing:
            raise Refused(f"config: missing {', '.join(missing)}. Compare with data/configs/flash.json.")
        return cls(**{name: value for name, value in fields.items() if name in known})

    def to_dict(self):
        """The reference's spelling (inference/config.json), plain JSON values."""
        return {**dataclasses.asdict(self), "compress_ratios": list(self.compress_ratios)}

    def to_released(self):
        """The release's spelling (config.json), which transformers reads too."""
        fields = {released: getattr(self, ours) for released, ours in _RELEASED.items()}
        fields["compress_ratios"] = list(self.compress_ratios)
        yarn = {"type": "yarn", "factor": self.rope_factor, "original_max_position_embeddings": self.original_seq_len,
                "beta_fast": self.beta_fast, "beta_slow": self.beta_slow}
        fields |= {"model_type": "deepseek_v4", "architectures": ["DeepseekV4ForCausalLM"], "num_key_value_heads": 1,
                   "topk_method": "noaux_tc", "norm_topk_prob": True, "hidden_act": "silu", "attention_bias": False,
                   "attention_dropout": 0.0, "tie_word_embeddings": False, "expert_dtype": self.expert_dtype,
                   "torch_dtype": "float32" if self.dtype == "f32" else "bfloat16",
                   "rope_scaling": yarn if self.original_seq_len else None}
        if self.dtype == "fp8":
            fields["quantization_config"] = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                             "weight_block_size": [128, 128], "scale_fmt": self.scale_fmt}
        return fields

    # ---- sizes that recur ----

    @classmethod
    def flash(cls):
        """DeepSeek-V4-Flash: 284B parameters, 13B active."""
        return cls(vocab_size=129280, dim=4096, moe_inter_dim=2048, n_layers=43, n_heads=64, n_routed_experts=256,
                   n_activated_experts=6, route_scale=1.5, q_lora_rank=1024, o_groups=8, o_lora_rank=1024,
                   index_topk=512, compress_ratios=(0, 0, *(4, 128) * 20, 4, 0))

    @classmethod
    def pro(cls):
        """DeepSeek-V4-Pro: 1.6T parameters, 49B active."""
        return cls(vocab_size=129280, dim=7168, moe_inter_dim=3072, n_layers=61, n_heads=128, n_routed_experts=384,
                   n_activated_experts=6, route_scale=2.5, q_lora_rank=1536, o_groups=16, o_lora_rank=1024,
                   index_topk=1024, compress_ratios=(128, 128, *(4, 128) * 29, 4, 0))

    @classmethod
    def mini(cls):
        """The bundled model: obeys every size rule of the released format, in a few MB."""
        return cls(vocab_size=2048, dim=256, moe_inter_dim=128, n_layers=4, n_heads=4, n_routed_experts=8,
                   n_activated_experts=2, route_scale=1.5, q_lora_rank=128, o_groups=2, o_lora_rank=128,
                   index_topk=32, compress_ratios=(0, 0, 128, 4, 0), n_hash_layers=2, head_dim=96,
                   rope_head_dim=32, original_seq_len=4096, index_n_heads=8, index_head_dim=64)

    @classmethod
    def bench(cls):
        """12M parameters in float32, for timing beside Hugging Face."""
        return cls(vocab_size=512, dim=256, moe_inter_dim=128, n_layers=6, n_heads=8, n_routed_experts=16,
                   n_activated_experts=2, route_scale=1.5, q_lora_rank=128, o_groups=2, o_lora_rank=64, index_topk=64,
                   compress_ratios=(0, 0, 4, 128, 4, 128), n_hash_layers=2, n_mtp_layers=0, head_dim=64,
                   rope_head_dim=16, original_seq_len=4096, index_n_heads=4, index_head_dim=32, dtype="f32",
                   expert_dtype=None)

    @classmethod
    def tiny(cls):
        """For tests: no two sizes alike, all three layer kinds, hash layers, MTP, float32."""
        return cls(vocab_size=97, dim=48, moe_inter_dim=40, n_layers=4, n_heads=6, n_routed_experts=5,
                   n_activated_experts=2, route_scale=1.5, q_lora_rank=36, o_groups=3, o_lora_rank=20, index_topk=7,
                   compress_ratios=(4, 0, 128, 4, 0), n_hash_layers=1, head_dim=24, rope_head_dim=8, window_size=16,
                   original_seq_len=64, index_n_heads=3, index_head_dim=16, swiglu_limit=2.0, dtype="f32",
                   expert_dtype=None)


_MAY_BE_ABSENT = {"max_seq_len", "bos_id", "eos_id", "dtype", "scale_fmt", "expert_dtype", "n_mtp_layers",
                  "n_shared_experts", "score_func"}

_RELEASED = {                               # the release's name -> ours
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

_FIXED = {                                  # the release's fields that could ask for another model, and would go unheard
    "num_key_value_heads": 1, "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "norm_topk_prob": True,
    "topk_method": "noaux_tc", "tie_word_embeddings": False,
}

_TRANSFORMERS_KINDS = {"sliding_attention": 0, "compressed_sparse_attention": None, "heavily_compressed_attention": None}


def _from_released(fields):                 # either published HF spelling -> our names
    fields = dict(fields)
    for name, fixed in _FIXED.items():
        if fields.get(name, fixed) != fixed:
            raise Refused(f"config: {name} must be {json.dumps(fixed)}, got {_brief(fields[name])}. V4 has nothing else.")
    if "layer_types" in fields:
        fields = _from_transformers(fields)
    ours = {_RELEASED[name]: value for name, value in fields.items() if name in _RELEASED}
    yarn = fields.get("rope_scaling") or {"factor": 1, "original_max_position_embeddings": 0, "beta_fast": 32, "beta_slow": 1}
    if not isinstance(yarn, dict):
        raise Refused(f"config: rope_scaling must be an object or null, got {_brief(yarn)}. Copy the release's.")
    for theirs, name in (("factor", "rope_factor"), ("original_max_position_embeddings", "original_seq_len"),
                         ("beta_fast", "beta_fast"), ("beta_slow", "beta_slow")):
        if theirs in yarn:
            ours[name] = yarn[theirs]
    ours["dtype"] = _stored_dtype(fields)
    ours["expert_dtype"] = fields.get("expert_dtype")
    return ours


def _stored_dtype(fields):
    quantised = fields.get("quantization_config")
    if quantised:
        method = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        if method != "fp8":
            raise Refused(f"config: quantization_config.quant_method must be fp8, got {_brief(method)}. "
                          "Use the released checkpoint.")
        return "fp8"
    return "f32" if fields.get("dtype", fields.get("torch_dtype")) == "float32" else "bf16"


def _from_transformers(fields):             # what transformers saves -> the release's spelling
    kinds, rates, rope = fields["layer_types"], fields.get("compress_rates"), fields.get("rope_parameters")
    mlps = fields.get("mlp_layer_types")
    if not (isinstance(kinds, list) and isinstance(mlps, list) and isinstance(rates, dict) and isinstance(rope, dict)
            and isinstance(rope.get("compress"), dict)):
        raise Refused("config: layer_types and mlp_layer_types must be lists, compress_rates and rope_parameters.compress "
                      "objects, as transformers 5.23.0 saves them. Save the model again with save_pretrained.")
    unknown = [kind for kind in kinds if not isinstance(kind, str) or kind not in _TRANSFORMERS_KINDS]
    if unknown:
        raise Refused(f"config: layer_types must be among {', '.join(_TRANSFORMERS_KINDS)}, got {_brief(unknown[0])}. "
                      "Is it a V4?")
    if rates.get("compressed_sparse_attention", CSA_RATIO) != CSA_RATIO:
        raise Refused(f"config: compress_rates.compressed_sparse_attention must be {CSA_RATIO}, got "
                      f"{_brief(rates['compressed_sparse_attention'])}. V4 knows its sparse layers by this number.")
    rates = {"sliding_attention": 0, "compressed_sparse_attention": CSA_RATIO, **rates}
    n_hash = sum(kind == "hash_moe" for kind in mlps)
    if mlps != ["hash_moe"] * n_hash + ["moe"] * (len(mlps) - n_hash):
        raise Refused("config: mlp_layer_types must be hash_moe layers first, then moe. V4 has no other order.")
    compress = rope["compress"]
    if "qk_rope_head_dim" not in fields and isinstance(fields.get("head_dim"), int):
        share = fields.get("partial_rotary_factor") or 1
        if not isinstance(share, int | float) or not 0 < share <= 1 or abs(fields["head_dim"]) > 2**24:
            raise Refused("config: partial_rotary_factor must be a share of head_dim, above 0 and at most 1, got "
                          f"{_brief(share)} of {_brief(fields['head_dim'])}. Give qk_rope_head_dim instead.")
        fields["qk_rope_head_dim"] = int(fields["head_dim"] * share)
    for name, label in (("rope_theta", "main"), ("compress_rope_theta", "compress")):
        theirs = rope.get(label)                    # transformers computes with the nested one
        if isinstance(theirs, dict) and "rope_theta" in theirs:
            fields[name] = theirs["rope_theta"]
    # transformers drops the MTP block, on loading and so on saving
    return fields | {"compress_ratios": [rates.get(kind) for kind in kinds], "num_hash_layers": n_hash,
                     "num_nextn_predict_layers": 0,
                     "rope_scaling": compress if compress.get("rope_type") == "yarn" else None}


def _as_tuple(ratios):
    if not isinstance(ratios, list | tuple):
        raise Refused(f"config: compress_ratios must be a list of integers, got {_brief(ratios)}. Give one per layer.")
    return tuple(ratios)


def _typed(field, value):                   # checks the type; turns 10 into 10.0 where a float is wanted
    wanted = {int: "an integer", float: "a finite number", str: "text", str | None: "text or null"}.get(field.type)
    if field.name == "compress_ratios":
        bad = [ratio for ratio in value if type(ratio) is not int]
        if bad:
            raise Refused(f"config: compress_ratios must hold integers, got {_brief(bad[0])}. Use 0, 4 or 128.")
        return value
    if field.type is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    right = isinstance(value, field.type) and not isinstance(value, bool)
    if right and not (field.type is float and not math.isfinite(value)):
        return value
    raise Refused(f"config: {field.name} must be {wanted}, got {_brief(value)}. Compare with data/configs/flash.json.")


def _show(config, name):
    value = getattr(config, name.split(" ")[0])
    return f"{len(value)} of them: {_brief(list(value))}" if isinstance(value, tuple) else _brief(value)


def _brief(value):                          # a stranger's value as it may stand in a sentence
    try:
        text = repr(value)
    except (ValueError, RecursionError):    # an integer of thousands of digits, lists in lists in lists
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= 80 else text[:77] + "..."


def _positive(name, most):
    return name, f"between 1 and {most:,}", lambda c: 1 <= getattr(c, name) <= most, "Compare with data/configs/flash.json."


def _multiple_of_128(name, value):
    return (name, "such that each quantised matmul has an inner size that is a multiple of 128",
            lambda c: c.dtype != "fp8" or value(c) % 128 == 0, "Change it, or store dtype bf16.")


_RULES = (                                  # (field, wanted, does it fit, try)
    _positive("vocab_size", 2**24), _positive("dim", 2**20), _positive("moe_inter_dim", 2**20),
    _positive("n_layers", 4096), _positive("n_heads", 4096), _positive("n_routed_experts", 65536),
    _positive("q_lora_rank", 2**20), _positive("o_groups", 4096), _positive("o_lora_rank", 2**20),
    _positive("index_topk", 2**24), _positive("head_dim", 65536), _positive("window_size", 2**24),
    _positive("index_n_heads", 4096), _positive("index_head_dim", 65536), _positive("hc_mult", 64),
    _positive("hc_sinkhorn_iters", 1000), _positive("max_seq_len", 2**40),
    ("n_mtp_layers", "0 or 1", lambda c: c.n_mtp_layers in (0, 1), "Checkpoints with DSpark drafts hold another kind of block."),
    ("n_shared_experts", "1", lambda c: c.n_shared_experts == 1, "V4 has exactly one."),
    ("score_func", "'sqrtsoftplus'", lambda c: c.score_func == "sqrtsoftplus", "V3 used 'sigmoid'; this is V4 only."),
    ("scale_fmt", "'ue8m0'", lambda c: c.scale_fmt == "ue8m0", "V4's scales are powers of two."),
    ("dtype", "'fp8', 'bf16' or 'f32'", lambda c: c.dtype in ("fp8", "bf16", "f32"), "The release is 'fp8'."),
    ("expert_dtype", "'fp4', 'fp8' or null", lambda c: c.expert_dtype in ("fp4", "fp8", None), "The release is 'fp4'."),
    ("n_activated_experts", "between 1 and n_routed_experts",
     lambda c: 1 <= c.n_activated_experts <= c.n_routed_experts, "A token cannot choose more experts than there are."),
    ("n_hash_layers", "between 0 and n_layers", lambda c: 0 <= c.n_hash_layers <= c.n_layers, "Flash and Pro have 3."),
    ("compress_ratios", "one per layer and one per MTP block (n_layers + n_mtp_layers)",
     lambda c: len(c.compress_ratios) == c.n_layers + c.n_mtp_layers, "The MTP block's 0 comes last."),
    ("compress_ratios", f"0 (window only), {CSA_RATIO} (CSA) or at least {SMALLEST_HCA_RATIO} (HCA)",
     lambda c: all(r == 0 or SMALLEST_HCA_RATIO <= r <= 2**20 for r in c.compress_ratios), "Use 0, 4 or 128."),
    ("compress_ratios", "0 for the MTP block, the last of them",
     lambda c: not any(c.compress_ratios[c.n_layers:]), "The MTP block sees a window only."),
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
    ("expert_dtype", "'fp8' or null where dtype is not 'fp8'",
     lambda c: c.dtype == "fp8" or c.expert_dtype is None, "Quantised experts come with quantised linears."),
    _multiple_of_128("dim", lambda c: c.dim), _multiple_of_128("moe_inter_dim", lambda c: c.moe_inter_dim),
    _multiple_of_128("q_lora_rank", lambda c: c.q_lora_rank),
    _multiple_of_128("o_lora_rank", lambda c: c.o_groups * c.o_lora_rank),
    ("head_dim", "rope_head_dim plus a multiple of 64 where dtype is 'fp8'",
     lambda c: c.dtype != "fp8" or (c.head_dim - c.rope_head_dim) % 64 == 0, "Cached rows are rounded in blocks of 64."),
    ("index_head_dim", "a power of two of at least 32 where dtype is 'fp8' and a layer is CSA",
     lambda c: c.dtype != "fp8" or CSA_RATIO not in c.compress_ratios
     or (c.index_head_dim >= 32 and c.index_head_dim & (c.index_head_dim - 1) == 0), "The Hadamard transform needs it."),
)
