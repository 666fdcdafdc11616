"""The stream mixer: drag a logit and see the doubly stochastic matrix come about, round by round, and the streams move.

Not here: the arithmetic (ops/mix.py), what all explorers share (explorer.py), what the page does with a hand (mixer.js).
"""

import numpy as np
from traitlets import Int, validate

from v4mini.model import Model
from v4mini.ops.mix import hc_post, mixing_logits, sigmoid, sinkhorn
from v4mini.shapes import Refused, expect
from v4mini.widgets.explorer import Explorer, in_range
from v4mini.widgets.packed import pack

ROUNDS, EPS = 20, 1e-6          # as released
LARGEST = 12.0                  # a logit by hand: beyond, a matrix only becomes more of the same
UNITS = ("attention", "experts")


class StreamMixer(Explorer):
    """Show it as the last line of a cell; or set rounds and move logits from code, and ask for matrices.

    Without arguments: four made-up streams of two numbers. StreamMixer.of(model, ids, ...) takes one token of a model.
    logits [M, M], pre and post [M]: before softmax and sigmoid; streams [M, D]; answer [D]: what the sub-layer gave.
    """

    script, places, hint = "mixer", ("rounds",), "for numbers to move"
    rounds = Int(ROUNDS)

    def __init__(self, logits=None, pre=None, post=None, streams=None, answer=None, rounds=ROUNDS, eps=EPS,
                 source="made-up streams"):
        rng = np.random.default_rng(8)
        self.logits = _array("logits", rng.normal(0, 2, (4, 4)) if logits is None else logits, "M M")
        M = len(self.logits)
        self.pre = _array("pre", np.zeros(M) if pre is None else pre, "M", M=M)
        self.post = _array("post", np.zeros(M) if post is None else post, "M", M=M)
        self.streams = _array("streams", [[4, 0], [0, 2], [-2, 1], [1, -3]] if streams is None else streams, "M D", M=M)
        self.answer = _array("answer", np.ones(self.streams.shape[1]) if answer is None else answer, "D", D=self.streams.shape[1])
        self.eps, self.source = eps, source
        self._first, self._sent = (self.logits, self.pre, self.post), 0
        super().__init__(rounds=rounds)

    @classmethod
    def of(cls, model, ids, layer=0, unit="experts", token=-1, rounds=ROUNDS):
        """What the unit before `unit` of a layer has computed for one token of `ids`, and what the sub-layer answered."""
        if unit not in UNITS:
            raise Refused(f"unit: expected {' or '.join(UNITS)}, got {unit!r}.")
        in_range("layer", layer, 0, model.config.n_layers - 1)
        in_range("token", token, -len(ids), len(ids) - 1)
        seen = _Watching(model.ops)
        Model(model.config, model.weights, seen).logits(ids)
        streams, hc, norm_eps, answer = seen.units[2 * layer + UNITS.index(unit)]
        M = streams.shape[1]
        mix = mixing_logits(streams, hc.fn, norm_eps)[token]
        pre, post, logits = np.split(mix * np.repeat(hc.scale, (M, M, M * M)) + hc.base, (M, 2 * M))
        token %= len(ids)
        return cls(logits.reshape(M, M), pre, post, streams[token], answer[token], rounds, model.config.hc_eps,
                   f"token {token} before the {unit} of layer {layer}")

    # ---- plain data ----

    @property
    def largest(self):                                  # -> float: no logit may be moved beyond, up or down
        """12, or the largest that was given."""
        return float(max(LARGEST, *(np.abs(given).max() for given in self._first)))

    def comb(self, rounds=None):                        # -> float32 [M, M]; 0 rounds: exp(logits) alone
        """The mixing matrix after so many rounds: ops.mix.sinkhorn."""
        rounds = self.rounds if rounds is None else rounds
        if rounds == 0:
            return np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return sinkhorn(self.logits[None], rounds, self.eps)[0]

    def reads(self):                                    # -> [M]
        """How much the sub-layer reads of each stream: sigmoid + eps."""
        return sigmoid(self.pre) + np.float32(self.eps)

    def writes(self):                                   # -> [M]
        """How much of the answer each stream gets: 2 sigmoid."""
        return np.float32(2) * sigmoid(self.post)

    def after(self):                                    # -> [M, D]
        """The streams behind the sub-layer: ops.mix.hc_post."""
        return hc_post(self.answer[None], self.streams[None], self.writes()[None], self.comb()[None])[0]

    def errors(self, rounds=None):                      # -> (rows, columns): how far the worst sum is from 1
        """Of the matrix after so many rounds."""
        comb = self.comb(rounds)
        return float(np.abs(comb.sum(1) - 1).max()), float(np.abs(comb.sum(0) - 1).max())

    def move(self, name, place, value):
        """Set one logit: name "logits", "pre" or "post"; place an index of it; value up to `largest`."""
        changed = getattr(self, name).copy()
        changed[place] = in_range("logit", value, -self.largest, self.largest)
        setattr(self, name, changed)
        self._send()

    def reset(self):
        """All logits as they were given."""
        self.logits, self.pre, self.post = self._first
        self._send()

    def _send(self):
        self._sent += 1                                 # what a hand has moved is set back even if Python sent the same before
        super()._send()

    def tables(self):                                   # -> [(caption, header, rows)]
        """The matrix with its sums, and the streams before and after."""
        comb, M = self.comb(), len(self.logits)
        rows = [[f"from {j}", *(f"{value:.3f}" for value in comb[j]), f"{comb[j].sum():.3f}"] for j in range(M)]
        rows.append(["sum", *(f"{value:.3f}" for value in comb.sum(0)), ""])
        sizes = [_size(self.streams), _size(self.after())]
        shares = self.reads(), self.writes()
        streams = [[k, *(f"{share[k]:.3f}" for share in shares), *(f"{size[k]:.2f}" for size in sizes)] for k in range(M)]
        return [(f"comb after {self.rounds} rounds", ["comb", *(f"to {k}" for k in range(M)), "sum"], rows),
                ("Streams", ["stream", "read (pre)", "written (post)", "size before", "size after"], streams)]

    def __repr__(self):
        rows, columns = self.errors()
        return (f"StreamMixer, {self.source}: after {self.rounds} rounds the worst row sum is off by {rows:.1e}, "
                f"the worst column sum by {columns:.1e}.")

    @validate("rounds")
    def _in_range(self, proposal):
        return in_range("rounds", proposal["value"], 0, ROUNDS)

    # ---- the page ----

    def _data(self):
        return {"data": {name: pack(getattr(self, name), "float32") for name in ("logits", "pre", "post", "streams", "answer")}
                | {"eps": self.eps, "source": self.source, "most": ROUNDS, "largest": self.largest, "sent": self._sent,
                   "first": dict(zip(("logits", "pre", "post"), (pack(given, "float32") for given in self._first)))}}

    def _hear(self, asked):
        for name in ("logits", "pre", "post"):
            if name in asked:
                value = _array(name, asked[name], "M M" if name == "logits" else "M", M=len(self.pre))
                in_range("logit", float(np.abs(value).max()), 0, self.largest)
                setattr(self, name, value)


class _Watching:
    """An engine as it is, that keeps what each unit read and what its sub-layer answered."""

    def __init__(self, ops, units=None):
        self._ops, self.units = ops, [] if units is None else units

    def __getattr__(self, name):
        return getattr(self._ops, name)

    def at(self, layer):
        return _Watching(self._ops.at(layer), self.units)

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        self._read = self._ops.host(streams), hc, norm_eps
        return self._ops.hc_pre(streams, hc, iters, eps, norm_eps)

    def hc_post(self, y, streams, post, comb):
        self.units.append((*self._read, self._ops.host(y)))
        return self._ops.hc_post(y, streams, post, comb)


def _array(name, value, shape, **known):                # -> float32 array of that shape
    value = np.array(value, np.float32)
    expect(name, value, shape, **known)
    if not np.isfinite(value).all():
        raise Refused(f"{name}: expected finite numbers, got {value[~np.isfinite(value)][0]}.")
    return value


def _size(streams):                                     # [M, D] -> [M], root mean square
    return np.sqrt(np.mean(streams.astype(np.float64) ** 2, axis=1))
