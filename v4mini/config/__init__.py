"""Config: every number that shapes a V4, under the names of the reference's `inference/config.json`.

    fields.py      the published names      reading.py     from any published spelling to a Config
    rotation.py    rope_scaling and kin     rules.py       which values are legal

Not here: tensor shapes (weights/spec.py), bytes and FLOPs (planning/).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from v4mini.config.fields import DSPARK, RELEASED
from v4mini.config.reading import CSA_RATIO, Reading, read
from v4mini.config.rules import check_rules, typed
from v4mini.shapes import Refused
from v4mini.untrusted import parse_json, read_file

MAX_CONFIG_BYTES = 4 << 20          # the released one has 2 KB


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
    compress_ratios: tuple[int, ...]        # one per layer, then a 0 per block that drafts (MTP or DSpark)
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
    more_eos_ids: tuple[int, ...] = ()      # further tokens that end a text
    n_dspark_layers: int = 0                # DSpark: blocks that draft, instead of an MTP block (the release of 31 July 2026: 3)
    dspark_block_size: int = 0              # tokens drafted at once
    dspark_noise_token_id: int = 0          # what stands at places not yet drafted
    dspark_target_layer_ids: tuple[int, ...] = ()       # whose outputs the drafter reads
    dspark_markov_rank: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, typed(field.name, field.type, getattr(self, field.name)))
        check_rules(self)

    # ---- derived ----

    @property
    def eos_ids(self):                      # -> every token that ends a text
        return (self.eos_id, *self.more_eos_ids)

    @property
    def n_draft_layers(self):               # -> blocks under mtp.*
        return self.n_mtp_layers + self.n_dspark_layers

    def ratio(self, layer):
        """How many tokens one entry of `layer` stands for; 0: no entries. Layers n_layers.. are blocks that draft."""
        return self.compress_ratios[layer]

    def layer_kind(self, layer):            # -> "window" | "csa" | "hca"
        ratio = self.compress_ratios[layer]
        return "window" if ratio == 0 else "csa" if ratio == CSA_RATIO else "hca"

    def is_hash_layer(self, layer):
        return layer < self.n_hash_layers

    def replace(self, **changes):           # -> Config
        """A copy with some fields changed, checked anew. Cutting n_layers cuts compress_ratios and hash layers too.

        A cut that loses a layer which DSpark reads drops its blocks as well.
        """
        if changes.get("n_dspark_layers") == 0 or (set(changes) & {"n_layers"} and self._loses_targets(changes["n_layers"])):
            changes = {"n_dspark_layers": 0, **{name: () if name.endswith("ids") else 0 for name in DSPARK}} | changes
        counts = [changes.get(name, getattr(self, name)) for name in ("n_layers", "n_mtp_layers", "n_dspark_layers")]
        if "compress_ratios" not in changes and all(type(count) is int for count in counts):    # else the check below says so
            n, *drafts = counts
            changes["compress_ratios"] = (*self.compress_ratios[: self.n_layers][:n], *[0] * sum(drafts))
            changes.setdefault("n_hash_layers", min(self.n_hash_layers, n))
        return dataclasses.replace(self, **changes)

    def _loses_targets(self, n_layers):
        return type(n_layers) is int and any(layer >= n_layers for layer in self.dspark_target_layer_ids)

    def with_dspark(self, layers=3, block_size=5, markov_rank=256, noise_token_id=None):      # -> Config
        """A copy whose drafts come from DSpark blocks, as in the release of 31 July 2026, in place of an MTP block.

        They read the last layers, three at most. noise_token_id: by default the release's, or the last token of a smaller
        vocabulary.
        """
        noise = min(128799, self.vocab_size - 1) if noise_token_id is None else noise_token_id
        return self.replace(n_mtp_layers=0, n_dspark_layers=layers, dspark_block_size=block_size, dspark_noise_token_id=noise,
                            dspark_markov_rank=markov_rank,
                            dspark_target_layer_ids=tuple(range(max(0, self.n_layers - 3), self.n_layers)))

    # ---- reading and writing ----

    @classmethod
    def load(cls, path):                    # -> Config
        """Read a config.json, or the one in a checkpoint's folder. Raises Refused."""
        return cls.load_noted(path)[0]

    @classmethod
    def load_noted(cls, path):              # -> Config, [one line per field that is not known here]
        """The same, with what was passed over. Raises Refused."""
        reading = _read(read_fields(path))
        return _made(cls, reading), reading.notes

    @classmethod
    def from_dict(cls, fields):             # -> Config
        """From any of the published spellings; see reading.py. Raises Refused."""
        return _made(cls, _read(fields))

    def to_dict(self):
        """The reference's spelling (inference/config.json), plain JSON values."""
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()}
        unused = () if self.n_dspark_layers else ("n_dspark_layers", *DSPARK)
        return {name: value for name, value in fields.items() if name not in unused and (name, value) != ("more_eos_ids", [])}

    def to_released(self):
        """The release's spelling (config.json), which transformers reads too."""
        fields = {released: getattr(self, ours) for released, ours in RELEASED.items()}
        fields["compress_ratios"] = list(self.compress_ratios)
        if self.more_eos_ids:
            fields["eos_token_id"] = list(self.eos_ids)
        if self.n_dspark_layers:            # the release's count there is left over from April
            fields |= {name: self.to_dict()[name] for name in DSPARK} | {"num_nextn_predict_layers": 1}
        if self.swiglu_limit == 0:          # transformers would clamp everything to 0
            fields["swiglu_limit"] = None
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


def _made(cls, reading):                    # -> Config; a refusal also says what the file calls the field
    try:
        return cls(**reading.values)
    except Refused as refused:
        name = str(refused).removeprefix("config: ").split(" ")[0]
        here = reading.spelled.get(name)
        raise Refused(f"{refused} This file calls it {here}." if here else str(refused)) from None


def _read(fields):                          # -> Reading
    return read(fields, {field.name for field in dataclasses.fields(Config)})


def read_fields(path):                      # -> dict
    """A config.json, or the one in a folder, as it stands there: nothing is checked but that it is JSON. Raises Refused."""
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    raw = read_file(path, MAX_CONFIG_BYTES, "config", "Name a config.json or the folder that holds one.")
    return parse_json(raw, f"config: {path}")


__all__ = ["CSA_RATIO", "Config", "Reading", "read_fields"]
