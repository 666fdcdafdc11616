"""A Memory that keeps every row it was ever given, for tests of one layer without a cache."""

import numpy as np

from v4mini.layers.sequences import Memory


class Keeping(Memory):
    """`extend` cuts from all rows what the contract names: the window's last, the unfinished block, all entries and keys."""

    def __init__(self, config):
        self.config = config
        self.kept = {}
        self.length = 0

    def extend(self, layer, name, rows):
        before = self.kept.get((layer, name), rows[:0])
        everything = self.kept[layer, name] = np.concatenate([before, rows])
        return everything[self._oldest(layer, name, len(before)):]

    def _oldest(self, layer, name, before):
        if name in ("entries", "index_keys"):
            return 0
        if name == "window":
            return max(0, before - self.config.window_size + 1)
        ratio, overlap = self.config.ratio(layer), self.config.layer_kind(layer) == "csa"
        return max(0, before // ratio - overlap) * ratio
