"""The sweep against Hugging Face transformers passes, and would not if we were wrong. Needs the extra [parity]."""

import dataclasses

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.ops import attention, index, rope, route

pytestmark = pytest.mark.parity
LENGTHS = (1, 3, 4, 5, 9, 33, 129, 257)


def verdicts(**settings):
    from v4mini.proof.huggingface import verify_huggingface

    return list(verify_huggingface(**{"configs": 2, "lengths": LENGTHS, "backend": Backend()} | settings))


def test_two_random_models_answer_as_transformers_does_at_every_length():
    found = verdicts()
    assert [verdict.length for verdict in found] == [*LENGTHS, 257] * 2
    assert [verdict for verdict in found if not verdict.passed] == []


# ---- the same sweep with a mistake planted: it has to fail ----

class UnclampedShared(Backend):
    """The first release of the reference: the shared expert was not clamped."""

    def expert(self, x, w, limit):
        return super().expert(x, w, 0.0)


class BiasInWeights(Backend):
    """The bias that chooses leaks into the weights."""

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        chosen, weights = super().route(scores, route_scale, k, bias, chosen)
        if bias is not None:
            picked = np.take_along_axis(route.affinity(scores) + bias, chosen, 1)
            weights = picked / picked.sum(1, keepdims=True) * np.float32(route_scale)
        return chosen, weights


class UniformHash(Backend):
    """Experts of hash layers weigh 1/k each."""

    def route(self, scores, route_scale, k, bias=None, chosen=None):
        experts, weights = super().route(scores, route_scale, k, bias, chosen)
        return experts, weights if chosen is None else np.full_like(weights, route_scale / k)


class WindowOff(Backend):
    """The window is one token short."""

    def attend(self, q, rows, first, sink, window, *more, **others):
        return attention.attend(q, rows, first, sink, window - 1, *more, **others)


class NoTurningBack(Backend):
    """The output keeps absolute positions."""

    def rope(self, x, positions, freqs, inverse=False):
        return x if inverse else rope.rope(x, positions, freqs)


class NoRelu(Backend):
    """Index scores without the relu."""

    def index_topk(self, q, keys, weights, visible, k):
        scores = np.matmul(weights[:, None, :], np.matmul(q, keys.T))[:, 0]
        scores = np.where(np.arange(len(keys)) < visible[:, None], scores, -np.inf)
        best = index.top_k(scores, min(k, len(keys)))
        return np.where(best < visible[:, None], best, -1)


@pytest.mark.parametrize("wrong, seed", [(UnclampedShared, 0), (BiasInWeights, 0), (UniformHash, 0), (WindowOff, 0),
                                         (NoTurningBack, 0), (NoRelu, 1)], ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_mistake_is_found(wrong, seed):
    found = verdicts(backend=wrong(), seed=seed)
    # cached and stateless runs share the mistake, so only the comparison with transformers can tell
    assert any(not verdict.passed for verdict in found if verdict.measure == "largest" and "cached" not in verdict.case)


def test_not_a_number_does_not_pass():
    from v4mini.proof import Verdict

    verdict = Verdict("case", 1, 0.0, 1e-4, "largest")
    assert verdict.passed and not dataclasses.replace(verdict, difference=float("nan")).passed
