"""Run a model and write down every routing; or run it as if the router were another. Not here: showing it (routing.py)."""

from dataclasses import dataclass

import numpy as np

from v4mini.model import Model
from v4mini.ops.route import affinity
from v4mini.shapes import Refused
from v4mini.trace import Trace

NEVER = np.float32(-1e9)            # a bias that no affinity makes good; minus infinity would make the sum of biases NaN


@dataclass(frozen=True)
class WhatIf:
    """Changes to the router. As they stand: none, the model as it is."""

    top_k: int | None = None        # experts a token; None: as the config says. A table holds K a token and gives no more
    use_bias: bool = True           # False: choose by affinity alone
    use_table: bool = True          # False: hash layers choose by affinity too (they have no bias)
    use_shared: bool = True         # False: the shared expert answers with zeros
    off: frozenset = frozenset()    # (layer, expert): a gate never chooses it; a table's other experts get its weight
    moved: tuple = ()               # (layer, expert, by): so much is added to that bias


AS_IT_IS = WhatIf()


@dataclass(frozen=True)
class Routes:
    """The routing of one layer. What a recording does not hold is None."""

    kind: str                       # "table" or "gate": what chose
    scores: np.ndarray | None       # [T, E], the gate's logits
    affinities: np.ndarray | None   # [T, E]
    bias: np.ndarray | None         # [E], if it took part in the choice
    table: np.ndarray | None        # [T, K], what the table holds for these tokens, used or not
    chosen: np.ndarray              # [T, K]
    weights: np.ndarray | None      # [T, K]
    routed: np.ndarray | None = None        # [T], root mean square of what the chosen experts add together
    shared: np.ndarray | None = None        # [T], the same of what the shared expert adds


class Rerouted:
    """An engine as it is, but for the router: it chooses as `what_if` says. `sizes` collects how large the answers are."""

    def __init__(self, ops, what_if, sizes, layer=None):
        self._ops, self._what_if, self._sizes, self._layer = ops, what_if, sizes, layer

    def __getattr__(self, name):
        return getattr(self._ops, name)

    def at(self, layer):
        return Rerouted(self._ops.at(layer), self._what_if, self._sizes, layer)

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        k = self._what_if.top_k or k
        off = [expert for layer, expert in self._what_if.off if layer == self._layer]
        if chosen is not None and self._what_if.use_table:
            chosen, weights = self._ops.route(scores, route_scale, k, None, chosen[:, :k])
            return chosen, _shared_out(chosen, weights, off) if off else weights
        own = _bias(bias if self._what_if.use_bias else None, scores.shape[1], self._what_if, self._layer)
        own[off] = NEVER
        return self._ops.route(scores, route_scale, k, own)

    def experts(self, x, *rest):
        y = self._ops.experts(x, *rest)
        self._sizes[self._layer, "routed"] = _rms(self._ops.host(y))
        return y

    def expert(self, x, w, limit):                      # the shared one: layers/moe.py asks for no other alone
        y = self._ops.expert(x, w, limit)
        y = y if self._what_if.use_shared else y * 0
        self._sizes[self._layer, "shared"] = _rms(self._ops.host(y))
        return y


def read_routing(model, ids, what_if=AS_IT_IS):         # [T] int -> [Routes] by layer, logits [T, V]
    """Run `model` on one sequence with its own engine. A changed choice changes what later layers see, and the logits.

    The model itself stays as it is. Raises Refused for ids that are no tokens, for a top_k of no experts or too many, and for
    experts that are not there.
    """
    _check(model.config, what_if)
    trace, sizes = Trace("ffn.scores"), {}
    logits = Model(model.config, model.weights, Rerouted(model.ops, what_if, sizes)).logits(ids, trace)
    host, layers = model.ops.host, enumerate(model.weights.layers)
    return [_routes(layer, w.ffn.gate, ids, trace, what_if, sizes, host) for layer, w in layers], logits


def _check(config, what_if):
    E, L, k = config.n_routed_experts, config.n_layers, what_if.top_k or config.n_activated_experts
    if what_if.top_k is not None and not 1 <= what_if.top_k <= E:
        raise Refused(f"top_k: expected 1 to {E}, got {what_if.top_k}. This model has {E} experts in a layer.")
    for layer, expert, *_ in [*what_if.off, *what_if.moved]:
        if not (0 <= layer < L and 0 <= expert < E):
            raise Refused(f"expert: expected a layer 0 to {L - 1} and an expert 0 to {E - 1}, got {layer} and {expert}.")
    for layer in {layer for layer, _ in what_if.off}:
        left = E - sum(own == layer for own, _ in what_if.off)
        if left < k:
            raise Refused(f"off: expected {k} experts to be left in layer {layer}, got {left}. Switch one on again.")


def _shared_out(chosen, weights, off):                  # [T, K], [T, K] -> [T, K] whose rows sum to the same
    kept = np.where(np.isin(chosen, off), 0, weights)
    left = kept.sum(axis=1, keepdims=True)
    scale = weights.sum(axis=1, keepdims=True) / np.where(left > 0, left, 1)
    return (kept * scale).astype(weights.dtype)         # all 0 where the table names nobody else


def _bias(bias, E, what_if, layer):                     # [E] or None -> [E] of one's own, with what was moved in that layer
    own = np.zeros(E, np.float32) if bias is None else np.array(bias, np.float32)
    for other, expert, by in what_if.moved:
        own[expert] += by * (other == layer)
    return own


def _rms(y):                                            # [T, D] -> [T]
    return np.sqrt(np.mean(np.square(y, dtype=np.float32), axis=-1))


def _routes(layer, gate, ids, trace, what_if, sizes, host):     # -> Routes
    name = f"layers.{layer}.ffn"
    table = None if gate.tid2eid is None else host(gate.tid2eid)[np.asarray(ids)]
    by_table = table is not None and what_if.use_table
    bias = host(gate.bias) if gate.bias is not None and what_if.use_bias else None
    scores = trace[f"{name}.scores"]
    if not by_table and any(own == layer for own, _, _ in what_if.moved):
        bias = _bias(bias, scores.shape[1], what_if, layer)
    return Routes("table" if by_table else "gate", scores, affinity(scores), bias, table, trace[f"{name}.experts"],
                  trace[f"{name}.weights"], sizes[layer, "routed"], sizes[layer, "shared"])
