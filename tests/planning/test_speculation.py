"""When guessing ahead pays: by hand, by simulation, against the released totals."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.config import Config
from v4mini.planning.counts import counts
from v4mini.planning.speculation import (
    acceptance_of,
    admitted,
    break_even,
    expected_tokens,
    pass_bytes,
    speed_up,
    survivals,
)
from v4mini.shapes import Refused

HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=100)


@pytest.mark.parametrize("acceptance, drafts, tokens", [
    (0, 3, 1), (1, 3, 4), (0.5, 1, 1.5), (0.5, 2, 1.75), (0.9, 1, 1.9), (0.8, 0, 1)])
def test_tokens_by_hand(acceptance, drafts, tokens):
    assert expected_tokens(acceptance, drafts) == pytest.approx(tokens)


@HYPOTHESIS
@given(st.floats(0, 0.999), st.integers(0, 12))
def test_tokens_are_the_closed_form(acceptance, drafts):
    assert expected_tokens(acceptance, drafts) == pytest.approx((1 - acceptance ** (drafts + 1)) / (1 - acceptance), rel=1e-9)


@pytest.mark.parametrize("acceptance, drafts", [(0.3, 1), (0.7, 3), (0.95, 7)])
def test_tokens_are_what_coins_give(rng, acceptance, drafts):
    n = 20000
    heads = rng.random((n, drafts)) < acceptance
    tokens = 1 + np.cumprod(heads, axis=1).sum(axis=1)
    assert tokens.mean() == pytest.approx(expected_tokens(acceptance, drafts), abs=4 * tokens.std() / n**0.5)


def test_speed_by_hand():
    assert speed_up(0.85, 1, 1.3, 0.12) == pytest.approx(1.85 / 1.42)
    assert speed_up(0.5, 2, 1.0, 0.0) == 1.75           # drafts and longer passes for nothing: the tokens themselves
    assert speed_up(0.0, 1, 1.0, 0.1) == pytest.approx(1 / 1.1)         # nothing is accepted: the drafts are lost


def test_break_even_by_hand():
    assert break_even(1, 1.3, 0.12) == pytest.approx(0.42)
    assert break_even(1, 1.0, 0.0) == pytest.approx(0, abs=1e-12)
    assert break_even(2, 1.5, 0.125) == pytest.approx(0.5)              # 1 + 1/2 + 1/4
    assert break_even(1, 2.0, 0.1) is None


@HYPOTHESIS
@given(st.integers(1, 8), st.floats(1, 4), st.floats(0, 1))
def test_at_break_even_it_is_as_fast_as_without(drafts, verify_cost, draft_cost):
    found = break_even(drafts, verify_cost, draft_cost)
    if found is None:
        assert speed_up(1.0, drafts, verify_cost, draft_cost) < 1
    else:
        assert speed_up(found, drafts, verify_cost, draft_cost) == pytest.approx(1)


@HYPOTHESIS
@given(st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_acceptance_is_one_minus_total_variation(size, seed):
    p, q = np.random.default_rng(seed).dirichlet(np.ones(size), size=(2, 3))
    np.testing.assert_allclose(acceptance_of(p, q), 1 - np.abs(p - q).sum(axis=1) / 2)
    np.testing.assert_allclose(acceptance_of(p, p), 1)


@pytest.mark.parametrize("config, gigabytes, mtp", [(Config.flash(), 11.2, 1.3), (Config.pro(), 39.7, 2.5)])
def test_a_step_reads_what_is_active(config, gigabytes, mtp):
    """Flash in GB: experts 3.45, attention 4.60, shared 1.08, head 1.06, BF16 parts 0.71, indexer 0.18, mHC 0.14."""
    assert round(pass_bytes(config, 1) / 1e9, 1) == gigabytes and round(pass_bytes(config, 1, mtp=True) / 1e9, 1) == mtp


@pytest.mark.parametrize("config", [Config.flash(), Config.mini(), Config.tiny()])
def test_a_pass_of_very_many_tokens_reads_everything_once(config):
    groups, mtp = counts(config)
    tables, embedding, head = (groups.get(name) for name in ("hash tables", "embedding", "output head"))
    everything = sum(count.nbytes for count in groups.values()) - (tables.nbytes if tables else 0)
    assert pass_bytes(config, config.vocab_size) == pytest.approx(everything, rel=1e-6)
    assert pass_bytes(config, config.vocab_size, mtp=True) == pytest.approx(mtp.nbytes + embedding.nbytes + head.nbytes, rel=1e-6)


def test_experts_read_by_several_tokens_are_counted_by_drawing(rng):
    config, n = Config.flash(), 5
    drawn = [len({expert for _ in range(n) for expert in rng.choice(256, 6, replace=False)}) for _ in range(1000)]
    groups, _ = counts(config)
    more = groups["routed experts"].nbytes * (np.mean(drawn) / 256 - 6 / 256) + (n - 1) * 2 * config.dim
    assert pass_bytes(config, n) - pass_bytes(config, 1) == pytest.approx(more, rel=0.01)


@pytest.mark.parametrize("call, sentence", [
    (lambda: expected_tokens(1.1, 1), "acceptance: expected 0 to 1"), (lambda: expected_tokens(float("nan"), 1), "acceptance"),
    (lambda: expected_tokens(0.5, -1), "drafts: expected 0 or more"), (lambda: speed_up(0.5, 1.5, 1, 0), "drafts"),
    (lambda: speed_up(0.5, 1, 0, 0.1), "verify_cost"), (lambda: break_even(1, 1.2, -1), "draft_cost"),
    (lambda: pass_bytes(Config.tiny(), 0), "tokens: expected 1 or more")])
def test_refusals(call, sentence):
    with pytest.raises(Refused, match=sentence):
        call()


# ---- which drafts are worth a place ----

PAPER = {1: 1.0, 2: 0.5, 3: 0.45}.__getitem__           # the counterexample of the paper's appendix: 1.8 x 0.5 < 1


def test_the_search_stops_at_the_first_draft_that_does_not_pay():
    assert admitted([[0.8, 1.0]], PAPER) == [0]         # though both together would: (1 + 0.8 + 0.8) x 0.45 = 1.17
    assert admitted([[0.8, 1.0]], lambda n: 1.0) == [2]
    assert admitted([[0.8, 1.0]], lambda n: 1 / n) == [0]


def test_sure_drafts_of_one_text_go_before_unsure_ones_of_another():
    assert admitted([[0.9, 0.9], [0.3, 0.9]], lambda n: 1.0 if n <= 4 else 0.01) == [2, 0]
    assert admitted([[0.5], [0.5]], lambda n: 1.0 if n <= 3 else 0.01) == [1, 0]
    assert admitted([[], [1.0]], lambda n: 1.0) == [0, 1] and admitted([], lambda n: 1.0) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_draft_more_and_none_less_pays_where_passes_get_slower_evenly(seed):
    """With a speed of 1 / (b + n) the rate rises and then falls, so the first fall is the best place: tried by brute force."""
    rng = np.random.default_rng(seed)
    requests, base = [rng.random(int(rng.integers(0, 4))) for _ in range(3)], rng.uniform(0.5, 20)

    def rate(taken):
        tokens = sum(1 + survivals(chances)[:n].sum() for chances, n in zip(requests, taken))
        return tokens / (base + len(requests) + sum(taken))
    best = max(product(*(range(len(chances) + 1) for chances in requests)), key=rate)
    assert rate(admitted(requests, lambda n: 1 / (base + n))) == pytest.approx(rate(best))


def test_survival_is_a_product():
    np.testing.assert_allclose(survivals([0.5, 0.5, 1.0]), [0.5, 0.25, 0.25])
