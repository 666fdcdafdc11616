"""Run a model and write down every routing; or run it as if the router were another. Not here: showing it (routing.py)."""

from dataclasses import dataclass

import numpy as np

from v4mini.model import Model
from v4mini.ops.route import affinity
from v4mini.shapes import Refused
from v4mini.trace import Trace


@dataclass(frozen=True)
class WhatIf:
    """Changes to the router. As they stand: none, the model as it is."""

    top_k: int | None = None        # experts a token; None: as the config says. A table holds K a token and gives no more
    use_bias: bool = True           # False: choose by affinity alone
    use_table: bool = True          # False: hash layers choose by affinity too (they have no bias)


AS_IT_IS = WhatIf()


@dataclass(frozen=True)
class Routes:
    """The routing of one layer."""

    kind: str                       # "table" or "gate": what chose
    scores: np.ndarray              # [T, E], the gate's logits
    affinities: np.ndarray          # [T, E]
    bias: np.ndarray | None         # [E], if it took part in the choice
    table: np.ndarray | None        # [T, K], what the table holds for these tokens, used or not
    chosen: np.ndarray              # [T, K]
    weights: np.ndarray             # [T, K]


class Rerouted:
    """An engine as it is, but for the router: it chooses as `what_if` says."""

    def __init__(self, ops, what_if):
        self._ops, self._what_if = ops, what_if

    def __getattr__(self, name):
        return getattr(self._ops, name)

    def at(self, layer):
        return Rerouted(self._ops.at(layer), self._what_if)

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        k = self._what_if.top_k or k
        if chosen is not None and self._what_if.use_table:
            return self._ops.route(scores, route_scale, k, None, chosen[:, :k])
        no_bias = bias is None or not self._what_if.use_bias
        return self._ops.route(scores, route_scale, k, np.zeros(scores.shape[1], np.float32) if no_bias else bias)


def read_routing(model, ids, what_if=AS_IT_IS):         # [T] int -> [Routes] by layer, logits [T, V]
    """Run `model` on one sequence with its own engine. A changed choice changes what later layers see, and the logits.

    The model itself stays as it is. Raises Refused for ids that are no tokens, and for a top_k of no experts or too many.
    """
    E = model.config.n_routed_experts
    if what_if.top_k is not None and not 1 <= what_if.top_k <= E:
        raise Refused(f"top_k: expected 1 to {E}, got {what_if.top_k}. This model has {E} experts in a layer.")
    trace = Trace("ffn.scores")
    logits = Model(model.config, model.weights, Rerouted(model.ops, what_if)).logits(ids, trace)
    host, layers = model.ops.host, enumerate(model.weights.layers)
    return [_routes(f"layers.{layer}.ffn", w.ffn.gate, ids, trace, what_if, host) for layer, w in layers], logits


def _routes(name, gate, ids, trace, what_if, host):     # -> Routes
    table = None if gate.tid2eid is None else host(gate.tid2eid)[np.asarray(ids)]
    by_table = table is not None and what_if.use_table
    bias = host(gate.bias) if gate.bias is not None and what_if.use_bias else None
    scores = trace[f"{name}.scores"]
    return Routes("table" if by_table else "gate", scores, affinity(scores), bias, table, trace[f"{name}.experts"],
                  trace[f"{name}.weights"])
