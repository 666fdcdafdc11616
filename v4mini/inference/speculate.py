"""Speculative decoding: the MTP block guesses the next tokens, the model reads all guesses in one pass and keeps what it would
have said itself. Which text is said follows the model alone; the guesses decide only how many passes it takes.

    tokens of the text        0 .. n - 1   n             n + 1 .. n + k
    the main model has read   yes          no, just drawn
    the MTP block has read    (streams of t, token t + 1) for all t < n
    it drafts                                            k tokens
    the main model reads                   n and the k drafts, and judges each from its own scores at the place before

The MTP block was made for one draft: it takes the main model's streams at t. Further ones take its own output in their place,
which is an approximation, so deeper drafts are poorer. Source: V4 report 2.1, DeepSeek-V3 report 2.2 (arXiv:2412.19437);
reference inference/model.py, MTPBlock; the rule: arXiv:2211.17192, algorithm 1.

A checkpoint with DSpark blocks has no MTP block; dspark.py drafts then, from what the model was thinking in some of its layers,
and the rest of this file is the same for both.

Not here: what it costs and when it pays (planning/speculation.py), settings of the caller (generate.py).
"""

from dataclasses import dataclass, field
from functools import partial

import numpy as np

from v4mini.inference.cache import Cache
from v4mini.inference.cached import CHUNK
from v4mini.inference.dspark import DSparkDrafter
from v4mini.inference.sampling import distribution, draw
from v4mini.layers.dspark import beside
from v4mini.layers.finite import finite_pass
from v4mini.shapes import Refused


@dataclass
class Tally:
    """What happened after the prompt, counted while it happens. Drafts behind a refused one are never judged.

    narrowest: at temperature 0, the smallest lead of a best score over the second best. A pass of several tokens adds up in
    another order than single ones, so float32 scores differ by some 1e-5; only where a lead is about as small (or two experts,
    or two entries, are as close to a draw) can the text be another than without speculation.
    """

    passes: int = 0                                     # of the main model
    tokens: int = 0                                     # that they gave
    tried: list = field(default_factory=list)           # tried[i]: how often draft number i + 1 was judged
    kept: list = field(default_factory=list)            # kept[i]: and how often it was accepted
    narrowest: float = float("inf")

    @property
    def acceptance(self):
        """Share of the judged drafts that were accepted; None before the first."""
        return sum(self.kept) / sum(self.tried) if self.tried else None

    @property
    def tokens_per_pass(self):
        """1 without speculation, at most 1 + drafts with it; None before the first pass."""
        return self.tokens / self.passes if self.passes else None

    def add(self, drafts, said):
        """One more pass: of so many drafts it judged some and said all but the last of `said` tokens after them."""
        self.passes, self.tokens = self.passes + 1, self.tokens + said
        for number in range(min(drafts, said)):
            if number == len(self.tried):
                self.tried.append(0)
                self.kept.append(0)
            self.tried[number] += 1
            self.kept[number] += number < said - 1

    def compare(self, logits):                          # [n, V]
        """Keep the smallest lead of these."""
        second = max(0, logits.shape[-1] - 2)
        best = np.partition(logits, second, axis=-1)[:, second:]
        self.narrowest = min(self.narrowest, float(np.min(best.max(axis=-1) - best.min(axis=-1))))


def check_speculation(model, cache, speculate):         # -> drafts a pass, 0 for none
    """Raise Refused unless this model and cache can draft so many tokens. True: as many as the drafter was trained for."""
    block = model.config.dspark_block_size
    if speculate is True and block:
        speculate = block
    if not isinstance(speculate, int | np.integer) or speculate < 0:
        raise Refused(f"speculate: expected False, True or a number of drafts, got {speculate!r}. True is 1 draft.")
    if speculate and speculate >= cache.reserve:        # a pass is one token more, and all of it may have to be taken back
        raise Refused(f"speculate: expected fewer drafts than the {cache.reserve} tokens that the cache can take back, got "
                      f"{speculate}. Ask for fewer, or hand in new_cache(reserve={speculate + 1}).")
    if speculate and block and speculate > block:
        raise Refused(f"speculate: expected at most {block} drafts (dspark_block_size), got {speculate}. "
                      "A DSpark block guesses no more.")
    if speculate and model.weights.mtp is None and not block:
        raise Refused("speculate: this checkpoint has no MTP block and no DSpark blocks. Load one that has, or leave it out.")
    return int(speculate)


def check_speeds(model, drafts, speeds):
    """Raise Refused unless speeds is None, or says of each number of tokens a pass may hold how fast it is."""
    if speeds is None:
        return
    if not drafts or model.weights.dspark is None:
        raise Refused("speeds: expected them with DSpark drafts only, which say how sure they are. Leave them out.")
    if len(speeds) < drafts + 1 or not all(0 < speed < float("inf") for speed in speeds):
        raise Refused(f"speeds: expected {drafts + 1} numbers above 0, for passes of 1 to {drafts + 1} tokens, got {speeds!r}.")


def remainder(p, q):                                    # [V], [V] -> [V], sums to 1
    """What a refused draft leaves of p: the part of it that q offers too seldom.

    A refusal means q > p somewhere, so p > q elsewhere; where only rounding says so, nothing is left, and p itself is right.
    """
    rest = np.maximum(p - q, 0)
    total = rest.sum()
    return rest / total if total > 0 else p


def judge(drafts, offered, wanted, rng):                # [k] ints, [k] x [V], [k + 1] x [V] -> [1 .. k + 1] ints
    """Drafts up to the first refused one, and one token more. Draft i was drawn from offered[i].

    A draft x is accepted with probability min(1, p(x) / q(x)), else replaced by a draw from remainder(p, q). Either way the
    token follows p: q(x) min(1, p / q) + (chance of a refusal) (p - q)+ / sum (p - q)+ = min(p, q) + (p - q)+ = p.
    At temperature 0 all of p is on one token, and the rule says: accept if it is the draft, else say it.
    Source: arXiv:2211.17192, algorithm 1 and appendix A.1.
    """
    said = []
    for token, q, p in zip(drafts, offered, wanted):
        accepted = p[token] >= q[token] or rng.random() < p[token] / q[token]
        if not accepted:
            return [*said, draw(remainder(p, q), rng)]
        said.append(token)
    return [*said, draw(wanted[len(drafts)], rng)]


class Drafter:
    """The MTP block, its memory, and the streams it has not read because the token after them was not drawn yet.

    Its memory begins where the first streams come from and calls that position 0: a window layer sees nothing but distances.
    """

    def __init__(self, model, storage, reserve, streams):           # streams [n, M, D] of the last tokens read
        self.model, self.waiting = model, streams
        self.cache = Cache(model.config, storage, reserve, layers=[model.config.n_layers], formats=model.ops.formats)

    def draft(self, next_ids, count, choose, rng):      # [n] ints, int -> [count] ints, [count] x [V]
        """Guess what comes after next_ids, the tokens that follow the waiting streams; and from which distribution."""
        drafts, offered, ids, streams = [], [], next_ids, self.waiting
        for _ in range(count):
            streams, logits = self._read(streams, np.asarray(ids))
            offered.append(choose(logits[0]))
            drafts.append(draw(offered[-1], rng))
            ids = drafts[-1:]
        self.cache.rewind(max(0, count - 1))            # rows made from guesses; the true ones come with the next call
        return drafts, offered

    def _read(self, streams, ids):                      # [n, M, D], [n] -> of the last token [1, M, D], logits [1, V]
        for start in range(0, len(ids), CHUNK):
            some = ids[start: start + CHUNK]
            (logits,), out = finite_pass(self.model, partial(self._pass, streams[start: start + CHUNK], some))
            self.cache.commit(len(some))
        return out, logits

    def _pass(self, streams, ids, model):               # -> (logits [1, V],), [1, M, D]
        out = model.mtp_streams(streams, ids, [(slice(0, len(ids)), self.cache)])[-1:]
        return (model.head(out, model.weights.mtp.head),), out


def read(model, ids, cache, scored):                    # [n] ints -> logits [scored, V], [n, ...]
    """Append to what `cache` holds. Gives the scores after each of the last `scored` tokens, and of each token what drafters
    take:

    its streams [M, D] for the MTP block, its taps [layers * D] for DSpark.
    """
    with model.appending([ids], [cache]) as (ids, spans):
        (logits,), shown = finite_pass(model, partial(_scores, ids, spans, scored))
        return logits, shown


def _scores(ids, spans, scored, model):                 # -> (logits [scored, V],), [n, ...]
    taps = None if model.weights.dspark is None else []
    streams = model.streams(ids, spans, taps=taps)
    shown = streams if taps is None else beside(model.ops, taps)
    return (model.head(streams[len(ids) - scored:], model.weights.head),), shown


def speculative_tokens(model, ids, max_new_tokens, drafts, temperature, top_p, rng, cache, tally, speeds=None, vocabulary=None):
    """Yield new tokens one by one, as generate does without speculation, several of them from one pass of the main model.

    When it ends (at the end token or the last wanted one), is closed or interrupted, `cache` holds what it would hold
    without: prompt and drawn tokens but the last. In between it may be ahead by the rest of a run.
    """
    start, drawn = cache.length + len(ids), 0
    choose = partial(distribution, temperature=temperature, top_p=top_p, vocabulary=vocabulary)
    try:
        for run in _runs(model, ids, max_new_tokens, drafts, choose, rng, cache, tally, speeds):
            for token in run:
                drawn += 1
                if token in model.config.eos_ids:
                    return
                yield token
    finally:
        if drawn:
            cache.rewind(cache.length - (start + drawn - 1))


def _runs(model, ids, max_new_tokens, drafts, choose, rng, cache, tally, speeds):     # yields [int, ...], cache read up to there
    greedy, tail = choose.keywords["temperature"] == 0, ids[-model.config.window_size:]         # all that a drafter sees
    if len(tail) < len(ids):
        model.prefill(ids[: -len(tail)], cache)
    pieces = [read(model, tail[i: i + CHUNK], cache, 1) for i in range(0, len(tail), CHUNK)]
    shown = model.ops.concat([shown for _, shown in pieces])
    if model.weights.dspark is None:
        drafter = Drafter(model, cache.storage, cache.reserve, shown)
    else:
        drafter = DSparkDrafter(model, cache.storage, cache.reserve, shown, speeds)
    logits = pieces[-1][0]
    run = [draw(choose(logits[0]), rng)]
    next_ids, left = [*tail[1:], *run], max_new_tokens - 1
    while True:
        if greedy:
            tally.compare(logits[:, :choose.keywords["vocabulary"]])
        yield run
        if not left:
            return
        count = min(drafts, left - 1)                   # so no pass says more than is wanted, or reads beyond max_seq_len
        guesses, offered = drafter.draft(next_ids, count, choose, rng)
        count = len(guesses)
        logits, shown = read(model, [run[-1], *guesses], cache, 1 + count)
        run = judge(guesses, offered, [choose(row) for row in logits], rng)
        cache.rewind(1 + count - len(run))
        logits, drafter.waiting = logits[: len(run)], shown[: len(run)]
        next_ids, left = run, left - len(run)
        tally.add(count, len(run))
