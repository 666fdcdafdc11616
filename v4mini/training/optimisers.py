"""Which tensor learns how, and one step of all of them.

    Muon            matrices inside the network, mHC's fn among them; each expert's by itself
    AdamW           embedding, output head, norms, vectors (sinks, ape, mHC base and scale)
    balance rule    a learned gate's bias: no gradient, pushed towards even load
    nothing         hash tables

Source: V4 report 2.4 (Muon and AdamW), arXiv:2412.19437 (the bias, which V4 keeps). The report names embedding, head, norms and
mHC's base and scale for AdamW; sinks and ape are vectors as they are, so they go with them. The report does not say whether its
weight decay of 0.1 is on vectors too; here it is on matrices, as it would pull vectors to 0 that have their rest elsewhere.
Not here: the formulas (muon.py, adamw.py).
"""

import numpy as np

from v4mini.training.adamw import AdamW, update
from v4mini.training.losses import update_bias
from v4mini.training.muon import Muon, newton_schulz
from v4mini.weights.spec import tensors

DECAY = 0.1
SINK = ".attn_sink"


def learner(spec):                                      # TensorSpec -> "muon" | "adamw" | "balance" | None
    """Who updates this tensor."""
    if spec.format == "i64":
        return None
    if spec.first == "bias":
        return "balance"
    is_table = spec.name in ("embed.weight", "head.weight") or ".markov_head." in spec.name     # a row a token
    is_hidden_matrix = spec.first == "matrix" and not is_table
    return "muon" if is_hidden_matrix else "adamw"


def decay_of(spec):                                     # -> float
    return DECAY if spec.first == "matrix" else 0.0


def independent_rows(spec, config):                     # -> [slice of rows, ...]
    """The matrices that a stored one is made of: V4 orthogonalises those the report's formulas keep apart.

    wo_a holds one matrix per output group, a CSA compressor's wkv and wgate one for each half of an entry's tokens,
    mHC's fn those of pre, post and comb.
    """
    rows = spec.shape[0]
    M = config.hc_mult
    if spec.name.endswith("wo_a.weight"):
        return _even(rows, config.o_groups)
    if ".compressor.w" in spec.name:
        return _even(rows, 2 if config.layer_kind(layer_of(spec.name, config)) == "csa" else 1)
    if spec.name.endswith("_fn") and rows == (2 + M) * M:
        return [slice(0, M), slice(M, 2 * M), slice(2 * M, rows)]
    return [slice(0, rows)]


def _even(rows, parts):
    return [slice(n * rows // parts, (n + 1) * rows // parts) for n in range(parts)]


def clip(gradients, limit):                             # {name: array} -> the same, shorter; float: the norm before
    """Gradients scaled so that together they are no longer than `limit`.

    V3's way to survive a rare bad batch; V4's report names no value.
    """
    norm = sum(float(np.vdot(g, g)) for g in gradients.values()) ** 0.5
    if norm <= limit:
        return gradients, norm
    return {name: gradient * gradient.dtype.type(limit / norm) for name, gradient in gradients.items()}, norm


class Optimisers:
    """Muon, AdamW and the balance rule over one set of parameters, updated in place.

    vector_rate: AdamW's rate as a share of Muon's. V4 has 1, at a width 16 to 28 times the bundled model's.
    """

    def __init__(self, config, params, vector_rate=1.0, bias_speed=0.001, newton_schulz=newton_schulz, update=update):
        by = {"muon": [], "adamw": [], "balance": [], None: []}
        for spec in tensors(config):
            by[learner(spec)].append(spec)
        self.vector_rate, self.bias_speed = vector_rate, bias_speed
        self.muon = Muon({spec.name: independent_rows(spec, config) for spec in by["muon"]}, params, decay=DECAY,
                         newton_schulz=newton_schulz)
        self.adamw = AdamW({spec.name: decay_of(spec) for spec in by["adamw"]}, params, update=update)
        self.balanced = {spec.name: layer_of(spec.name, config) for spec in by["balance"]}

    def step(self, params, gradients, load, rate, sink_rate=1.0):
        """One step of everything. load: {layer: [E] tokens sent to each expert}, MTP's layer after the last.

        sink_rate: so many times the other vectors' rate for sinks.
        """
        self.muon.step(params, gradients, rate)
        self.adamw.step(params, gradients, rate * self.vector_rate, {name: sink_rate for name in params if name.endswith(SINK)})
        for name, layer in self.balanced.items():
            if layer in load:
                params[name] = update_bias(params[name], load[layer], self.bias_speed)

    def state(self):                                    # -> {name: array}
        """All that the next step needs beside the parameters and the number of steps: the arrays themselves."""
        arrays = {f"muon.{name}": moment for name, moment in self.muon.state.items()}
        for name, (mean, square) in self.adamw.state.items():
            arrays |= {f"adamw.mean.{name}": mean, f"adamw.square.{name}": square}
        return arrays


def layer_of(name, config):                             # "layers.3.ffn.gate.bias" -> 3; "mtp.0...." -> n_layers
    """The number of the layer that a tensor belongs to, the MTP block counted after the last. None: no layer's."""
    first, *rest = name.split(".")
    if first not in ("layers", "mtp"):
        return None
    return int(rest[0]) + (config.n_layers if first == "mtp" else 0)
