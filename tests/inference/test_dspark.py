"""DSpark drafts change how many passes a text takes and nothing else; what a drafter keeps is what a new one would make."""

from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner
from inference.alone import RowsAlone, every_path
from inference.test_speculate import chi_square, expect_own_distribution, texts_of
from inference.test_speculate_text import spoken
from layers.dspark_golden import CONFIG
from tolerances import SAME_MODEL, VISIBLE

from v4mini.cli import main
from v4mini.config import Config
from v4mini.inference.dspark import DSparkDrafter
from v4mini.inference.generate import generate
from v4mini.inference.sampling import Sampling, distribution
from v4mini.inference.speculate import Decoding, Stats, check_speculation, read, speculative_tokens
from v4mini.kernels.backend import NumbaBackend
from v4mini.planning.memory import STORAGES
from v4mini.shapes import Refused
from v4mini.weights.spec import tensors

FIVE = CONFIG.replace(vocab_size=5, eos_id=4, dspark_noise_token_id=3)     # so that random drafts are right at times
THREE = Config.tiny().replace(vocab_size=3, n_layers=1, n_hash_layers=0, compress_ratios=(4, 0)).with_dspark(markov_rank=12)
PROMPT = [5, 17, 42, 8]


# ---- the same greedy text ----

@pytest.mark.parametrize("drafts", [1, 3, 5])
@pytest.mark.parametrize("prompt_length", [1, 16, 40])
def test_greedy_texts_are_the_same_where_bits_do_not_depend_on_the_cut(model_of, rng, drafts, prompt_length):
    model = model_of(FIVE, RowsAlone(), 4)
    prompt, text = spoken(model, rng, prompt_length, 20)
    assert list(generate(model, prompt, 20, temperature=0, speculate=drafts)) == text


@pytest.mark.parametrize("right", [0, 1, 3, 5])
def test_the_text_and_the_ring_survive_whatever_is_kept_or_refused(model_of, monkeypatch, rng, right):
    """The blocks run as ever, but what they guess is replaced: so many right tokens, then wrong ones."""
    model, stats, true_draft = model_of(CONFIG, RowsAlone()), Stats(), DSparkDrafter.draft
    prompt = rng.integers(2, 97, 20)
    text = list(generate(model, prompt, 30, temperature=0))
    whole = [*prompt, *text, *[0] * 5]

    def knowing(self, next_ids, count, choose, rng):
        drafts, draft_probs = true_draft(self, next_ids, count, choose, rng)
        at = len(prompt) - CONFIG.window_size + self.cache.length + 1           # of the first token to guess
        drafts = [whole[at + i] if i < right else (whole[at + i] + 1) % 97 for i in range(count)]
        return drafts, [np.eye(97)[token] for token in drafts]
    monkeypatch.setattr(DSparkDrafter, "draft", knowing)
    assert list(generate(model, prompt, 30, temperature=0, speculate=True, stats=stats)) == text
    assert stats.tokens_per_pass == pytest.approx(1 + right, rel=0.2)


@pytest.mark.parametrize("engine", [None, NumbaBackend])
@pytest.mark.parametrize("drafts", [2, 5])
def test_in_float32_the_same_unless_a_lead_is_within_rounding(model_of, rng, engine, drafts):
    model, plain, stats = model_of(CONFIG, engine and engine()), Stats(), Stats()
    prompt = rng.integers(2, 97, 30)
    text = list(generate(model, prompt, 25, temperature=0, stats=plain))
    got = list(generate(model, prompt, 25, temperature=0, speculate=drafts, stats=stats))
    assert plain.smallest_margin > 1e-4                 # else choose another prompt: both texts would be right
    assert got == text and stats.smallest_margin == pytest.approx(plain.smallest_margin, abs=1e-4)


# ---- the same distribution ----

@pytest.mark.parametrize("drafts, length, temperature, top_p", [(1, 3, 1.0, 1.0), (2, 4, 0.7, 0.8), (5, 3, 1.0, 1.0)])
def test_every_path_adds_up_to_the_models_own_distribution(model_of, drafts, length, temperature, top_p):
    expect_own_distribution(model_of(THREE), drafts, length, temperature, top_p)


@pytest.mark.parametrize("drafts, seeds", [(2, 500), pytest.param(5, 6000, marks=pytest.mark.slow)])
def test_many_seeds_follow_the_models_distribution(model_of, drafts, seeds):
    three, prompt, counts = model_of(THREE, seed=4), [0, 2, 2], {}
    for seed in range(seeds):
        text = tuple(generate(three, prompt, 3, seed=seed, speculate=drafts))
        counts[text] = counts.get(text, 0) + 1
    assert abs(chi_square(counts, texts_of(three, prompt, 3, 1.0, 1.0))) < 4


def joint(model, length, drafts, speeds):               # -> {text: its exact probability}, {number of drafts judged}
    prompt, judged = [0, 2, 2], set()

    def play(rng):
        stats = Stats()
        decoding = Decoding(model, model.new_cache(), Sampling(), rng, stats)
        text = tuple(speculative_tokens(decoding, prompt, length, drafts, speeds))
        judged.add(len(stats.verified))
        return text
    return every_path(play), judged


SOME_PAY = (1.0, 0.72, 0.6)                 # with these weights about half of the rounds end before the last draft


def test_a_round_that_ends_where_it_stops_to_pay_changes_no_distribution(model_of):
    got, judged = joint(model_of(THREE), 4, 2, SOME_PAY)
    assert got == pytest.approx(texts_of(model_of(THREE), [0, 2, 2], 4, 1.0, 1.0), rel=1e-3, abs=1e-9)
    assert min(judged) < max(judged)


def test_a_round_that_looks_at_the_next_confidence_first_does(model_of, monkeypatch):
    """The planted mistake, at its plainest: the block is sure of what follows token 0 and of nothing else, and that decides
    whether the draft before is verified. The sum over all paths sees it."""
    honest = DSparkDrafter.draft

    def looking_ahead(self, next_ids, count, choose, rng):
        drafts, draft_probs = honest(self, next_ids, count, choose, rng)
        return (drafts, draft_probs) if drafts[:1] == [0] else ([], [])
    monkeypatch.setattr(DSparkDrafter, "draft", looking_ahead)
    got, judged = joint(model_of(THREE), 3, 2, None)
    wanted = texts_of(model_of(THREE), [0, 2, 2], 3, 1.0, 1.0)
    assert min(judged) < max(judged) and max(abs(got.get(text, 0) - chance) for text, chance in wanted.items()) > 1e-3


@pytest.mark.parametrize("speculate, speeds, told", [
    (0, (1, 1), "with DSpark drafts only"), (2, (1, 1), "3 numbers above 0"), (2, (1, 1, 0), "3 numbers above 0")])
def test_speeds_that_do_not_fit_are_refused(model_of, speculate, speeds, told):
    with pytest.raises(Refused, match=told):
        generate(model_of(FIVE, seed=4), [1, 2], speculate=speculate, speeds=speeds)


# ---- what is kept ----

def first_scores(drafter, anchor, vocabulary):          # -> [G, V]: of a greedy round
    rows = []

    def choose(row):
        rows.append(np.array(row))
        return np.eye(vocabulary)[row.argmax()]
    drafter.draft([anchor], CONFIG.dspark_block_size, choose, None)
    return np.array(rows)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("cuts", [(1, 2, 3), (15, 16, 17, 18), (5, 40, 41, 46), (40,)])
def test_a_ring_that_grew_round_by_round_is_the_ring_of_the_whole_text(model_of, rng, cuts, storage):
    """Otherwise a row would be at a wrong place, be missing, or be left from a block."""
    model, ids = model_of(CONFIG), rng.integers(0, 97, 50)
    cache, kept, before = model.new_cache(storage), None, 0
    for n in cuts:
        _, taps = read(model, ids[before:n], cache, 1)
        kept, before = kept or DSparkDrafter(model, storage, 8, taps), n
        kept.waiting = taps
        got = first_scores(kept, ids[n], 97)
    _, taps = read(model, ids[: cuts[-1]], model.new_cache(storage), 1)
    wanted = first_scores(DSparkDrafter(model, storage, 8, taps), ids[cuts[-1]], 97)
    np.testing.assert_allclose(got, wanted, **SAME_MODEL if storage == "float32" else {"rtol": 0.02, "atol": 0.05})
    assert kept.cache.length == cuts[-1]


def test_text_before_the_window_does_not_reach_the_drafter_but_by_the_models_eyes(model_of, rng):
    model, ids = model_of(CONFIG), rng.integers(0, 97, 40)
    _, taps = read(model, ids, model.new_cache(), 1)
    whole, near = DSparkDrafter(model, "float32", 8, taps), DSparkDrafter(model, "float32", 8, taps[-CONFIG.window_size:])
    shorter = DSparkDrafter(model, "float32", 8, taps[1 - CONFIG.window_size:])
    wanted, got, less = (first_scores(drafter, 3, 97) for drafter in (whole, near, shorter))
    np.testing.assert_allclose(got, wanted, **SAME_MODEL)
    assert np.abs(less - wanted).max() > VISIBLE


def test_the_cache_holds_what_it_would_without(model_of, rng):
    model, prompt = model_of(CONFIG), rng.integers(0, 97, 20)
    plain, cache = model.new_cache(), model.new_cache()
    text = list(generate(model, prompt, 12, temperature=0, cache=plain))
    assert list(generate(model, prompt, 12, temperature=0, cache=cache, speculate=True)) == text
    assert cache.length == plain.length == 31
    np.testing.assert_allclose(model.step(text[-1], cache), model.step(text[-1], plain), **SAME_MODEL)


def test_what_is_drafted_from_is_what_is_offered(model_of):
    """Each draft is drawn from the distribution that is handed to accept, temperature and top_p included."""
    model = model_of(FIVE, seed=4)
    _, taps = read(model, [1, 2, 3], model.new_cache(), 1)
    choose = partial(distribution, temperature=0.8, top_p=0.9)
    first, counts = None, np.zeros(5)
    for seed in range(300):
        drafts, draft_probs = DSparkDrafter(model, "float32", 8, taps).draft([2], 1, choose, np.random.default_rng(seed))
        first = draft_probs[0] if first is None else first
        counts[drafts[0]] += 1
    np.testing.assert_allclose(counts / 300, first, atol=4 * 0.5 / 300**0.5)


# ---- settings ----

def test_true_is_a_whole_block_and_more_than_that_is_refused(model_of):
    model = model_of(FIVE, seed=4)
    assert [check_speculation(model, model.new_cache(), asked) for asked in (True, 5, 1, 0, False)] == [5, 5, 1, 0, 0]
    with pytest.raises(Refused, match="at most 5 drafts"):
        generate(model, [1, 2], speculate=6)


def test_a_model_opened_without_its_drafter_says_so(model_of):
    model = model_of(CONFIG.replace(n_dspark_layers=0, dspark_block_size=0, dspark_target_layer_ids=()))
    with pytest.raises(Refused, match="no MTP block and no DSpark"):
        generate(model, PROMPT, speculate=1)
    assert len(list(generate(model, PROMPT, 3, temperature=0))) == 3


# ---- as files and by command ----

def test_a_written_checkpoint_drafts_by_command_in_memory_and_streamed(tmp_path):
    """The same text without drafts, with a block of them, and with its weights read as they are needed."""
    run = partial(CliRunner().invoke, main)
    folder = str(tmp_path / "written")
    made = run(["synth", "--model", "mini", "--dspark", "--layers", "3", "--reserve", "1MB", "--out", folder, "--json"])
    assert made.exit_code == 0, made.output
    assert Config.load(folder) == Config.mini().replace(n_mtp_layers=0, n_layers=3).with_dspark()
    options = ["generate", "5 9 17", "--ids", "--model", folder, "-n", "8", "--temperature", "0", "--backend", "numpy"]
    plain, *others = (run([*options, *more]) for more in ([], ["--speculate", "5"], ["--speculate", "5", "--memory", "6GB"]))
    for other in others:
        assert other.exit_code == 0 and other.stdout == plain.stdout, other.output
        assert "drafts accepted" in other.stderr
    assert run(["synth", "--mtp", "--dspark", "--out", folder]).exit_code == 2
    told = run([*options, "--speculate", "6"])
    assert told.exit_code == 2 and "at most 5 drafts" in told.stderr


def test_the_0731_release_is_counted_to_the_last_tensor():
    """4,705 stored tensors under mtp.* and 166.9 GB in all, as published."""
    drafter = [spec for spec in tensors(Config.flash().with_dspark()) if spec.name.startswith("mtp.")]
    assert sum(len(spec.stored()) for spec in drafter) == 4705
    assert round(sum(spec.nbytes for spec in tensors(Config.flash().with_dspark())) / 1e9, 1) == 166.9
