"""What can be planned for: V4 of any config, and V3.2 for comparison. Both answer the same questions in bytes and FLOPs.

    parameters, active          numbers in all, and those one token meets
    weights(stored)             {group: bytes}            what must fit
    step_weights(batch, stored) {part: bytes}             what one step of `batch` texts reads
    cache(tokens, storage)      {kind: bytes}             what one text leaves behind
    reads(context, storage)     {kind: bytes}             what one new token reads of it
    dense(stored, head)         {arithmetic: FLOPs}       products with weights, the same for every token
    growing(context)            {part: (FLOPs, arithmetic)}       products with the past

Not here: V3.2's numbers (v32.py), machines, seconds (roofline.py).
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from v4mini.config import Config
from v4mini.planning import v32
from v4mini.planning.flops import past_flops
from v4mini.planning.memory import cache_breakdown, check_storage, entry_bytes, index_key_bytes
from v4mini.planning.storage import ARITHMETIC, EXPERTS, QUANTISED, check_weights, kinds, spec_bytes, stored_bytes
from v4mini.shapes import Refused

PRESETS = {"flash": "DeepSeek-V4-Flash", "pro": "DeepSeek-V4-Pro", "mini": "v4mini's bundled model"}
GROWING = {"index": "fp4", "csa": "bf16", "hca": "bf16", "window": "bf16"}      # part: arithmetic, as DeepSeek's script has it


@dataclass(frozen=True)
class V4Model:
    """A V4 of this config."""

    name: str
    config: Config

    @property
    def longest(self):                                  # -> tokens it was made for
        return self.config.max_seq_len

    @property
    def layers(self):                                   # -> {"window": 2, "csa": 21, "hca": 20}
        found = [self.config.layer_kind(layer) for layer in range(self.config.n_layers)]
        return {kind: found.count(kind) for kind in ("window", "csa", "hca")}

    @property
    def parameters(self):
        return sum(kind.size for kind in kinds(self.config) if not kind.is_mtp)

    @property
    def active(self):
        """One row of the embedding, the chosen share of the experts, all the rest."""
        c, total = self.config, 0
        for kind in kinds(c):
            if not kind.is_mtp:
                total += (c.dim if kind.one.group == "embedding" else kind.size * self._share(kind))
        return round(total)

    def _share(self, kind):                             # of its numbers, one token meets so many
        return self.config.n_activated_experts / self.config.n_routed_experts if kind.one.group == EXPERTS else 1

    def weights(self, stored="released", mtp=False):    # -> {group: bytes}
        """Bytes of the main model, with mtp of the block for drafts as well."""
        return stored_bytes(self.config, stored, mtp)

    def step_weights(self, batch, stored="released"):   # -> {"experts", "rest"}: bytes
        """What one step reads if each of `batch` texts adds a token; embedding rows and hash tables are a few kB.

        `batch` tokens that each choose K of E experts, independently and evenly, touch E (1 - (1 - K/E)^batch) of them
        on average. Real routing is less even and touches fewer.
        """
        check_weights(stored)
        c = self.config
        parts = {"experts": 0, "rest": 0}
        touched = 1 - (1 - c.n_activated_experts / c.n_routed_experts) ** batch
        for kind in kinds(c):
            if kind.is_mtp or kind.one.group in ("embedding", "hash tables"):
                continue
            nbytes = kind.count * spec_bytes(kind.one, stored)
            if kind.one.group == EXPERTS:
                parts["experts"] += nbytes * touched
            else:
                parts["rest"] += nbytes
        return parts

    def cache(self, tokens, storage="released"):        # -> {kind: bytes}
        """As the reference's layout holds it: no reserve for going back."""
        return cache_breakdown(self.config, tokens, storage, reserve=0)

    def reads(self, context, storage="released"):       # -> {kind: bytes}
        """All index keys, then the picks; all entries of HCA layers; the window of every layer."""
        c = self.config
        E = entry_bytes(self.config, storage)
        I = index_key_bytes(self.config, storage)
        found = {"window": c.n_layers * min(c.window_size, context) * E, "csa": 0, "index_keys": 0, "hca": 0}
        for layer in range(c.n_layers):
            kind = c.layer_kind(layer)
            entries = context // max(1, c.ratio(layer))
            if kind == "csa":
                found["index_keys"] += entries * I
                found["csa"] += min(c.index_topk, entries) * E
            elif kind == "hca":
                found["hca"] += entries * E
        return found

    def dense(self, stored="released", head=True):      # -> {arithmetic: FLOPs of one token}
        """2 per weight and token. FP4 and FP8 weights are multiplied as FP8, as DeepSeek's kernels do it."""
        check_weights(stored)
        found = {}
        for kind in kinds(self.config):
            if kind.is_mtp or not kind.is_product or (kind.one.group == "output head" and not head):
                continue
            arithmetic = self._arithmetic(kind, stored)
            found[arithmetic] = found.get(arithmetic, 0) + 2 * kind.size * self._share(kind)
        return found

    def _arithmetic(self, kind, stored):
        if kind.one.group not in QUANTISED or (stored == "released" and self.config.dtype != "fp8"):
            return "bf16"
        return ARITHMETIC[stored]

    def growing(self, context):                         # -> {part: (FLOPs of one token, arithmetic)}
        """What the token at position context - 1 multiplies with the past: what flops.token_flops adds to its dense part."""
        parts = past_flops(self.config, context - 1)
        return {part: (parts[part], arithmetic) for part, arithmetic in GROWING.items()}


@dataclass(frozen=True)
class V32Model:
    """DeepSeek-V3.2 as released; a fixed model with no config to choose."""

    name: str = "DeepSeek-V3.2"
    longest: int = v32.LONGEST
    layers = {"mla": v32.LAYERS}

    @property
    def parameters(self):
        return v32.parameters()

    @property
    def active(self):
        return v32.active()

    def weights(self, stored="released", mtp=False):
        return v32.stored_bytes(_only_two(stored), mtp)

    def step_weights(self, batch, stored="released"):
        return v32.step_weights(batch, _only_two(stored))

    def cache(self, tokens, storage="released"):
        check_storage(storage)
        row, key = v32.cache_rows(storage)
        return {"latent": v32.LAYERS * tokens * row, "index_keys": v32.LAYERS * tokens * key}

    def reads(self, context, storage="released"):
        check_storage(storage)
        row, key = v32.cache_rows(storage)
        return {"latent": v32.LAYERS * min(context, v32.INDEX_TOPK) * row, "index_keys": v32.LAYERS * context * key}

    def dense(self, stored="released", head=True):
        return v32.dense(_only_two(stored), head)

    def growing(self, context):
        return v32.growing(context)


def _only_two(stored):
    if stored not in ("released", "bf16"):
        raise Refused(f"weights: V3.2 can be planned as released or bf16, got {stored!r}. Leave --weights out.")
    return stored


def planned_model(name):                                # "flash", "pro", "v3.2", a config.json or its folder -> model
    """The model of that name. Raises Refused, with the nearest names."""
    key = str(name).lower().removeprefix("deepseek-").removeprefix("v4-")
    if key in ("v3.2", "v32"):
        return V32Model()
    if key in PRESETS:
        return V4Model(PRESETS[key], getattr(Config, key)())
    if Path(name).exists():
        return V4Model(str(name), Config.load(name))
    close = difflib.get_close_matches(key, [*PRESETS, "v3.2"], n=2, cutoff=0.4)
    advice = f"Did you mean {' or '.join(close)}?" if close else "Name one of these, a config.json or a folder with one."
    raise Refused(f"model: expected {', '.join(PRESETS)} or v3.2, got {str(name)[:80]!r}. {advice}")
