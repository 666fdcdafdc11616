"""What makes exactness testable: an engine whose bits do not depend on how a text is cut, and every path of random draws."""

from collections import defaultdict

import numpy as np

from v4mini.backend import Backend


class RowsAlone(Backend):
    """Every token by itself, with no more of the past than a step shows it: a pass of n tokens is n steps, bit for bit."""

    def linear(self, x, weight):
        rows = x.reshape(-1, *x.shape[1:]) if x.ndim > 2 else x[:, None]            # streams of a token stay together
        return np.concatenate([Backend.linear(self, row if x.ndim == 2 else row[None], weight) for row in rows])

    def grouped_linear(self, x, weight, groups):
        return np.concatenate([Backend.grouped_linear(self, row[None], weight, groups) for row in x])

    def hc_pre(self, streams, *rest):
        return (np.concatenate(part) for part in zip(*(Backend.hc_pre(self, row[None], *rest) for row in streams)))

    def hc_post(self, *arrays):
        return np.concatenate([Backend.hc_post(self, *(row[None] for row in rows)) for rows in zip(*arrays)])

    def hc_head(self, streams, *rest):
        return np.concatenate([Backend.hc_head(self, row[None], *rest) for row in streams])

    def compress(self, kv, score, ape, ratio, previous=None, overlap=False):
        entries = []
        for start in range(0, len(kv), ratio):
            block = kv[start: start + ratio], score[start: start + ratio]
            entries.append(Backend.compress(self, *block, ape, ratio, previous, overlap))
            previous = block
        return np.concatenate(entries)

    def index_topk(self, q, keys, weights, visible, k):
        picks = np.full((len(q), k), -1)
        for t, seen in enumerate(visible):
            mine = Backend.index_topk(self, q[t: t + 1], keys[:seen], weights[t: t + 1], visible[t: t + 1], k)
            picks[t, : mine.shape[1]] = mine
        return picks

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        before, outs = len(rows) - len(q), []
        for t in range(len(q)):
            far = {} if entries is None else {"entries": entries[:]}
            if picks is not None:
                far["picks"] = picks[t: t + 1][:, picks[t] >= 0]
            elif entries is not None:
                far = {"entries": entries[: visible[t]], "visible": visible[t: t + 1]}
            near = rows[first[t]: before + t + 1]
            outs.append(Backend.attend(self, q[t: t + 1], near, np.zeros(1, np.int64), sink, window, scale, **far))
        return np.concatenate(outs)

    def expert(self, x, w, limit):
        return np.concatenate([Backend.expert(self, row[None], w, limit) for row in x])

    def experts(self, x, chosen, weights, pool, limit):
        return np.concatenate([Backend.experts(self, *(part[t: t + 1] for part in (x, chosen, weights)), pool, limit)
                               for t in range(len(x))])


def every_path(play):                                   # play(rng) -> outcome; gives {outcome: its exact probability}
    """Run `play` once for each way its random draws can turn out, and add up what each way weighs."""
    found, waiting = defaultdict(float), [()]
    while waiting:
        rng = _Turns(waiting.pop())
        outcome = play(rng)
        found[outcome] += rng.weight
        waiting += rng.untried
    return dict(found)


class _Turns:
    """A random generator that takes given turns, then the first possible ones, and notes which others there were."""

    def __init__(self, path):
        self.path, self.taken, self.weight, self.untried = path, (), 1.0, []

    def choice(self, n, p):
        assert n == len(p) and abs(sum(p) - 1) < 1e-9
        return self.turn(p)

    def random(self):
        return _Coin(self)

    def turn(self, chances):                            # -> int
        if len(self.taken) < len(self.path):
            number = self.path[len(self.taken)]
        else:
            number, *others = [i for i, chance in enumerate(chances) if chance > 0]
            self.untried += [(*self.taken, other) for other in others]
        self.taken, self.weight = (*self.taken, number), self.weight * float(chances[number])
        return number


class _Coin:
    """A number between 0 and 1 that is not chosen before it is compared."""

    def __init__(self, turns):
        self.turns = turns

    def __lt__(self, chance):
        return self.turns.turn([1 - chance, chance]) == 1
