"""Tape: a backend that runs a model forward, remembers how, and runs backward for gradients.

Layers do not know: they get Values instead of arrays. Each operation runs on the engine of inference and writes down the one
function that turns the gradient of its answer into those of its inputs (backward/). What layers do between operations is
slicing, reshaping, adding and scaling, and a Value does these itself.

Why not the package `autograd`: it differentiates NumPy's functions, and here the forward runs on kernels that are none.
Not here: the derivatives (backward/), what is minimised (losses.py).
"""

from dataclasses import dataclass

import numpy as np

from v4mini.backend import Backend
from v4mini.layers.sequences import NoMemory
from v4mini.numerics import blocks
from v4mini.numerics.hadamard import hadamard
from v4mini.ops.index import index_scores
from v4mini.training import losses
from v4mini.training.backward.attention import readable
from v4mini.training.backward.experts import Groups
from v4mini.training.value import Value
from v4mini.weights.tree import HyperConnection


class PositionedSequence(NoMemory):
    """A sequence whose tokens stand at given positions, with nothing before it. Its windows go by position."""

    def __init__(self, at):                             # [T] int, rising
        self.at = at

    def positions(self, tokens):
        return self.at[:tokens]

    def block_positions(self, first, last, ratio):
        return self.at[first * ratio: last * ratio: ratio]

    def window_starts(self, tokens, window):
        return np.searchsorted(self.at, self.at[:tokens] - window, side="right")


@dataclass(frozen=True)
class Choice:
    """What index_topk gives: the picks to read (None: all that is visible), and the scores that have to learn."""

    picks: np.ndarray | None
    visible: np.ndarray
    scores: Value | None
    best: np.ndarray | None         # the indexer's picks, for statistics


@dataclass(frozen=True)
class AuxiliaryLoss:
    """An auxiliary loss of one layer; `mass` is its normaliser: the sum of the values is divided by that of the masses."""

    layer: int
    value: Value
    mass: float


class Tape(Backend):
    """Runs like `engine`, remembers for `gradients`. After the forward, seed gradients with add_gradient and call backward.

    routes: {layer: [T, K]}, experts to ask instead of those that learned routers would choose; `chosen` says who was asked.
    sparse: attention reads the indexer's picks, else all visible entries. train_indexer: index scores learn from attention.
    measure_recall: how many of attention's own picks the indexer finds. spans: the sequences on the token axis, for the balance
    loss (a model's MTP block has shorter ones, so they may be replaced between two runs). Layers are numbers; n_layers is the
    MTP block.
    """

    def __init__(self, engine, gradients, simulate=None, sparse=True, train_indexer=False, measure_recall=False, routes=None):
        super().__init__(simulate)
        self.name = f"tape over {engine.name}, backward {gradients.name}"
        self.engine, self.gradients = engine, gradients
        self.sparse, self.train_indexer, self.measure_recall = sparse, train_indexer, measure_recall
        self.spans, self.steps = [], []
        self.index = []
        self.balance = []
        self.load = {}
        self.recall = {}
        self.routes = routes or {}
        self.chosen = {}
        self.layer = None                               # the one that runs

    def at(self, layer):
        self.layer = layer
        return self

    def host(self, x):
        return x.data if isinstance(x, Value) else np.asarray(x)

    # ---- remembering ----

    def record(self, result, inputs, back):             # -> Value, or a tuple of them
        """`result` was computed from `inputs`; back(g of each result) gives a gradient or None for each input."""
        many = isinstance(result, tuple)
        values = tuple(Value(part, self) for part in result) if many else (Value(result, self),)
        self.steps.append((values, inputs, back))
        return values if many else values[0]

    def backward(self):
        """From the last step to the first: each Value's gradient is complete when its own step comes."""
        while self.steps:
            values, inputs, back = self.steps.pop()
            if all(value.gradient is None for value in values):
                continue
            given = [np.zeros_like(v.data) if v.gradient is None else v.gradient for v in values]
            for value, gradient in zip(inputs, back(*given)):
                if gradient is not None:
                    value.add_gradient(gradient)
            for value in values:                        # nobody asks for these again
                value.data = value.gradient = None

    # ---- arrays ----

    def take(self, x, rows):
        if not isinstance(x, Value):                    # a table of integers
            return x[rows]
        return self.record(x.data[rows], (x,), lambda g: (self.gradients.embed(g, rows, len(x)),))

    def concat(self, parts):
        ends = np.cumsum([len(part) for part in parts])
        return self.record(np.concatenate([part.data for part in parts]), tuple(parts), lambda g: tuple(np.split(g, ends[:-1])))

    def detach(self, x):
        return Value(x.data, self)

    # ---- products with weights ----

    def embed(self, ids, table):
        rows = table.data.shape[0]
        return self.record(self.engine.embed(ids, table.data), (table,), lambda g: (self.gradients.embed(g, ids, rows),))

    def linear(self, x, weight):
        seen = self._rounded(x.data, weight.data)

        def back(g):
            return self.gradients.linear(g, seen, weight.data.dense())
        return self.record(self.engine.linear(seen, weight.data), (x, weight), back)

    def grouped_linear(self, x, weight, groups):
        return self.record(self.engine.grouped_linear(x.data, weight.data, groups), (x, weight),
                           lambda g: self.gradients.grouped_linear(g, x.data, weight.data.dense(), groups))

    def _rounded(self, x, weight):                      # as Backend.linear; the gradient goes straight through
        return blocks.round_activations(x) if self.simulate and weight.is_quantised else x

    # ---- norms and positions ----

    def rms_norm(self, x, weight, eps):
        return self.record(self.engine.rms_norm(x.data, weight.data, eps), (x, weight),
                           lambda g: self.gradients.rms_norm(g, x.data, weight.data, eps))

    def rms_unit(self, x, eps):
        return self.record(self.engine.rms_unit(x.data, eps), (x,), lambda g: (self.gradients.rms_unit(g, x.data, eps),))

    def rope(self, x, positions, freqs, inverse=False):
        return self.record(self.engine.rope(x.data, positions, freqs, inverse), (x,),
                           lambda g: (self.gradients.rope(g, positions, freqs, inverse),))

    # ---- residual streams ----

    def hc_expand(self, h, M):
        return self.record(self.engine.hc_expand(h.data, M), (h,), lambda g: (g.sum(axis=1),))

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        plain = HyperConnection(hc.fn.data, hc.base.data, hc.scale.data)

        def back(g_u, g_post, g_comb):
            g_streams, g_hc = self.gradients.hc_pre(g_u, g_post, g_comb, streams.data,
                                                (plain.fn, plain.base, plain.scale), iters, eps, norm_eps)
            return g_streams, *g_hc
        return self.record(self.engine.hc_pre(streams.data, plain, iters, eps, norm_eps),
                           (streams, hc.fn, hc.base, hc.scale), back)

    def hc_post(self, y, streams, post, comb):
        return self.record(self.engine.hc_post(y.data, streams.data, post.data, comb.data), (y, streams, post, comb),
                           lambda g: self.gradients.hc_post(g, y.data, streams.data, post.data, comb.data))

    def hc_head(self, streams, hc, eps, norm_eps):
        plain = HyperConnection(hc.fn.data, hc.base.data, hc.scale.data)

        def back(g):
            g_streams, g_hc = self.gradients.hc_head(g, streams.data, (plain.fn, plain.base, plain.scale), eps, norm_eps)
            return g_streams, *g_hc
        return self.record(self.engine.hc_head(streams.data, plain, eps, norm_eps), (streams, hc.fn, hc.base, hc.scale), back)

    # ---- attention ----

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
        assert previous is None, "training reads whole sequences"

        def back(g):
            shape = -1, *ape.shape
            with_ape = (score.data.reshape(shape) + ape.data).reshape(score.shape)
            g_kv, g_score = self.gradients.compress(g, kv.data, with_ape, ratio, overlap)
            return g_kv, g_score, g_score.reshape(shape).sum(axis=0)
        return self.record(self.engine.compress(kv.data, score.data, ape.data, ratio, None, overlap), (kv, score, ape), back)

    def index_topk(self, q, keys, weights, visible, k):                     # -> Choice
        best = scores = None
        if self.sparse or self.measure_recall:
            best = self.engine.index_topk(q.data, keys.data, weights.data, visible, k)
        if self.train_indexer:
            scores = self.record(index_scores(q.data, keys.data, weights.data), (q, keys, weights),
                                 lambda g: self.gradients.index_scores(g, q.data, keys.data, weights.data))
        return Choice(best if self.sparse else None, visible, scores, best)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        choice = picks if isinstance(picks, Choice) else None       # picks that nobody had to choose are an array
        if choice is not None:
            picks = choice.picks
            visible = None if self.sparse else choice.visible
        far = None if entries is None else entries.data
        watch = choice is not None and (choice.scores is not None or self.measure_recall)
        out, log_total, target = self.gradients.attend_keeping(q.data, rows.data, sink.data, first, scale, far, picks, visible,
                                                               watch)
        if watch:
            self._compare(choice, target, readable(len(far), picks, visible))

        def back(g):
            found = self.gradients.attend(g, q.data, rows.data, sink.data, first, scale, far, picks, visible, out, log_total)
            return found if entries is not None else found[:3]
        return self.record(out, (q, rows, sink) if entries is None else (q, rows, sink, entries), back)

    def _compare(self, choice, target, seen):           # index scores with what attention did
        if choice.scores is not None:
            value, g_scores, mass = losses.index_divergence(choice.scores.data, target, seen)
            self.index.append(AuxiliaryLoss(self.layer, self.record(value, (choice.scores,), lambda g: (g * g_scores,)), mass))
        if self.measure_recall and not self.sparse:
            self.recall.setdefault(self.layer, []).append(losses.recall(target, choice.best, seen))

    def round_kv(self, rows, rope_head_dim):            # the gradient goes straight through
        if not self.simulate:
            return rows
        return self.record(blocks.round_kv(rows.data, rope_head_dim), (rows,), lambda g: (g,))

    def round_index(self, rows):                        # through the rounding straight, back through the rotation
        if not self.simulate:
            return rows
        return self.record(blocks.round_index(hadamard(rows.data)), (rows,), lambda g: (hadamard(g),))

    # ---- experts ----

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        is_learned = chosen is None
        if is_learned:
            chosen = self.routes.get(self.layer)
        chosen, weights = self.engine.route(scores.data, route_scale, k, None if bias is None else bias.data, chosen)
        if is_learned:
            self.chosen[self.layer] = chosen
            self.load[self.layer] = np.bincount(chosen.ravel(), minlength=scores.data.shape[1])
            value, g_scores = losses.balance(scores.data, chosen, self.spans)
            self.balance.append(AuxiliaryLoss(self.layer, self.record(value, (scores,), lambda g: (g * g_scores,)), 1.0))
        return chosen, self.record(weights, (scores,),
                                   lambda g: (self.gradients.route(g, scores.data, chosen, weights, route_scale),))

    def expert(self, x, w, limit):
        groups = Groups.everyone(len(x))
        weight = np.ones(len(x), x.data.dtype)
        return self._experts(x, groups, weight, [w], limit, None)

    def experts(self, x, chosen, weights, pool, limit):
        groups = Groups.of(chosen, len(pool))
        return self._experts(x, groups, groups.spread(weights.data), pool, limit, weights)

    def _experts(self, x, groups, weight, pool, limit, weights):
        parts = [[getattr(w, part) for w in pool] for part in ("w1", "w2", "w3")]       # [3][E] Values
        dense = [[w.data.dense() for w in part] for part in parts]
        seen = self._rounded(x.data, pool[0].w1.data)
        y, kept = self.gradients.experts_keeping(seen, groups, weight, dense, limit, lambda h: self._rounded(h, pool[0].w2.data))

        def back(g):
            g_x, g_weight, g_parts = self.gradients.experts(g, seen, groups, weight, dense, limit, kept)
            return g_x, None if weights is None else g_weight[groups.place], *(one for part in g_parts for one in part)
        return self.record(y, (x, weights, *(w for part in parts for w in part)), back)
