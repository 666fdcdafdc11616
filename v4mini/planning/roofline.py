"""Seconds that a machine needs at least: for its products, and for what it must read. The longer of the two binds.

    compute      sum over formats of FLOPs / rate of that format
    reading      bytes / bandwidth
    at least     max(compute, reading): both at once, each at its peak, all devices busy, nothing between them

No engine gets there: compare measured runs with it (`v4mini plan --runs`). Links between devices, kernel starts, sampling,
activations and draft tokens are not counted.
Not here: FLOPs and bytes themselves (models.py), this machine's own ceilings (bench/ceiling.py).
"""

from dataclasses import dataclass

from v4mini.shapes import Refused

CHUNK = 8192                    # tokens that a prefill sends through the model at once; each chunk reads all weights again
PIECES = 64                     # of the trapezoid rule over a prefill


@dataclass(frozen=True)
class Bound:
    """A lower bound on time, in its two terms."""

    flops: dict                 # {arithmetic: FLOPs}
    read: dict                  # {what: bytes}
    compute_seconds: float
    read_seconds: float

    @property
    def seconds(self):
        return max(self.compute_seconds, self.read_seconds)

    @property
    def binds(self):            # -> "compute" | "bandwidth"
        return "compute" if self.compute_seconds >= self.read_seconds else "bandwidth"


def bound(machine, flops, read):                        # -> Bound
    """Of {arithmetic: FLOPs} and {what: bytes} on this machine."""
    compute = sum(amount / machine.rate(arithmetic) for arithmetic, amount in flops.items())
    return Bound(flops, read, compute, sum(read.values()) / machine.bandwidth)


def step_bound(model, machine, context, batch=1, stored="released", storage="released"):       # -> Bound
    """One new token for each of `batch` texts of this length: weights are read once for all, each cache for itself."""
    _whole("context", context)
    _whole("batch", batch)
    flops = {arithmetic: batch * amount for arithmetic, amount in token_work(model, context, stored).items()}
    weights = model.step_weights(batch, stored)
    read = {"experts": weights["experts"], "other weights": weights["rest"],
            "cache": batch * sum(model.reads(context, storage).values())}
    return bound(machine, flops, read)


def prefill_bound(model, machine, tokens, stored="released", storage="released", start=0, chunk=CHUNK):       # -> Bound
    """Reading `tokens` tokens behind `start` earlier ones, chunk by chunk; logits of the last one only.

    Each chunk reads the weights of all its experts, its past once, and its own picks one by one.
    """
    _whole("tokens", tokens)
    flops = span_work(model, start, start + tokens, stored)
    read = {"experts": 0.0, "other weights": 0.0, "cache": 0.0}
    edges = [*range(start, start + tokens, chunk), start + tokens]
    for low, high in zip(edges, edges[1:]):
        weights = model.step_weights(high - low, stored)
        past = model.reads(high, storage)
        picks = past.get("csa", past.get("latent", 0))
        read["experts"] += weights["experts"]
        read["other weights"] += weights["rest"]
        read["cache"] += sum(past.values()) + (high - low - 1) * picks
    return bound(machine, flops, read)


def token_work(model, context, stored="released", head=True):      # -> {arithmetic: FLOPs}
    """The products of one token with `context` tokens in sight, its own included."""
    work = dict(model.dense(stored, head))
    for flops, arithmetic in model.growing(context).values():
        work[arithmetic] = work.get(arithmetic, 0) + flops
    return work


def span_work(model, start, stop, stored="released"):   # -> {arithmetic: FLOPs} of tokens start .. stop - 1
    """By the trapezoid rule: every part is piecewise linear in the position. One token's logits."""
    body = model.dense(stored, head=False)
    work = {arithmetic: flops * (stop - start) for arithmetic, flops in body.items()}
    for arithmetic, flops in model.dense(stored, head=True).items():
        work[arithmetic] = work.get(arithmetic, 0) + flops - body.get(arithmetic, 0)
    pieces = min(PIECES, stop - start)
    edges = [start + (stop - start) * piece / pieces for piece in range(pieces + 1)]
    at = [model.growing(max(1, round(edge))) for edge in edges]
    for part in at[0]:
        arithmetic = at[0][part][1]
        for (low, high), (before, after) in zip(zip(edges, edges[1:]), zip(at, at[1:])):
            work[arithmetic] = work.get(arithmetic, 0) + (before[part][0] + after[part][0]) / 2 * (high - low)
    return work


def request_seconds(model, machine, tokens_in, tokens_out, cached=0, batch=1, stored="released", storage="released"):
    """At least so many seconds of the whole machine per request, while `batch` of them are answered in one batch.

    Reading the part of the prompt that is not `cached`, then its share of tokens_out steps at middle length.
    """
    read = tokens_in - cached
    seconds = prefill_bound(model, machine, read, stored, storage, start=cached).seconds if read else 0.0
    if tokens_out:
        middle = max(1, tokens_in + tokens_out // 2)
        seconds += tokens_out * step_bound(model, machine, middle, batch, stored, storage).seconds / batch
    return seconds


def _whole(name, value):
    if type(value) is not int or value < 1:
        raise Refused(f"{name}: expected a whole number of at least 1, got {value!r}. Write 1M as 1048576.")
