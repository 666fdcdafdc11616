"""Your functions become the model: what a reader wrote in lessons 02 to 08, as an engine that runs the whole of V4.

    from v4mini.lessons import yours
    engine = yours.Engine(yours.solved())           # from the notebooks, as they are saved
    v4.load("data/mini", backend=engine)
    yours.first_difference(engine, model, ids)      # "layer 0, rope: 4% off"

What is missing falls back to ours, and `describe` names it. Not here: the exercises (exercises/).
"""

import copy

import numpy as np

from v4mini.backend import OPERATIONS, Backend
from v4mini.lessons.cells import function_of, tasks
from v4mini.lessons.compare import relative
from v4mini.lessons.places import notebooks, own_folder
from v4mini.lessons.registry import find
from v4mini.lessons.verdict import judge
from v4mini.ops import index
from v4mini.ops.attention import window_starts
from v4mini.ops.experts import add_rows
from v4mini.ops.mix import mixing_logits, sigmoid
from v4mini.shapes import Refused

PARTS = {                       # exercise -> the operations that it becomes, wholly or in part
    "ops.norm.rms_norm": ("rms_norm", "rms_unit"), "ops.rope.rope": ("rope",), "window.one_head": ("attend",),
    "heavy.compress": ("compress",), "choosing.compress": ("compress",), "ops.index.index_scores": ("index_topk",),
    "ops.index.top_k": ("index_topk",), "ops.route.route": ("route",), "ops.experts.swiglu": ("expert", "experts"),
    "ops.mix.sinkhorn": ("hc_pre",), "streams.read": ("hc_pre",), "ops.mix.hc_post": ("hc_post",)}
BOUND = 1e-4                    # a share: float32 in another order


def solved(folder=None):        # -> {exercise: function}, those that pass their check
    """The functions that stand in the notebooks of `folder`, each in the cell of its exercise.

    folder: by default the one a notebook runs in, if it holds the course (v4mini lab --work), else the course's own.

    Runs the imports and functions of those notebooks, nothing else. A cell that cannot be run counts as not solved.
    """
    first = {}
    for path in notebooks(["02", "03", "05", "06", "07", "08"], folder or own_folder()):
        for task in tasks(path):
            first.setdefault(task.exercise, task)
    found = {name: _function(first[name]) for name in PARTS if name in first}
    return {name: function for name, function in found.items() if function is not None and judge(function, find(name)).passed}


def _function(task):
    try:
        return function_of(task, task.unsolved)
    except Exception:           # whatever the reader's cell does: it is then not solved
        return None


class Engine(Backend):
    """The NumPy engine, with your functions {exercise: function} in the place of ours. Names that are no part are refused."""

    name = "yours"

    def __init__(self, functions):
        super().__init__()
        unknown = sorted(set(functions) - set(PARTS))
        if unknown:
            raise Refused(f"yours: expected exercises among {', '.join(PARTS)}, got {', '.join(unknown)}. Try yours.solved().")
        self.functions = dict(functions)

    def describe(self):                                 # -> {operation: who runs it}
        """yours, numpy, or which part of an operation is yours."""
        who = dict.fromkeys(OPERATIONS, "numpy")
        for operation, exercises in who_needs().items():
            mine = [name for name in exercises if name in self.functions]
            who[operation] = "yours" if len(mine) == len(exercises) else f"yours: {', '.join(mine)}" if mine else "numpy"
        return who

    def rms_norm(self, x, weight, eps):
        mine = self.functions.get("ops.norm.rms_norm")
        return mine(x, weight, eps) if mine else super().rms_norm(x, weight, eps)

    def rms_unit(self, x, eps):
        mine = self.functions.get("ops.norm.rms_norm")
        return mine(x, np.ones(x.shape[-1], x.dtype), eps) if mine else super().rms_unit(x, eps)

    def rope(self, x, positions, freqs, inverse=False):
        return self.functions.get("ops.rope.rope", super().rope)(x, positions, freqs, inverse)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        """Your one_head knows windows; where entries are read too, or rows of earlier calls, it is ours."""
        mine = self.functions.get("window.one_head")
        usual = len(rows) == len(q) and np.array_equal(first, window_starts(len(q), len(rows), window))
        if mine is None or entries is not None or not usual:
            return super().attend(q, rows, first, sink, window, scale, entries, picks, visible)
        return np.stack([mine(q[:, head], rows, sink[head], window, scale) for head in range(q.shape[1])], axis=1)

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
        mine = self.functions.get("choosing.compress" if overlap else "heavy.compress")
        if mine is None:
            return super().compress(kv, score, ape, ratio, previous, overlap)
        if not overlap:
            return mine(kv, score, ape, ratio)
        if previous is not None:                        # one block more in front, whose own entry is there already
            kv, score = (np.concatenate(pair) for pair in zip(previous, (kv, score)))
        entries = mine(kv, score + np.tile(ape, (len(score) // ratio, 1)), ratio)
        return entries if previous is None else entries[1:]

    def index_topk(self, q, keys, weights, visible, k):
        score, best = (self.functions.get(f"ops.index.{name}") for name in ("index_scores", "top_k"))
        if not score and not best:
            return super().index_topk(q, keys, weights, visible, k)
        N, seen = len(keys), np.arange(len(keys)) < np.asarray(visible)[:, None]
        scores = np.where(seen, (score or index.index_scores)(q, keys[:], weights), -np.inf)
        picks = (best or index.top_k)(scores, min(k, N))
        picks = np.sort(np.where(picks < np.asarray(visible)[:, None], picks, N), axis=1)
        return np.where(picks < N, picks, -1)

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        return self.functions.get("ops.route.route", super().route)(scores, route_scale, k, bias, chosen)

    def expert(self, x, w, limit, weight=None):
        mine = self.functions.get("ops.experts.swiglu")
        if mine is None:
            return super().expert(x, w, limit)
        hidden = mine(self.linear(x, w.w1), self.linear(x, w.w3), limit)
        return self.linear(hidden if weight is None else hidden * weight[:, None], w.w2)

    def experts(self, x, chosen, weights, pool, limit):
        if "ops.experts.swiglu" not in self.functions:
            return super().experts(x, chosen, weights, pool, limit)
        y = np.zeros_like(x)
        for number in np.unique(chosen):
            tokens, slot = np.nonzero(chosen == number)
            add_rows(y, tokens, self.expert(x[tokens], pool[number], limit, weights[tokens, slot]))
        return y

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        u, post, comb = super().hc_pre(streams, hc, iters, eps, norm_eps)
        T, M, _ = streams.shape
        if "streams.read" in self.functions:
            u = self.functions["streams.read"](streams, hc.fn, hc.base, hc.scale, eps, norm_eps)
        if "ops.mix.sinkhorn" in self.functions:
            mix = mixing_logits(streams, hc.fn, norm_eps)
            post = np.float32(2) * sigmoid(mix[:, M: 2 * M] * hc.scale[1] + hc.base[M: 2 * M])
            logits = (mix[:, 2 * M:] * hc.scale[2] + hc.base[2 * M:]).reshape(T, M, M)
            comb = self.functions["ops.mix.sinkhorn"](logits, iters, eps)
        return u, post, comb

    def hc_post(self, y, streams, post, comb):
        return self.functions.get("ops.mix.hc_post", super().hc_post)(y, streams, post, comb)


def who_needs():                # -> {operation: [exercises that it is made of]}
    """PARTS, seen from the other side."""
    return {operation: [name for name, operations in PARTS.items() if operation in operations]
            for operation in dict.fromkeys(operation for operations in PARTS.values() for operation in operations)}


class Beside(Backend):
    """Ours, with another engine beside it: each operation of PARTS runs twice on the same input; differences are noted."""

    def __init__(self, other):
        super().__init__()
        self.other, self.layer, self.found = other, None, []

    def at(self, layer):        # what follows belongs to that layer
        self.layer = layer
        return self

    def both(self, name, *given, **named):
        """Ours is what counts, so that one difference does not make the next ones."""
        right = getattr(Backend, name)(self, *given, **named)
        try:
            said = _apart(getattr(self.other, name)(*copy.deepcopy(given), **copy.deepcopy(named)), right)
        except Exception as error:      # whatever the reader's function does
            said = f"{type(error).__name__}: {error}"
        if said:
            place = "before the first layer" if self.layer is None else f"layer {self.layer}"
            self.found.append(f"{place}, {name}: {said}")
        return right


for _name in who_needs():
    setattr(Beside, _name, lambda self, *given, _name=_name, **named: self.both(_name, *given, **named))


def first_difference(engine, model, ids):               # -> "" or "layer 0, rope: 4% off"
    """Run `model` on ids with ours, the engine beside it: the first layer and operation whose result is another one."""
    beside = Beside(engine)
    type(model)(model.config, model.weights, beside).logits(ids)
    return beside.found[0] if beside.found else ""


def _apart(mine, right):        # -> "" or how they differ
    if isinstance(right, tuple):
        if not isinstance(mine, tuple | list) or len(mine) != len(right):
            return f"expected {len(right)} results"
        return next(filter(None, map(_apart, mine, right)), "")
    mine = np.asarray(mine)
    if mine.shape != right.shape:
        return f"expected shape {list(right.shape)}, got {list(mine.shape)}"
    if right.dtype.kind in "iu":
        other = (mine != right).mean()
        return f"{other:.1%} of the choices are others" if other else ""
    off = relative(mine, right)
    return "" if off < BOUND else f"{off:.1%} off"
