"""Bytes that one more token of context adds to a cache, for good: V3.2, V4, the release of July, V4.1, each with its accounting.

What does not grow is left out: windows, unfinished blocks, the drafter's ring. Rows are counted as released.
Source: the released configs; V4.1: arXiv 2609.19969, its layers and formats as NVIDIA NeMo Automodel ports them.
Not here: caches of a given length (memory.py), V4.1 itself: it is another architecture, and nothing else of it is planned.
"""

from dataclasses import dataclass
from fractions import Fraction

from v4mini.planning.memory import entry_bytes, index_key_bytes
from v4mini.planning.models import V32Model, planned_model

V41_HEAD, V41_INDEX = 512, 128                          # numbers of a row, of an index key
V41_RATIOS = {2: 2, 8: 2, 14: 2, 20: 1}                 # layer: tokens per row; only these own rows, the others reuse theirs


@dataclass(frozen=True)
class Growth:
    """One model's bytes a token, and how they are counted."""

    model: str
    bytes: Fraction
    accounting: str
    sure: str                                           # one of tables.SURE


def v4_growth(name, config):                            # -> Growth
    """CSA layers: an entry and a key per 4 tokens. HCA layers: an entry per 128. Windows do not grow."""
    entry, key = entry_bytes(config, "released"), index_key_bytes(config, "released")
    ratios = [config.ratio(layer) for layer in range(config.n_layers)]
    kinds = [config.layer_kind(layer) for layer in range(config.n_layers)]
    csa = [ratio for ratio, kind in zip(ratios, kinds) if kind == "csa"]
    hca = [ratio for ratio, kind in zip(ratios, kinds) if kind == "hca"]
    total = sum((Fraction(entry + key, ratio) for ratio in csa), Fraction(sum(Fraction(entry, ratio) for ratio in hca)))
    parts = [f"{len(csa)} CSA layers x ({entry} + {key}) / {csa[0]}"] if csa else []
    parts += [f"{len(hca)} HCA layers x {entry} / {hca[0]}"] if hca else []
    return Growth(name, total, " + ".join(parts) or "windows only", "derived")


def v41_growth():                                       # -> Growth
    """(3 x 1/2 + 1) x (288 + 68): rows in NVFP4, a scale per 16; index keys in MXFP4, a scale per 32."""
    row = V41_HEAD // 2 + V41_HEAD // 16
    key = V41_INDEX // 2 + V41_INDEX // 32
    shares = sum(Fraction(1, ratio) for ratio in V41_RATIOS.values())
    halves = sum(ratio == 2 for ratio in V41_RATIOS.values())
    return Growth("DeepSeek-V4.1-Flash", shares * (row + key),
                  f"{halves} layers x ({row} + {key}) / 2 + 1 layer x ({row} + {key}); 36 of 40 layers own no rows", "secondary")


def growths():                                          # -> [Growth], oldest first
    """All four generations, Pro beside Flash."""
    latent, key = V32Model().cache(1)["latent"], V32Model().cache(1)["index_keys"]
    layers = V32Model().layers["mla"]
    flash, pro = planned_model("flash"), planned_model("pro")
    rows = f"{layers} layers x ({latent // layers} + {key // layers})"
    backbone = v4_growth(flash.name, flash.config)
    rings = backbone.accounting + "; DSpark's three blocks keep rings of 128 rows, which do not grow"
    return [Growth("DeepSeek-V3.2", Fraction(latent + key), rows, "derived"), backbone, v4_growth(pro.name, pro.config),
            Growth("DeepSeek-V4-Flash-0731", backbone.bytes, rings, "derived"), v41_growth()]
