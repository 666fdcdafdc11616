"""Rows that layers would add for a list of tokens, without a model; and what layers must then see, by plain slicing."""

import numpy as np

from v4mini.config import Config
from v4mini.numerics.rows import Float32, formats

TOKENS = 7
SMALL = Config.tiny().replace(window_size=5, compress_ratios=(4, 0, 6, 4, 0), head_dim=72, rope_head_dim=4, index_head_dim=33,
                              max_seq_len=400)


def tokens_of(rng, count):
    return [int(token) for token in rng.integers(0, TOKENS, count)]


class Fake:
    """Rows depend on the token and its position; an entry on all tokens of its block."""

    def __init__(self, config, storage="float32", layers=None, seed=0):
        self.config, rng = config, np.random.default_rng(seed)
        row, key, _ = formats(config, storage)
        self.widths, self.formats = {}, {}
        for layer in range(config.n_layers) if layers is None else layers:
            kind = config.layer_kind(layer)
            wide = 2 if kind == "csa" else 1
            parts = {"window": row}
            if kind != "window":
                parts |= {"kv": Float32(wide * config.head_dim), "score": Float32(wide * config.head_dim), "entries": row}
            if kind == "csa":
                index = Float32(wide * config.index_head_dim)
                parts |= {"index_kv": index, "index_score": index, "index_keys": key}
            self.formats |= {(layer, name): format for name, format in parts.items()}
        self.tables = {key: rng.standard_normal((TOKENS, format.width), np.float32) for key, format in self.formats.items()}

    def rows(self, key, tokens, start=0):               # rows for tokens[start:], or entries of blocks that end there
        layer, name = key
        tokens = np.asarray(tokens, np.int64)
        if name in ("entries", "index_keys"):
            ratio = self.config.ratio(layer)
            blocks = tokens[: len(tokens) // ratio * ratio].reshape(-1, ratio)[start // ratio:]
            made = self.tables[key][blocks].sum(axis=1) + np.arange(start // ratio, len(tokens) // ratio)[:, None]
        else:
            made = self.tables[key][tokens[start:]] + np.arange(start, len(tokens))[:, None]
        return made.astype(np.float32)

    def first(self, key, length):                       # the oldest row that a layer sees after `length` tokens
        layer, name = key
        if name == "window":
            return max(0, length - self.config.window_size + 1)
        if name in ("entries", "index_keys"):
            return 0
        ratio, before = self.config.ratio(layer), self.config.layer_kind(layer) == "csa"
        return max(0, length // ratio - before) * ratio

    def wanted(self, key, tokens, length):              # what extend must give when tokens[length:] come
        format = self.formats[key]
        return format.decode(format.encode(self.rows(key, tokens)[self.first(key, length):]))

    def extend(self, cache, tokens, parts=None):        # yields (key, what the layer sees)
        for key in list(self.formats)[:parts]:
            yield key, cache.extend(*key, self.rows(key, tokens, cache.length))

    def feed(self, cache, tokens):
        """Make `tokens` (all of them, from the first on) the cache's past, checking what layers see."""
        for key, seen in self.extend(cache, tokens):
            np.testing.assert_array_equal(np.asarray(seen), self.wanted(key, tokens, cache.length), err_msg=str(key))
        cache.commit(len(tokens) - cache.length)
