"""One text as attention has read it: for each token, layer and head, how much falls on which row, entry and sink.

Not here: computing it (ops/attention.py notes it while the model runs), showing it (attention.py).
"""

from dataclasses import dataclass

import numpy as np

from v4mini.ops.compress import visible
from v4mini.shapes import Refused
from v4mini.trace import Trace
from v4mini.widgets.packed import pack

MOST_TOKENS = 512
MOST_BYTES = 32 << 20           # of weights that a page is sent; a wide model is read less far


@dataclass(frozen=True)
class Looks:
    """The attention of one layer. Each token's weights on rows, entries and sink sum to 1 in every head."""

    kind: str                   # "window", "csa" or "hca"
    ratio: int                  # tokens of an entry's own block; 0: the layer has none
    window: np.ndarray          # [T, H, W]: slot j is the row of W - 1 - j tokens ago
    entries: np.ndarray         # [T, H, K]
    sink: np.ndarray            # [T, H]
    numbers: np.ndarray         # [T, K]: which entry each of the K is; -1: none
    sinks: np.ndarray           # [H]: the learned numbers, attn_sink

    @property
    def shares(self):                                   # -> [T, H, 3]
        """What falls on the window, on entries, on the sink."""
        return np.stack([self.window.sum(2), self.entries.sum(2), self.sink], axis=2)

    def seen(self, token):                              # -> int
        """How many entries are there to be read or picked."""
        return int(visible(np.array([token]), self.ratio)[0]) if self.ratio else 0

    def tokens_of(self, entry):                         # -> range
        """The tokens that an entry is pooled from: in CSA its own block and the one before, in HCA its own."""
        first = entry - 1 if self.kind == "csa" and entry else entry
        return range(first * self.ratio, (entry + 1) * self.ratio)

    def read_by(self, token):                           # -> [("row", token) or ("entry", number) or ("sink", 0)], weights [H, n]
        """All that a token reads, the oldest row first, then entries, then the sink; and how much of each."""
        W, numbers = self.window.shape[2], self.numbers[token]
        rows = min(token + 1, W)
        there = np.flatnonzero(numbers >= 0)
        names = [*(("row", token - rows + 1 + i) for i in range(rows)), *(("entry", int(numbers[i])) for i in there), ("sink", 0)]
        weights = [self.window[token][:, W - rows:], self.entries[token][:, there], self.sink[token][:, None]]
        return names, np.concatenate(weights, axis=1)


def read_looks(model, tokenizer, text, most=MOST_TOKENS):       # -> ids [T], pieces [T], [Looks] by layer, tokens left out
    """Run `model` on the first tokens of `text`, BOS in front of them, with its own engine."""
    encoded = tokenizer.encode(text)
    ids = [tokenizer.bos_id, *encoded[: min(most, most_tokens(model.config)) - 1]]
    trace = Trace("attn.weights")
    model.logits(ids, trace)
    config, at = model.config, np.arange(len(ids))
    layers = [_looks(config, layer, trace, at, model.ops.host(w.attn.attn_sink)) for layer, w in enumerate(model.weights.layers)]
    return ids, ["BOS", *(tokenizer.piece(i) for i in ids[1:])], layers, len(encoded) + 1 - len(ids)


def most_tokens(config):                                # -> int
    """So many that all their weights fit in MOST_BYTES. Refused where not even one token's do."""
    each = 4 * config.n_layers * config.n_heads * (config.window_size + config.index_topk + 1)
    if each > MOST_BYTES:
        raise Refused(f"attention: expected weights of at most {MOST_BYTES:,} bytes a token, got {each:,}. Try a smaller model.")
    return MOST_BYTES // each


def pack_looks(looks):                                  # -> dict
    """One layer for the page, the window cut to the rows that there are."""
    T, H, W = looks.window.shape
    window = looks.window[:, :, W - min(T, W):]
    return {"kind": looks.kind, "ratio": looks.ratio, "window": pack(window, "float32"),
            "entries": pack(looks.entries, "float32"), "sink": pack(looks.sink, "float32"),
            "numbers": pack(looks.numbers, "int32"), "sinks": pack(looks.sinks, "float32"),
            "seen": [looks.seen(t) for t in range(T)], "slots": W}


def _looks(config, layer, trace, at, sinks):            # -> Looks
    window, entries, sink = trace[f"layers.{layer}.attn.weights"]
    kind, ratio, K = config.layer_kind(layer), config.ratio(layer), entries.shape[2]
    if kind == "csa":
        numbers = trace[f"layers.{layer}.attn.index_picks"]
    else:
        numbers = np.tile(np.arange(K), (len(at), 1))
        if kind == "hca":
            numbers[numbers >= visible(at, ratio)[:, None]] = -1
    return Looks(kind, ratio, window, entries, sink, numbers, np.asarray(sinks))
