"""Speculative decoding: the MTP block drafts the next tokens, the model verifies all drafts in one pass. The accepted text is
distributed exactly as without drafts; drafts only change the number of forward passes.

    tokens of the text        0 .. n - 1   n             n + 1 .. n + k
    the main model has read   yes          no, just drawn
    the MTP block has read    (streams of t, token t + 1) for all t < n
    it drafts                                            k tokens
    the main model reads                   n and the k drafts, and accepts or refuses each by its own scores before it

The MTP block was made for one draft: it takes the main model's streams at t. Further ones take its own output in their place,
which is an approximation, so deeper drafts are poorer. Source: V4 report 2.1, DeepSeek-V3 report 2.2 (arXiv:2412.19437);
reference inference/model.py, MTPBlock; the rule: arXiv:2211.17192, algorithm 1.

A checkpoint with DSpark blocks has no MTP block; dspark.py drafts then, from the outputs of some of the model's layers, and the
rest of this file is the same for both.

Not here: what it costs and when it pays (planning/speculation.py), settings of the caller (generate.py).
"""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

from v4mini.inference.cache import Cache
from v4mini.inference.cached import CHUNK
from v4mini.inference.dspark import DSparkDrafter
from v4mini.inference.sampling import Sampling, draw
from v4mini.layers.dspark import beside
from v4mini.layers.finite import finite_pass
from v4mini.shapes import Refused


@dataclass
class Stats:
    """Counts of one text after its prompt. Drafts behind a refused one are not verified.

    smallest_margin: at temperature 0, the smallest distance of a best score to the second best. A pass of several tokens adds
    up in another order than single ones, so float32 scores differ by some 1e-5; only where a margin is about as small (or two
    experts, or two entries, are as close) can the text differ from the one without speculation.
    """

    passes: int = 0                                     # of the main model
    tokens: int = 0                                     # that they gave
    verified: list = field(default_factory=list)        # verified[i]: how often draft number i + 1 was accepted or refused
    accepted: list = field(default_factory=list)        # accepted[i]: how often it was accepted
    smallest_margin: float = float("inf")

    @property
    def acceptance(self):
        """Share of the verified drafts that were accepted; None before the first."""
        return sum(self.accepted) / sum(self.verified) if self.verified else None

    @property
    def tokens_per_pass(self):
        """1 without speculation, at most 1 + drafts with it; None before the first pass."""
        return self.tokens / self.passes if self.passes else None

    def add(self, drafts, tokens):
        """One more pass, of so many drafts; it gave `tokens` tokens, of which all but the last are accepted drafts."""
        self.passes += 1
        self.tokens += tokens
        for number in range(min(drafts, tokens)):
            if number == len(self.verified):
                self.verified.append(0)
                self.accepted.append(0)
            self.verified[number] += 1
            self.accepted[number] += number < tokens - 1

    def compare(self, logits):                          # [n, V]
        """Keep the smallest margin of these."""
        second = max(0, logits.shape[-1] - 2)
        best = np.partition(logits, second, axis=-1)[:, second:]
        self.smallest_margin = min(self.smallest_margin, float(np.min(best.max(axis=-1) - best.min(axis=-1))))


class Decoding(NamedTuple):
    """One text in the making: what every way to draw its next tokens works with."""

    model: object
    cache: Cache
    sampling: Sampling
    rng: np.random.Generator
    stats: Stats


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
        raise Refused("speeds: expected them with DSpark drafts only, which come with confidences. Leave them out.")
    if len(speeds) < drafts + 1 or not all(0 < speed < float("inf") for speed in speeds):
        raise Refused(f"speeds: expected {drafts + 1} numbers above 0, for passes of 1 to {drafts + 1} tokens, got {speeds!r}.")


def residual(p, q):                                     # [V], [V] -> [V], sums to 1
    """The distribution to draw from after a refused draft: max(p - q, 0), normalised.

    A refusal means q > p somewhere, so p > q elsewhere; where only rounding says so, nothing is left, and p itself is right.
    """
    rest = np.maximum(p - q, 0)
    total = rest.sum()
    return rest / total if total > 0 else p


def accept(drafts, draft_probs, target_probs, rng):     # [k] ints, [k] x [V], [k + 1] x [V] -> [1 .. k + 1] ints
    """Drafts up to the first refused one, and one token more. Draft i was drawn from draft_probs[i].

    A draft x is accepted with probability min(1, p(x) / q(x)), else replaced by a draw from residual(p, q). Either way the
    token follows p: q(x) min(1, p / q) + (chance of a refusal) (p - q)+ / sum (p - q)+ = min(p, q) + (p - q)+ = p.
    At temperature 0 all of p is on one token: a draft is accepted if it is that token, else replaced by it.
    Source: arXiv:2211.17192, algorithm 1 and appendix A.1.
    """
    accepted = []
    for token, q, p in zip(drafts, draft_probs, target_probs):
        is_accepted = p[token] >= q[token] or rng.random() < p[token] / q[token]
        if not is_accepted:
            return [*accepted, draw(residual(p, q), rng)]
        accepted.append(token)
    return [*accepted, draw(target_probs[len(drafts)], rng)]


class Drafter:
    """The MTP block, its memory, and the streams it has not read because the token after them was not drawn yet.

    Its memory begins where the first streams come from and calls that position 0: a window layer sees nothing but distances.
    """

    def __init__(self, model, storage, reserve, streams):           # streams [n, M, D] of the last tokens read
        self.model, self.waiting = model, streams
        self.cache = Cache(model.config, storage, reserve, layers=[model.config.n_layers], formats=model.ops.formats)

    def draft(self, next_ids, count, choose, rng):      # [n] ints, int -> [count] ints, [count] x [V]
        """Guess what comes after next_ids, the tokens that follow the waiting streams; and from which distribution."""
        drafts = []
        draft_probs = []
        ids = next_ids
        streams = self.waiting
        for _ in range(count):
            streams, logits = self._read(streams, np.asarray(ids))
            draft_probs.append(choose(logits[0]))
            drafts.append(draw(draft_probs[-1], rng))
            ids = drafts[-1:]
        self.cache.rewind(max(0, count - 1))            # rows made from guesses; the true ones come with the next call
        return drafts, draft_probs

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


def speculative_tokens(decoding, ids, max_new_tokens, drafts, speeds=None):
    """Yield new tokens one by one, as generate does without speculation, several of them from one pass of the main model.

    When it ends (at the end token or the last wanted one), is closed or interrupted, `cache` holds what it would hold
    without: prompt and drawn tokens but the last. In between it may be ahead by the rest of a run.
    """
    cache = decoding.cache
    start = cache.length + len(ids)
    drawn = 0
    try:
        for run in _runs(decoding, ids, max_new_tokens, drafts, speeds):
            for token in run:
                drawn += 1
                if token in decoding.model.config.eos_ids:
                    return
                yield token
    finally:
        if drawn:
            cache.rewind(cache.length - (start + drawn - 1))


def _runs(decoding, ids, max_new_tokens, drafts, speeds):       # yields [int, ...], cache read up to there
    model, cache, sampling, rng, stats = decoding
    tail = ids[-model.config.window_size:]              # all that a drafter sees
    if len(tail) < len(ids):
        model.prefill(ids[: -len(tail)], cache)
    pieces = [read(model, tail[i: i + CHUNK], cache, 1) for i in range(0, len(tail), CHUNK)]
    shown = model.ops.concat([shown for _, shown in pieces])
    if model.weights.dspark is None:
        drafter = Drafter(model, cache.storage, cache.reserve, shown)
    else:
        drafter = DSparkDrafter(model, cache.storage, cache.reserve, shown, speeds)
    logits = pieces[-1][0]
    run = [draw(sampling.probs(logits[0]), rng)]
    next_ids = [*tail[1:], *run]
    left = max_new_tokens - 1
    while True:
        if sampling.temperature == 0:
            stats.compare(logits[:, :sampling.vocabulary])
        yield run
        if not left:
            return
        count = min(drafts, left - 1)                   # so no pass gives more than is wanted, or reads beyond max_seq_len
        guesses, draft_probs = drafter.draft(next_ids, count, sampling.probs, rng)
        count = len(guesses)
        logits, shown = read(model, [run[-1], *guesses], cache, 1 + count)
        run = accept(guesses, draft_probs, [sampling.probs(row) for row in logits], rng)
        cache.rewind(1 + count - len(run))
        logits = logits[: len(run)]
        drafter.waiting = shown[: len(run)]
        next_ids = run
        left -= len(run)
        stats.add(count, len(run))
