"""Where Hugging Face and we differ by the rounding of one of us, float64 decides, and the table says so. Needs no torch."""

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.proof.huggingface import LARGEST, NEAR_TIE, Float64, closest_ranks, compare_logits, rank_gaps

CONFIG = Config.tiny().replace(index_topk=2)
T = 60


class OtherAt(Backend):
    """Takes the first entry that was left out in the place of the last one chosen, in one layer, for one token."""

    layer, token = 0, None

    def at(self, layer):
        self.now = layer
        return self

    def index_topk(self, q, keys, weights, visible, k):
        picks = super().index_topk(q, keys, weights, visible, k)
        if self.now == self.layer and self.token is not None:
            given = q, keys, weights, visible
            best, chosen, more = (set(Backend.index_topk(self, *given, n)[self.token]) for n in (k - 1, k, k + 1))
            picks[self.token] = sorted(best | more - chosen)
        return picks


@pytest.fixture(scope="module")
def run(model_of):                                      # model, ids, by how much each choice was clear
    model, ids = model_of(CONFIG), np.random.default_rng(3).integers(0, 97, T)
    gaps = rank_gaps(model, ids)
    return model, ids, gaps


def other_choice(model_of, ids, token):
    ops = OtherAt()
    ops.token = token
    return model_of(CONFIG, ops).logits(ids)


def test_gaps_are_infinite_until_something_is_left_out(run):
    model, ids, gaps = run
    assert np.isinf(gaps[:11]).all() and np.isfinite(gaps[11:]).all()       # two entries of 4 tokens, then a third
    assert closest_ranks(model, ids) == gaps.min()


def test_another_choice_at_a_near_tie_is_decided_by_float64_and_said(model_of, run, monkeypatch):
    model, ids, gaps = run
    wanted = other_choice(model_of, ids, 40)
    assert np.abs(wanted - model.logits(ids)).max() > 100 * LARGEST
    monkeypatch.setattr("v4mini.proof.huggingface.NEAR_TIE", 2 * gaps[40])  # as if these two were as near
    found = compare_logits("case", model, ids, wanted)
    assert found.passed and found.difference < 1e-4
    assert found.measure.startswith("to float64; HF took another entry at a near tie")
    mine = model_of(CONFIG, OtherAt())                  # if it is ours that chose the wrong one, the same comparison fails
    mine.ops.token = 40
    exact = model_of(CONFIG, Float64()).logits(ids)
    assert not compare_logits("case", mine, ids, exact).passed


def test_another_choice_where_no_tie_is_fails(model_of, run):
    model, ids, gaps = run
    token = int(np.argmax(np.where(np.isinf(gaps), 0, gaps)))
    assert gaps[token] > NEAR_TIE
    found = compare_logits("case", model, ids, other_choice(model_of, ids, token))
    assert not found.passed and found.measure == "largest"


def test_small_differences_are_decided_by_float64_too(model_of, run):
    model, ids, gaps = run
    exact = model_of(CONFIG, Float64()).logits(ids)
    noisy = exact.copy()
    noisy[int(np.argmax(gaps < np.inf)), 5] += 1.5 * LARGEST
    found = compare_logits("case", model, ids, noisy)
    assert found.passed and "to float64; HF is" in found.measure
