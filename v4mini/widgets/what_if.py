"""Run a model and write down every routing; or run it as if the router were another. Not here: showing it (routing.py)."""

from dataclasses import dataclass

import numpy as np

from v4mini.model import Model
from v4mini.ops.route import affinity
from v4mini.shapes import Refused


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


class _Routing:
    """Mixed into any Backend: it routes as `what_if` says, and writes down how."""

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        table, change = chosen, self.what_if
        k = change.top_k or k
        by_table = table is not None and change.use_table
        bias = bias if change.use_bias else None
        to_add = np.zeros(scores.shape[1], np.float32) if bias is None and not by_table else bias
        chosen, weights = super().route(scores, route_scale, k, to_add, table[:, :k] if by_table else None)
        self.routes.append(Routes("table" if by_table else "gate", *(None if part is None else np.asarray(part) for part in (
            scores, affinity(np.asarray(scores)), bias, table, chosen, weights))))
        return chosen, weights


def read_routing(model, ids, what_if=AS_IT_IS):         # [T] int -> [Routes] by layer, logits [T, V]
    """Run `model` on one sequence with its own engine. A changed choice changes what later layers see, and the logits.

    The model itself stays as it is. Raises Refused for ids that are no tokens, and for a top_k of no experts or too many.
    """
    E = model.config.n_routed_experts
    if what_if.top_k is not None and not 1 <= what_if.top_k <= E:
        raise Refused(f"top_k: expected 1 to {E}, got {what_if.top_k}. This model has {E} experts in a layer.")
    engine = type(model.ops)
    observed = object.__new__(type(f"Routing{engine.__name__}", (_Routing, engine), {}))
    vars(observed).update(vars(model.ops), what_if=what_if, routes=[])
    logits = Model(model.config, model.weights, observed).logits(ids)
    return observed.routes, logits
