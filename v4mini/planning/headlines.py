"""The numbers that were in the news, each from its own accounting. One model, counted in many ways.

A headline is a ratio; what stands above and below the line decides it. Every function here spells both out.
Source of the claims: V4 report, arXiv 2606.19348, abstract, Fig. 1, sections 2.3.4 and 3.6; vllm.ai/blog/deepseek-v4; a table
of bytes per model that r/LocalLLaMA passed on from 26 April 2026. Not here: whether a claim means what readers took it for
(claims.py), printing.
"""

from dataclasses import dataclass

from v4mini.planning.memory import entry_bytes, index_key_bytes, plain_cache_bytes
from v4mini.planning.models import V32Model, planned_model
from v4mini.planning.storage import kinds

MILLION = 2**20
GIB, GB = 2**30, 10**9
FP8_INDEX_KEY = 132             # bytes: 128 in FP8 and a float32 scale, as V3.2 and some engines for V4 store it
NO_SCALES = {"row": 8, "key": 4, "v32_row": 16, "v32_key": 4}          # bytes of scales in the released rows


@dataclass(frozen=True)
class Headline:
    """One published number, and ours."""

    says: str                   # "9.5x"
    about: str                  # what the number is said to be
    by: str                     # who published it
    value: float
    unit: str                   # "x", "%", "GiB", "GB"
    digits: int                 # as published
    accounting: str             # what is counted, above the line and below

    @property
    def shown(self):            # -> "9.5x"
        space = " " if self.unit[0].isalpha() and self.unit != "x" else ""
        return f"{self.value:.{self.digits}f}{space}{self.unit}"

    @property
    def agrees(self):           # to the digit it was published with
        return self.shown == self.says


def cache_total(model, storage, tokens=MILLION, key=None):      # -> bytes as published tables count: no unfinished blocks
    """Windows, entries and index keys of one text. key: bytes of an index key, if another than the storage's own."""
    parts = {kind: size for kind, size in model.cache(tokens, storage).items() if kind != "unfinished"}
    if key is not None:
        parts["index_keys"] = parts["index_keys"] // index_key_bytes(model.config, storage) * key
    return sum(parts.values())


def fp8_equivalent(model, tokens, bf16=2, fp4=0.5, head=True):     # -> FLOPs of one token, counted as FP8
    """BF16 products count twice, FP4 ones half, FP8 ones once. Experts in FP4 are multiplied as FP8: once.

    The report counts in "equivalent FP8 FLOPs" and does not define them; this is the rule that gives its two ratios.
    """
    weight = {"fp8": 1, "bf16": bf16, "fp4": fp4}
    dense = sum(flops * weight[arithmetic] for arithmetic, flops in model.dense(head=head).items())
    return dense + sum(flops * weight[arithmetic] for flops, arithmetic in model.growing(tokens).values())


def plain_flops(model, tokens):                         # -> FLOPs of one token, all formats alike
    return sum(model.dense().values()) + sum(flops for flops, _ in model.growing(tokens).values())


def headlines():                                        # -> [Headline]
    """All of them, computed now."""
    flash = planned_model("flash")
    pro = planned_model("pro")
    v32 = V32Model()
    return [*_ratios(flash, pro, v32), *_other_ratios(flash, pro, v32), *_flops(flash, pro, v32), *_sizes(flash, pro)]


def _ratios(flash, pro, v32):
    report = "V4 report, Fig. 1"
    above = cache_total(v32, "released")
    text = (f"V3.2 {above / GB:.3f} GB: 61 layers x 2^20 tokens x (656 + 132) bytes. {{name}} {{size:.3f}} GB: rows of 584 bytes "
            "(448 FP8, 64 BF16, 8 of scales), index keys of 68 (FP4), rings included, unfinished blocks not")
    for says, percent, model in (("9.5x", "10%", pro), ("13.7x", "7%", flash)):
        below = cache_total(model, "released")
        spelled = text.format(name=model.name, size=below / GB)
        yield Headline(says, f"cache at 2^20 tokens, V3.2 to {model.name}", report, above / below, "x", 1, spelled)
        yield Headline(percent, f"cache at 2^20 tokens, {model.name} of V3.2", "V4 report, abstract", 100 * below / above, "%", 0,
                       "the same two numbers, turned over")


def _other_ratios(flash, pro, v32):
    above, below = cache_total(v32, "bfloat16"), cache_total(pro, "bfloat16")
    yield Headline("8.7x", "cache at 2^20 tokens, V3.2 to V4-Pro", "vllm.ai/blog/deepseek-v4", above / below, "x", 1,
                   f"everything in BF16 on both sides, index keys too: {above / GIB:.3f} GiB / {below / GIB:.3f} GiB")
    above = cache_total(v32, "released")
    below = cache_total(pro, "released", key=FP8_INDEX_KEY)
    yield Headline("8.7x", "cache at 2^20 tokens, V3.2 to V4-Pro", "engines that keep index keys in FP8", above / below, "x", 1,
                   f"released rows, but V4's index keys in FP8, 132 bytes as V3.2's: {above / GB:.3f} GB / {below / GB:.3f} GB. "
                   "So the FP4 keys are what lifts 8.7 to 9.5")
    above = v32.cache(MILLION, "bfloat16")["latent"]
    parts = pro.cache(MILLION, "bfloat16")
    keys = parts["index_keys"] // index_key_bytes(pro.config, "bfloat16") * FP8_INDEX_KEY
    below = parts["csa"] + parts["hca"] + keys
    yield Headline("7.9x", "cache at 2^20 tokens, \"V3.2\" to V4-Pro", "r/LocalLLaMA, 26 April 2026", above / below, "x", 1,
                   f"MLA rows in BF16 without the indexer that V3.2 has, {above / GIB:.3f} GiB, over V4's rows in BF16 with an "
                   f"FP8 index, no rings, {below / GIB:.3f} GiB: V3 with V4, not V3.2")
    for model in (pro, flash):
        layers = model.config.n_layers
        gqa = plain_cache_bytes(MILLION, layers)
        yield Headline("2%", f"cache at 2^20 tokens, {model.name} of GQA-8", "V4 report, 2.3.4",
                       100 * cache_total(model, "released") / gqa, "%", 0,
                       f"GQA: {layers} layers x 2 x 8 heads x 128 numbers in BF16, 4,096 bytes a token and layer, "
                       f"{gqa / GIB:.0f} GiB")
    for model in (pro, flash):
        times = _windows_to_entries(model)
        yield Headline("8x", f"rows of all windows to entries, {model.name}", "V4 report, 3.6", times, "x", 0,
                       "one row of 584 bytes per token and layer, if windows of all tokens were stored, over entries per token, "
                       "index keys left out")


def _windows_to_entries(model):
    config = model.config
    row = entry_bytes(model.config, "released")
    entries = sum(row / config.ratio(layer) for layer in range(config.n_layers) if config.ratio(layer))
    return config.n_layers * row / entries


def _flops(flash, pro, v32):
    tokens = 10**6
    spelled = ("at 10^6 tokens; BF16 products (attention over rows, head, compressors, gates, mHC) count 2, FP8 and FP4 x FP8 "
               "1, FP4 x FP4 (V4's index) 1/2: {name} {ours:.0f}, V3.2 {theirs:.0f} GFLOP a token")
    theirs = fp8_equivalent(v32, tokens)
    for share, ratio, model in (("27%", "3.7x", pro), ("10%", "9.8x", flash)):
        ours = fp8_equivalent(model, tokens)
        yield Headline(share, f"FLOPs of one token, {model.name} of V3.2", "V4 report, abstract", 100 * ours / theirs, "%", 0,
                       spelled.format(name=model.name, ours=ours / 1e9, theirs=theirs / 1e9))
        yield Headline(ratio, f"FLOPs of one token, V3.2 to {model.name}", "V4 report, Fig. 1", theirs / ours, "x", 1,
                       "the same two numbers, turned over")


def _sizes(flash, pro):
    for says, unit, digits, model, storage in (
            ("6.72 GiB", "GiB", 2, flash, "bfloat16"), ("3.69 GB", "GB", 2, flash, "released"),
            ("9.62 GiB", "GiB", 2, pro, "bfloat16"), ("5.28 GB", "GB", 2, pro, "released")):
        size = cache_total(model, storage) / (GIB if unit == "GiB" else GB)
        rows = f"{entry_bytes(model.config, storage)} bytes a row, {index_key_bytes(model.config, storage)} an index key"
        by = "vllm.ai/blog/deepseek-v4" if storage == "bfloat16" else "follows from V4 report, 2.3.4"
        yield Headline(says, f"cache of {model.name} at 2^20 tokens", by, size, unit, digits, rows)


def near_misses():                                      # -> [(what is counted, Pro, Flash, unit)]: other ways, other numbers
    """What the same two ratios become if one thing is counted otherwise."""
    flash = planned_model("flash")
    pro = planned_model("pro")
    v32 = V32Model()
    rows = []

    def cache_row(what, above, below):
        rows.append((what, *(above / below(model) for model in (pro, flash)), "x"))

    above = cache_total(v32, "released")
    cache_row("cache, as published", above, lambda m: cache_total(m, "released"))
    cache_row("cache, scales of the formats left out on both sides", _without_scales(v32), _without_scales)
    cache_row("cache, V4's unfinished blocks counted as well", above, lambda m: sum(m.cache(MILLION, "released").values()))
    cache_row("cache, V4's index keys in FP8", above, lambda m: cache_total(m, "released", key=FP8_INDEX_KEY))
    cache_row("cache, all in BF16", cache_total(v32, "bfloat16"), lambda m: cache_total(m, "bfloat16"))
    cache_row("cache, as published but at 4,096 tokens", cache_total(v32, "released", 4096),
              lambda m: cache_total(m, "released", 4096))

    def flops_row(what, count, tokens=10**6):
        rows.append((what, *(count(v32, tokens) / count(model, tokens) for model in (pro, flash)), "x"))

    flops_row("FLOPs, FP8-equivalent as published", fp8_equivalent)
    flops_row("FLOPs, plain", plain_flops)
    flops_row("FLOPs, FP4 index counted whole", lambda m, n: fp8_equivalent(m, n, fp4=1))
    flops_row("FLOPs, wo_a counted as BF16, as the script computes it", _with_wo_a)
    flops_row("FLOPs, as published but at 4,096 tokens", fp8_equivalent, 4096)
    return rows


def _without_scales(model):
    if isinstance(model, V32Model):
        row = sum(model.cache(1, "released").values()) // 61 - 132
        key = 132
        return 61 * MILLION * (row - NO_SCALES["v32_row"] + key - NO_SCALES["v32_key"])
    parts = {kind: size for kind, size in model.cache(MILLION, "released").items() if kind != "unfinished"}
    row, key = entry_bytes(model.config, "released"), index_key_bytes(model.config, "released")
    rows = sum(size for kind, size in parts.items() if kind != "index_keys") // row
    return rows * (row - NO_SCALES["row"]) + parts["index_keys"] // key * (key - NO_SCALES["key"])


def _with_wo_a(model, tokens):                          # the reference decodes wo_a to BF16 when it converts a checkpoint
    extra = 0
    if not isinstance(model, V32Model):
        extra = sum(2 * kind.size for kind in kinds(model.config) if kind.one.group == "attn wo_a" and not kind.is_mtp)
    return fp8_equivalent(model, tokens) + extra
