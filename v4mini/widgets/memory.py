"""The memory explorer: the bytes of 1 to a million tokens of context, by part, beside V3.2 and a plain transformer.

Not here: the bytes themselves (planning/memory.py), what all explorers share (explorer.py), the page (memory.js).
"""

from traitlets import Int, Unicode, validate

from v4mini.config import Config
from v4mini.planning.memory import STORAGES, cache_breakdown, plain_cache_bytes, v32_cache_bytes
from v4mini.shapes import Refused
from v4mini.viz.cache import NAMES
from v4mini.viz.tables import human_bytes
from v4mini.widgets.explorer import Explorer, in_range

PARTS = "window", "unfinished", "csa", "index_keys", "hca"
LONGEST = 1 << 20               # tokens
PUBLISHED = {"V4-Flash": Config.flash, "V4-Pro": Config.pro, "mini": Config.mini}
V32, PLAIN = "V3.2", "plain transformer"


class MemoryExplorer(Explorer):
    """Show it as the last line of a cell; or set tokens, storage and model from code, and ask for tables.

    config: a model of yours, beside V4-Flash, V4-Pro and the shape of the bundled one. All numbers are planning.memory's: what
    inference.Cache will hold. The plain transformer has as many layers as the chosen model, and in each 8 key-value heads of
    128, in bfloat16 where V4 is stored as released; V3.2 has its own 61 layers.
    """

    script, places, hint = "memory", ("tokens", "storage", "model"), "for a slider"
    tokens = Int(LONGEST)
    storage = Unicode("released")
    model = Unicode("V4-Flash")

    def __init__(self, config=None, tokens=LONGEST, storage="released", model=None):
        self.configs = {name: make() for name, make in PUBLISHED.items()} | ({} if config is None else {"yours": config})
        super().__init__(tokens=tokens, storage=storage, model=model or ("V4-Flash" if config is None else "yours"))

    @property
    def config(self):                                   # -> Config of the chosen model
        return self.configs[self.model]

    def breakdown(self):                                # -> {part: bytes}
        """The chosen model's cache, part by part."""
        return cache_breakdown(self.config, self.tokens, self.storage)

    def totals(self):                                   # -> {name: bytes}: V4's models, V3.2, a plain transformer
        """All that are compared, at this length and storage."""
        totals = {name: sum(cache_breakdown(config, self.tokens, self.storage).values()) for name, config in self.configs.items()}
        return totals | {V32: v32_cache_bytes(self.tokens, self.storage),
                         PLAIN: plain_cache_bytes(self.tokens, self.config.n_layers, self.storage)}

    def tables(self):                                   # -> [(caption, header, rows)]
        """The chosen model's parts, and all models."""
        parts, totals = self.breakdown(), self.totals()
        own = totals[self.model]
        rows = [[NAMES[part], human_bytes(parts[part]), f"{parts[part] / own:.1%}"] for part in PARTS]
        compared = [[name, human_bytes(total), f"{total / own:.2f}"] for name, total in totals.items()]
        return [(f"{self.model} after {self.tokens:,} tokens, {self.storage}", ["part", "bytes", "share"], rows),
                (f"After {self.tokens:,} tokens, {self.storage}", ["model", "bytes", f"times {self.model}"], compared)]

    def __repr__(self):
        totals = self.totals()
        own = totals[self.model]
        return (f"MemoryExplorer: after {self.tokens:,} tokens {self.model} keeps {human_bytes(own)} ({self.storage}); "
                f"V3.2 would keep {totals[V32] / own:.1f} times as much, a plain transformer {totals[PLAIN] / own:.1f} times.")

    @validate("tokens", "storage", "model")
    def _known(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if name == "tokens":
            return in_range(name, value, 1, LONGEST)
        known = STORAGES if name == "storage" else tuple(self.configs)
        if value not in known:
            raise Refused(f"{name}: expected {', '.join(known)}, got {value!r}.")
        return value

    def _data(self):
        growths = {name: {storage: grown(config, storage) for storage in STORAGES} for name, config in self.configs.items()}
        return {"data": {"models": growths, "layers": {name: config.n_layers for name, config in self.configs.items()},
                         "v32": {storage: v32_cache_bytes(1, storage) for storage in STORAGES},
                         "plain": {storage: plain_cache_bytes(1, 1, storage) for storage in STORAGES},
                         "names": [[part, NAMES[part]] for part in PARTS], "longest": LONGEST}}


def grown(config, storage):                             # -> [[part, layers, bytes at once, bytes a block, tokens of a block]]
    """A cache as sums: after n tokens a part holds layers (bytes at once + n // tokens of a block * bytes a block).

    Read off cache_breakdown, layer by layer: what it says for no token, and what one block adds.
    """
    terms = {}
    for layer in range(config.n_layers):
        ratio = config.ratio(layer) or 1
        none, one = (cache_breakdown(config, n, storage, layers=[layer]) for n in (0, ratio))
        for part in PARTS:
            term = part, none[part], one[part] - none[part], ratio
            if any(term[1:3]):
                terms[term] = terms.get(term, 0) + 1
    return [[part, layers, *rest] for (part, *rest), layers in terms.items()]
