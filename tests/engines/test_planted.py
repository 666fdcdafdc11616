"""Mistakes that engines are written with, one at a time in the torch engine: each must be seen by a case.

A new engine's mistake is new; what is shown here is that the cases look everywhere.
"""

import numpy as np
import pytest
from engines.cases import CASES, RELEASED, answer, differing, lacking

torch = pytest.importorskip("torch")

from accel import minifloat, reference, weights  # noqa: E402
from accel.reference import TorchBackend  # noqa: E402
from v4mini.backend import Backend  # noqa: E402

PLANTED = {}


def planted(what, caught_by, inside=None):
    """A function(right method, engine, *arguments), in the place of the method that caught_by names (or `inside` calls)."""
    def keep(function):
        PLANTED[what] = caught_by, inside or caught_by, function
        return function
    return keep


@planted("the sink is left out", "attend")
def _(right, ops, q, rows, first, sink, *rest, **more):
    return right(ops, q, rows, first, torch.full_like(sink, -torch.inf), *rest, **more)


@planted("the sink gives a value", "attend", "_weights")
def _(right, *given):
    found, far = right(*given)
    return found / found[:, :, :-1].sum(2, keepdim=True), far


@planted("picks of -1 are entry 0", "attend")
def _(right, ops, *given, picks=None, **more):
    return right(ops, *given, picks=None if picks is None else picks.clamp(min=0), **more)


@planted("first is ignored", "attend")
def _(right, ops, q, rows, first, *rest, **more):
    return right(ops, q, rows, np.zeros_like(first), *rest, **more)


@planted("the window is one row too long", "attend")
def _(right, ops, q, rows, first, sink, window, *rest, **more):
    return right(ops, q, rows, np.maximum(first - 1, 0), sink, window + 1, *rest, **more)


@planted("one entry too many is seen", "attend")
def _(right, ops, *given, visible=None, entries=None, **more):
    seen = None if visible is None else np.minimum(visible + 1, len(entries))
    return right(ops, *given, visible=seen, entries=entries, **more)


@planted("what is not seen reaches by 0 times NaN", "attend", "finite")
def _(right, rows):
    return rows


@planted("a token with a NaN for a score is sent to experts all the same", "route", "doubt")
def _(right, rows):
    return torch.zeros_like(right(rows))


@planted("ties go to the later one", "index_topk", "top_k")
def _(right, scores, k):
    return scores.shape[1] - 1 - right(scores.flip(1), k)


@planted("ties of experts go to the later one", "route", "top_k")
def _(right, scores, k):
    return scores.shape[1] - 1 - right(scores.flip(1), k)


@planted("picks come best first", "index_topk")
def _(right, ops, q, keys, weights, visible, k):
    return right(ops, q, keys, weights, visible, k).flip(1)


@planted("weights of index heads lose their sign", "index_topk")
def _(right, ops, q, keys, weights, visible, k):
    return right(ops, q, keys, weights.abs(), visible, k)


@planted("what is not seen is picked", "index_topk")
def _(right, ops, q, keys, weights, visible, k):
    return right(ops, q, keys, weights, np.minimum(visible + 1, len(keys)), k)


@planted("the norm has no eps", "rms_norm", "rms_unit")
def _(right, ops, x, eps):
    return right(ops, x, 0.0)


@planted("the inverse rotation turns forward", "rope")
def _(right, ops, x, positions, freqs, inverse=False):
    return right(ops, x, positions, freqs)


@planted("pairs are halves, not neighbours", "rope")
def _(right, ops, x, positions, freqs, inverse=False):
    n = freqs.shape[0]
    apart = [2 * i % (2 * n) + (2 * i) // (2 * n) for i in range(2 * n)]
    order = torch.tensor([*range(x.shape[-1] - 2 * n), *(x.shape[-1] - 2 * n + i for i in apart)])
    return right(ops, x[..., order], positions, freqs, inverse)[..., order.argsort()]


@planted("comb is transposed", "hc_post")
def _(right, ops, y, streams, post, comb):
    return right(ops, y, streams, post, comb.transpose(1, 2))


@planted("post is not doubled", "hc_pre")
def _(right, ops, *given):
    u, post, comb = right(ops, *given)
    return u, post / 2, comb


@planted("Sinkhorn takes one step fewer", "hc_pre")
def _(right, ops, streams, hc, iters, *rest):
    return right(ops, streams, hc, max(1, iters - 1), *rest)


@planted("the head's weights have no eps", "hc_head")
def _(right, ops, streams, hc, eps, norm_eps):
    return right(ops, streams, hc, 0.0, norm_eps)


@planted("the clamp is missing", "expert")
def _(right, ops, x, w, limit, *rest):
    return right(ops, x, w, 0.0, *rest)


@planted("the block before is ignored", "compress")
def _(right, ops, kv, score, ape, ratio, previous=None, overlap=False):
    return right(ops, kv, score, ape, ratio, None, overlap)


@planted("the block before gets no ape", "compress")
def _(right, ops, kv, score, ape, ratio, previous=None, overlap=False):
    return right(ops, kv, score, ape, ratio, previous and (previous[0], previous[1] - ape), overlap)


@planted("the bias weighs too", "route")
def _(right, ops, scores, route_scale, k, bias=None, chosen=None):
    chosen, found = right(ops, scores, route_scale, k, bias, chosen)
    return chosen, found if bias is None else found + bias[chosen]


@planted("the table is ignored", "route")
def _(right, ops, scores, route_scale, k, bias=None, chosen=None):
    return right(ops, scores, route_scale, k, torch.zeros(scores.shape[1]) if bias is None else bias)


@planted("an expert that stands twice counts once", "experts")
def _(right, ops, x, chosen, weights, pool, limit):
    again = torch.stack([(chosen[:, :i] == chosen[:, i: i + 1]).any(1) for i in range(chosen.shape[1])], 1)
    return right(ops, x, chosen, weights.masked_fill(again, 0), pool, limit)


@planted("groups are swapped", "grouped_linear")
def _(right, ops, x, weight, groups):
    return right(ops, x, weight, groups).unflatten(1, (groups, -1)).flip(1).flatten(1)


@planted("nibbles are swapped", "linear", "unpack")
def _(right, codes):
    return right(codes).unflatten(-1, (-1, 2)).flip(-1).flatten(-2)


@planted("a scale serves its neighbour's numbers", "embed", "spread")
def _(right, scale, group, width):
    return right(scale.roll(1, -1), group, width)


@planted("parts come in the other order", "concat")
def _(right, ops, parts):
    return right(ops, list(parts)[::-1])


@planted("rows are sorted", "take")
def _(right, ops, x, rows):
    return right(ops, x, np.sort(rows))


ROUNDED = {}


def planted_in_rounding(what, caught_by):
    """The same for simulate="released"."""
    def keep(function):
        ROUNDED[what] = caught_by, function
        return function
    return keep


@planted_in_rounding("the rotated part is rounded too", "round_kv")
def _(right, ops, rows, rope_head_dim):
    return right(ops, torch.nn.functional.pad(rows, (0, 32)), 32)[..., :96]


@planted_in_rounding("keys are not rotated by Hadamard", "round_index")
def _(right, ops, rows):
    return right(ops, minifloat.hadamard(rows))


@planted_in_rounding("inputs of plain weights are rounded", "linear")
def _(right, ops, x, weight):
    return right(ops, ops.round_kv(x, 0), weight)


@pytest.fixture(scope="module")
def right():
    return {name: answer(Backend(), name) for name in CASES}


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_mistake_is_seen(what, right, monkeypatch):
    operation, inside, wrong = PLANTED[what]
    owner = next(owner for owner in (TorchBackend, reference, weights) if hasattr(owner, inside))
    method = getattr(owner, inside)
    monkeypatch.setattr(owner, inside, lambda *given, **more: wrong(method, *given, **more))
    mine = {name: answer for name, answer in right.items() if name.split(":")[0] == operation}
    assert differing(TorchBackend(), mine), f"no case of {operation} saw it"


@pytest.mark.parametrize("what", ROUNDED)
def test_a_planted_mistake_of_rounding_is_seen(what, monkeypatch):
    operation, wrong = ROUNDED[what]
    method = getattr(TorchBackend, operation)
    monkeypatch.setattr(TorchBackend, operation, lambda *given, **more: wrong(method, *given, **more))
    plain = Backend("released")
    mine = {name: answer(plain, name, cases=RELEASED) for name in RELEASED if name.split(":")[0] == operation}
    assert differing(TorchBackend("released"), mine, RELEASED), f"no case of {operation} saw it"


def test_without_a_mistake_nothing_is_seen(right):
    assert differing(TorchBackend(), right) == []


def test_a_missing_operation_is_named():
    class Half(TorchBackend):
        attend = None
        host = None

    assert lacking(Half()) == ["attend", "host"] and lacking(TorchBackend()) == []
