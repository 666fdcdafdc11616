"""Speculation changes how many passes a text takes and nothing of its distribution; texts themselves: test_speculate_text.py."""

import json
from functools import partial
from itertools import product

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.alone import every_path

from v4mini.config import Config
from v4mini.inference.generate import generate
from v4mini.inference.sampling import Sampling, distribution, draw
from v4mini.inference.speculate import Decoding, Drafter, Stats, accept, residual, speculative_tokens
from v4mini.shapes import Refused

PROMPT = [5, 17, 42, 8]
THREE = Config.tiny().replace(vocab_size=3, n_layers=1, n_hash_layers=0, compress_ratios=(4, 0))       # 0, eos, 2
HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def three(model_of):
    """Three tokens, so that drafts are often right; one of them ends the text."""
    return model_of(THREE)


def some_distribution(rng, size):
    weights = rng.random(size) * (rng.random(size) < 0.8)
    weights[rng.integers(size)] += 0.1
    return weights / weights.sum()


# ---- the rule ----

def test_by_hand():
    """q offers token 0 twice as often as p wants it: half of them go back, and all that go back become token 2."""
    p, q = np.array([0.25, 0.25, 0.5]), np.array([0.5, 0.25, 0.25])
    assert residual(p, q).tolist() == [0, 0, 1]
    assert every_path(lambda rng: accept([0], [q], [p, p], rng)[0]) == {0: 0.5, 2: 0.5}
    assert every_path(lambda rng: accept([1], [q], [p, p], rng)[0]) == {1: 1.0}
    assert every_path(lambda rng: accept([draw(q, rng)], [q], [p, p], rng)[0]) == pytest.approx({0: 0.25, 1: 0.25, 2: 0.5})


@HYPOTHESIS
@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_all_turns_together_give_the_models_own_joint_distribution(size, drafts, seed):
    """Drafts and wishes depend on all tokens before, as a model's do; what no pass has said, the model draws itself."""
    tables = np.random.default_rng(seed)
    wish, offer = ({prefix: some_distribution(tables, size) for n in range(drafts + 1)
                    for prefix in product(range(size), repeat=n)} for _ in range(2))

    def play(rng):
        drafted = ()
        for _ in range(drafts):
            drafted += (draw(offer[drafted], rng),)
        said = accept(drafted, [offer[drafted[:i]] for i in range(drafts)], [wish[drafted[:i]] for i in range(drafts + 1)], rng)
        while len(said) <= drafts:
            said.append(draw(wish[tuple(said)], rng))
        return tuple(said)

    wanted = {text: np.prod([wish[text[:i]][token] for i, token in enumerate(text)])
              for text in product(range(size), repeat=drafts + 1)}
    assert every_path(play) == pytest.approx({text: chance for text, chance in wanted.items() if chance}, rel=1e-9, abs=1e-15)


@HYPOTHESIS
@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_a_draft_is_accepted_as_often_as_the_two_overlap(size, seed):
    tables = np.random.default_rng(seed)
    p, q = some_distribution(tables, size), some_distribution(tables, size)
    accepted = every_path(lambda rng: len(accept([draw(q, rng)], [q], [p, p], rng)) == 2)
    assert accepted.get(True, 0) == pytest.approx(np.minimum(p, q).sum())


def test_a_refusal_by_rounding_alone_falls_back_to_p():
    p = np.array([0.5, 0.5])
    assert residual(p, p + 1e-17).tolist() == residual(p, np.array([0.5, 0.5])).tolist() == [0.5, 0.5]


def test_at_temperature_zero_the_rule_is_the_models_own_token():
    rng, sure = np.random.default_rng(0), np.eye(3)
    assert accept([2, 0, 1], sure[[2, 0, 1]], sure[[2, 0, 0, 1]], rng) == [2, 0, 0]
    assert accept([2, 0], sure[[2, 0]], sure[[2, 0, 1]], rng) == [2, 0, 1]
    assert accept([], [], sure[[1]], rng) == [1]


# ---- the same distribution ----

def texts_of(model, prompt, length, temperature, top_p):        # -> {text: probability}, a text ends at `length` or before eos
    wanted, open_texts = {}, {(): 1.0}
    for _ in range(length):
        longer = {}
        for text, chance in open_texts.items():
            p = distribution(model.logits([*prompt, *text])[-1], temperature, top_p)
            for token in np.flatnonzero(p):
                goal = wanted if token == model.config.eos_id else longer
                ended = text if token == model.config.eos_id else (*text, int(token))
                goal[ended] = goal.get(ended, 0) + chance * p[token]
        open_texts = longer
    return wanted | open_texts


@pytest.mark.parametrize("drafts, length, temperature, top_p", [
    (1, 4, 1.0, 1.0), (2, 4, 0.7, 1.0), (3, 4, 1.0, 0.8), (1, 5, 1.0, 0.6), (2, 5, 0.5, 0.9)])
def test_every_path_through_a_model_adds_up_to_its_own_distribution(three, drafts, length, temperature, top_p):
    expect_own_distribution(three, drafts, length, temperature, top_p)


def expect_own_distribution(model, drafts, length, temperature, top_p):
    """Exact: each random draw of the whole loop takes each of its turns; drafts are kept, refused, and cut by the end token."""
    prompt, lengths = [0, 2, 2], set()

    def play(rng):
        stats = Stats()
        decoding = Decoding(model, model.new_cache(), Sampling(temperature, top_p), rng, stats)
        text = tuple(speculative_tokens(decoding, prompt, length, drafts))
        lengths.add(stats.tokens_per_pass)
        return text

    got = every_path(play)
    assert got == pytest.approx(texts_of(model, prompt, length, temperature, top_p), rel=1e-3, abs=1e-9)
    assert sum(got.values()) == pytest.approx(1) and min(lengths - {None}) == 1 < max(lengths - {None})


def chi_square(counts, wanted):                         # {text: n}, {text: probability} -> in standard deviations
    n = sum(counts.values())
    assert set(counts) <= set(wanted)
    rare = {text for text in wanted if wanted[text] * n < 5}                        # lumped together
    cells = [(counts.get(text, 0), wanted[text] * n) for text in wanted if text not in rare]
    cells += [(sum(counts.get(text, 0) for text in rare), sum(wanted[text] for text in rare) * n)] if rare else []
    free = len(cells) - 1
    return (sum((got - want) ** 2 / want for got, want in cells) - free) / (2 * free) ** 0.5


@pytest.mark.parametrize("drafts, seeds", [(0, 500), (1, 500), (2, 500), pytest.param(1, 20000, marks=pytest.mark.slow),
                                           pytest.param(3, 6000, marks=pytest.mark.slow)])
def test_many_seeds_follow_the_models_distribution(model_of, drafts, seeds):
    """With these weights the MTP block is often wrong: refused drafts that were drawn anew from p would show at 9 deviations."""
    three, prompt, counts = model_of(THREE, seed=4), [0, 2, 2], {}
    for seed in range(seeds):
        text = tuple(generate(three, prompt, 3, seed=seed, speculate=drafts))
        counts[text] = counts.get(text, 0) + 1
    wanted = texts_of(three, prompt, 3, 1.0, 1.0)
    assert abs(chi_square(counts, wanted)) < 4
    apart = sum(abs(counts.get(text, 0) / seeds - wanted[text]) for text in wanted) / 2
    assert apart < 1.5 * (len(wanted) / seeds) ** 0.5   # total variation of so many draws is about 0.4 of this root


# ---- settings and figures ----

def test_true_is_one_draft_and_false_none(three):
    for speculate, passes in ((True, 1), (False, 0), (0, 0), (1, 1), (np.int64(2), 2)):
        stats = Stats()
        list(generate(three, [0, 2], 12, temperature=2.0, seed=5, speculate=speculate, stats=stats))
        assert len(stats.verified) == passes


@pytest.mark.parametrize("speculate", [-1, 2.0, None, "1", [1]])
def test_a_number_of_drafts_out_of_range_is_refused(tiny, speculate):
    with pytest.raises(Refused, match="speculate: expected False, True or a number"):
        generate(tiny, PROMPT, speculate=speculate)


@pytest.mark.parametrize("reserve, most", [(0, 0), (2, 1), (8, 7), (12, 11)])
def test_a_pass_must_fit_into_what_the_cache_can_take_back(tiny, reserve, most):
    generate(tiny, PROMPT, speculate=most, cache=tiny.new_cache(reserve=reserve))
    with pytest.raises(Refused, match=f"fewer drafts than the {reserve} tokens that the cache can take back, got {most + 1}"):
        generate(tiny, PROMPT, speculate=most + 1, cache=tiny.new_cache(reserve=reserve))


def test_a_checkpoint_without_an_mtp_block_is_refused(model_of):
    model = model_of(Config.tiny().replace(n_mtp_layers=0, compress_ratios=(4, 0, 128, 4)))
    with pytest.raises(Refused, match="no MTP block"):
        generate(model, PROMPT, speculate=1)
    assert len(list(generate(model, PROMPT, 3, temperature=0))) == 3


def test_stats_by_hand():
    stats = Stats()
    assert stats.acceptance is None and stats.tokens_per_pass is None
    stats.add(2, 3)                                     # both accepted, and one more
    stats.add(2, 2)                                     # the first accepted, the second refused
    stats.add(2, 1)                                     # the first refused, the second never verified
    assert (stats.passes, stats.tokens, stats.verified, stats.accepted) == (3, 6, [3, 2], [2, 1])
    assert stats.acceptance == 3 / 5 and stats.tokens_per_pass == 2
    stats.compare(np.float32([[1, 5, 2], [3, 4, 3.5]]))
    stats.compare(np.float32([[0, 9, 1]]))
    assert stats.smallest_margin == 0.5
    stats.compare(np.float32([[7, 7, 0]]))
    assert stats.smallest_margin == 0


def test_acceptance_is_that_of_the_overlap(three):
    """Of many texts, drafts are kept as often as min(p, q) says along the way."""
    stats, expected, true_draft = Stats(), [], partial(Drafter.draft)

    def spy(self, next_ids, count, choose, rng):
        drafts, draft_probs = true_draft(self, next_ids, count, choose, rng)
        expected.extend(draft_probs)
        return drafts, draft_probs
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drafter, "draft", spy)
        overlaps = []
        for seed in range(100):
            said = list(generate(three, [0, 2], 3, seed=seed, speculate=1, stats=stats))
            if expected:                                # the only draft stands behind the prompt and the first token
                p = distribution(three.logits([0, 2, said[0]])[-1], 1.0, 1.0)
                overlaps.append(np.minimum(p, expected.pop()).sum())
    assert len(overlaps) == sum(stats.verified) > 40
    assert stats.acceptance == pytest.approx(np.mean(overlaps), abs=4 * (0.25 / len(overlaps)) ** 0.5)


def test_the_command_line(tmp_path):
    import v4mini as v4
    from v4mini.cli import main

    folder = v4.random_weights(Config.mini().replace(n_layers=2, compress_ratios=(4, 0, 0), n_hash_layers=0), tmp_path / "small")
    run = partial(CliRunner().invoke, main)
    options = ["--model", str(folder), "--ids", "-n", "8", "--temperature", "0", "--backend", "numpy"]
    plain, fast = run(["generate", "0 5 9", *options]), run(["generate", "0 5 9", *options, "--speculate", "2"])
    assert plain.exit_code == fast.exit_code == 0 and fast.stdout == plain.stdout
    assert "drafts accepted" in fast.stderr and "drafts" not in plain.stderr
    wrong = run(["generate", "0 5 9", *options, "--speculate", "8"])
    told = json.loads(run(["generate", "0 5 9", *options, "--speculate", "2", "--json"]).stdout)["speculation"]
    assert told["tokens"] == 7 and 1 <= told["passes"] <= 7 and len(told["drafts_verified"]) == len(told["drafts_accepted"]) > 0
    assert wrong.exit_code == 2 and "fewer drafts than the 8 tokens" in wrong.stderr and "Traceback" not in wrong.stderr
