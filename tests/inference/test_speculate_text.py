"""Speculation says the same greedy text, drafts what the MTP block says of all of it, and leaves the cache as it should be."""

import numpy as np
import pytest
from inference.alone import RowsAlone
from tolerances import SAME_MODEL

from v4mini.config import Config
from v4mini.inference.generate import generate
from v4mini.inference.sampling import distribution
from v4mini.inference.speculate import Drafter, Stats, accept
from v4mini.layers.sequences import NoMemory
from v4mini.planning.memory import STORAGES
from v4mini.shapes import Refused

PROMPT = [5, 17, 42, 8]


@pytest.fixture(scope="module")
def alone(model_of):
    """Any model in bits that do not depend on how a text is cut."""
    return lambda config, seed=0: model_of(config, RowsAlone(), seed)


# ---- the same greedy text ----

FIVE = Config.tiny().replace(vocab_size=5, eos_id=4)   # few tokens, so that random drafts are right now and then


def spoken(model, rng, prompt_length, length):          # -> a prompt whose greedy text does not end early, that text
    while True:
        prompt = rng.integers(0, 4, prompt_length)
        text = list(generate(model, prompt, length, temperature=0))
        if len(text) == length:
            return prompt, text


@pytest.mark.parametrize("drafts", [1, 7])
@pytest.mark.parametrize("prompt_length", [1, 16, 40])
def test_greedy_texts_are_the_same_where_bits_do_not_depend_on_the_cut(alone, rng, drafts, prompt_length):
    """The bookkeeping alone, then: no rounding can excuse a difference."""
    model = alone(FIVE, seed=4)
    prompt, text = spoken(model, rng, prompt_length, 20)
    assert list(generate(model, prompt, 20, temperature=0, speculate=drafts)) == text


def test_drafts_of_the_texts_above_are_kept_and_refused(alone, rng):
    stats = Stats()
    for seed in (4, 7):
        model = alone(FIVE, seed)
        prompt, text = spoken(model, rng, 20, 40)
        assert list(generate(model, prompt, 40, temperature=0, speculate=2, stats=stats)) == text
    assert 0 < stats.accepted[1] < stats.verified[1] <= stats.accepted[0] < stats.verified[0]


@pytest.mark.parametrize("name, prompt_length", [("tiny", 4), ("tiny", 130), ("mini", 20)])
@pytest.mark.parametrize("drafts", [1, 3])
def test_in_float32_the_same_unless_a_lead_is_within_rounding(request, rng, name, prompt_length, drafts):
    model, plain, stats = request.getfixturevalue(name), Stats(), Stats()
    prompt = rng.integers(2, 97, prompt_length)
    text = list(generate(model, prompt, 25, temperature=0, stats=plain))
    got = list(generate(model, prompt, 25, temperature=0, speculate=drafts, stats=stats))
    assert plain.smallest_margin > 1e-4                 # else choose another prompt: both texts would be right
    assert got == text and stats.smallest_margin == pytest.approx(plain.smallest_margin, abs=1e-4)


def test_the_narrowest_lead_is_that_of_the_text(tiny):
    stats = Stats()
    text = list(generate(tiny, PROMPT, 10, temperature=0, speculate=1, stats=stats))
    best = np.sort(tiny.logits([*PROMPT, *text])[len(PROMPT) - 1: -1], axis=1)
    assert stats.smallest_margin == pytest.approx((best[:, -1] - best[:, -2]).min(), abs=1e-4)


# ---- what is drafted ----

def naive_drafts(model, text, drafts):                  # [n] ints -> [count] x [V]: from nothing, by repeated whole passes
    """Draft i + 1 comes after the whole text and i drafts, of which the MTP block has its own output instead of streams."""
    streams, ids = model.streams(*_alone(model, text[:-1])), list(text[1:])
    for number in range(len(drafts)):
        out = model.mtp_streams(streams, np.array(ids), [(slice(0, len(ids)), NoMemory())])
        yield model.head(out[-1:], model.weights.mtp.head)[0]
        streams, ids = np.concatenate([streams, out[-1:]]), [*ids, drafts[number]]


def _alone(model, ids):
    ids, (span,) = model.flatten([ids])
    return ids, [(span, NoMemory())]


@pytest.mark.parametrize("drafts", [1, 3])
@pytest.mark.parametrize("prompt_length", [1, 15, 40])
def test_drafts_are_what_the_mtp_block_says_of_the_whole_text(monkeypatch, model_of, rng, drafts, prompt_length):
    """Its memory keeps step: after refused drafts, beyond its window of 16, with a prompt that it read only the end of."""
    model, seen, true_draft = model_of(FIVE, seed=4), [], Drafter.draft

    def spy(self, next_ids, count, choose, rng):
        drafted, draft_probs = true_draft(self, next_ids, count, choose, rng)
        seen.append((drafted, draft_probs))
        return drafted, draft_probs
    monkeypatch.setattr(Drafter, "draft", spy)
    prompt, text = rng.integers(0, 4, prompt_length), []
    for token in generate(model, prompt, 24, temperature=0.7, speculate=drafts, seed=3):
        while seen:                                     # this token was drawn after these drafts, from the text before it
            drafted, draft_probs = seen.pop()
            if drafted:
                logits = list(naive_drafts(model, [*prompt, *text], drafted))
                wanted = [distribution(row, 0.7, 1.0) for row in logits]
                np.testing.assert_allclose(draft_probs, wanted, **SAME_MODEL)
        text.append(token)
    if drafts == 1:
        wanted = distribution(model.mtp_logits([*prompt, *text[:-1]])[-1], 0.7, 1.0)
        np.testing.assert_allclose(distribution(list(naive_drafts(model, [*prompt, *text[:-1]], [0]))[0], 0.7, 1.0), wanted,
                                   **SAME_MODEL)


@pytest.fixture
def scripted_drafts(monkeypatch):
    """drafts(text, right): the text is drafted, but after `right(n)` right ones of pass n a wrong one comes."""
    def install(text, right):
        count_passes = iter(range(10**6))

        def drafted(self, next_ids, count, choose, rng):
            at = self.model.said + 1
            drafts, good = list(text[at: at + count]), right(next(count_passes))
            drafts += [2] * (count - len(drafts))
            if good < count:
                drafts[good] = (drafts[good] + 1) % self.model.config.vocab_size
            return drafts, [np.eye(self.model.config.vocab_size)[token] for token in drafts]
        monkeypatch.setattr(Drafter, "draft", drafted)
    return install


def follow(model, *args, **settings):                   # generate, telling the script how far the text is
    model.said = -1
    for token in generate(model, *args, **settings):
        model.said += 1
        yield token


@pytest.mark.parametrize("drafts, right, passes", [
    (1, lambda n: 1, 10), (3, lambda n: 3, 5), (3, lambda n: 0, 20), (3, lambda n: 1, 10), (2, lambda n: n % 3, 11)])
def test_passes_are_as_few_as_drafts_are_right(tiny, scripted_drafts, drafts, right, passes):
    text, stats = list(generate(tiny, PROMPT, 21, temperature=0)), Stats()
    scripted_drafts(text, right)
    assert list(follow(tiny, PROMPT, max_new_tokens=21, temperature=0, speculate=drafts, stats=stats)) == text
    assert (stats.passes, stats.tokens) == (passes, 20) and stats.tokens_per_pass == 20 / passes
    assert all(kept <= tried for kept, tried in zip(stats.accepted, stats.verified)) and sum(stats.accepted) == 20 - passes


@pytest.mark.parametrize("storage", STORAGES)
def test_greedy_texts_are_the_same_in_any_storage(alone, rng, scripted_drafts, storage):
    model = alone(Config.mini().replace(n_layers=3, compress_ratios=(4, 128, 4, 0)))
    prompt = rng.integers(2, 2048, 126)                 # entries of 4 and of 128 tokens are finished in the middle of passes
    text = list(generate(model, prompt, 9, temperature=0, cache=model.new_cache(storage)))
    scripted_drafts(text, lambda n: (2, 0, 3)[n % 3])
    cache = model.new_cache(storage)
    assert list(follow(model, prompt, max_new_tokens=9, temperature=0, cache=cache, speculate=3)) == text and len(text) == 9


# ---- nothing is lost ----

def after(model, tokens, count):                        # take `count` tokens, then let go -> tokens, done or not
    taken = []
    for token in tokens:
        taken.append(token)
        if len(taken) == count:
            break
    tokens.close()
    return taken


@pytest.mark.parametrize("right", [lambda n: 3, lambda n: n % 3])
@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_stopped_anywhere_the_cache_is_as_it_would_be_without(alone, scripted_drafts, count, right):
    model = alone(Config.tiny())
    text = list(generate(model, PROMPT, 30, temperature=0))
    plain, cache = model.new_cache(), model.new_cache()
    after(model, generate(model, PROMPT, 30, temperature=0, cache=plain), count)
    scripted_drafts(text, right)
    assert after(model, follow(model, PROMPT, max_new_tokens=30, temperature=0, cache=cache, speculate=3), count) == text[:count]
    assert cache.length == plain.length == 4 + count - 1 and cache.nbytes == plain.nbytes
    for token in text[count - 1: count + 3]:
        np.testing.assert_array_equal(model.step(token, cache), model.step(token, plain))


@pytest.mark.parametrize("eos_at", [1, 2, 3, 4, 5, 7])
def test_an_end_token_within_an_accepted_run_ends_the_text_there(alone, scripted_drafts, eos_at):
    model = alone(Config.tiny())
    text = [9, 8, 7, 6, 4, 3, 2, 5, 10, 11]
    text[eos_at] = model.config.eos_id
    scripted = Says(model, [*PROMPT, *text])
    scripted_drafts(text, lambda n: 3)
    cache, plain = scripted.new_cache(), scripted.new_cache()
    assert list(generate(scripted, PROMPT, 30, temperature=0, cache=plain)) == text[:eos_at]
    assert list(follow(scripted, PROMPT, max_new_tokens=30, temperature=0, cache=cache, speculate=3)) == text[:eos_at]
    assert cache.length == plain.length == 4 + eos_at


class Says:
    """A model that wants to go on with one fixed text, whatever it reads; else it is the model it wraps."""

    def __init__(self, model, text):
        self.model, self.text = model, text
        self.config, self.weights, self.ops = model.config, model.weights, model.ops
        self.new_cache, self.flatten = model.new_cache, model.flatten

    def appending(self, sequences, caches):
        self.at = caches[0].length
        return self.model.appending(sequences, caches)

    def streams(self, ids, spans, **extra):
        self.model.streams(ids, spans, **extra)         # so that the cache sees the rows
        places = self.at + np.arange(len(ids))
        return places[:, None, None] * np.ones((1, 4, 48), np.float32)

    def head(self, streams, w):
        nexts = [self.text[min(int(place) + 1, len(self.text) - 1)] for place in streams[:, 0, 0]]
        return np.eye(97, dtype=np.float32)[nexts] * 9

    def prefill(self, ids, cache):
        with self.appending([ids], [cache]) as (ids, spans):
            return self.head(self.streams(ids, spans)[-1:], None)[0]

    def step(self, token, cache):
        return self.prefill([token], cache)


@pytest.mark.parametrize("wanted", [1, 2, 4, 5, 6, 8])
def test_exactly_as_many_tokens_as_wanted(tiny, scripted_drafts, wanted):
    text, cache = list(generate(tiny, PROMPT, 12, temperature=0)), tiny.new_cache()
    scripted_drafts(text, lambda n: 3)
    said = list(follow(tiny, PROMPT, max_new_tokens=wanted, temperature=0, speculate=3, cache=cache))
    assert said == text[:wanted] and cache.length == 4 + wanted - 1


@pytest.mark.parametrize("drafts", [1, 3, 7])
def test_it_may_fill_the_context_to_the_last_place(model_of, drafts):
    model = model_of(Config.tiny().replace(max_seq_len=20))
    cache = model.new_cache()
    assert len(list(generate(model, PROMPT, 17, temperature=0, speculate=drafts, cache=cache))) == 17 and cache.length == 20
    with pytest.raises(Refused, match="make 21, over this config's 20"):
        generate(model, PROMPT, 18, speculate=drafts)


def test_with_a_cache_the_prompt_goes_on_from_what_it_holds(alone, rng):
    """The MTP block has not read that past: its first drafts are poorer, the text is the same."""
    model, cache = alone(Config.tiny()), None
    past = rng.integers(2, 97, 30)
    for prompt in ([3, 2], [9], list(range(40))):
        cache, plain = cache or model.new_cache(), model.new_cache()
        if cache.length == 0:
            model.prefill(past, cache)
        model.prefill(past, plain)
        text = list(generate(model, prompt, 9, temperature=0, cache=plain))
        assert list(generate(model, prompt, 9, temperature=0, cache=cache, speculate=2)) == text
        past = [*past, *prompt, *text[:-1]]
        assert cache.length == len(past)


class Interrupting(RowsAlone):
    """Presses Ctrl-C before the n-th operation."""

    countdown = float("inf")

    def __getattribute__(self, name):
        if name in ("rms_norm", "attend", "experts", "hc_head"):
            self.countdown -= 1
            if self.countdown < 0:
                raise KeyboardInterrupt
        return super().__getattribute__(name)


@pytest.mark.parametrize("drafts", [1, 3])
def test_ctrl_c_at_any_operation_loses_no_token_and_repeats_none(model_of, drafts):
    """Whatever was said is in the cache, but for the last token or not even that; going on gives the same text."""
    model, lengths = model_of(FIVE.replace(n_layers=1, n_hash_layers=0, compress_ratios=(4, 0)), Interrupting()), set()
    prompt, text = spoken(model, np.random.default_rng(0), 4, 10)
    for operations in [*range(20, 250, 8), 10**6]:
        cache, said = model.new_cache(), []
        model.ops.countdown = operations
        try:
            for token in generate(model, prompt, 10, temperature=0, cache=cache, speculate=drafts):
                said.append(token)
        except KeyboardInterrupt:
            lengths.add(len(said))
        model.ops.countdown = float("inf")
        read = cache.length - len(prompt)               # of what was said
        assert said == text[: len(said)] and (read == len(said) - 1 if said else read in (0, -len(prompt)))
        if 0 < len(said) < 10:
            rest = text[read: len(said)]                # said, not yet read: the prompt of what follows
            go_on = generate(model, rest, 10 - len(said), temperature=0, cache=cache, speculate=drafts)
            assert said + list(go_on) == text
    assert len(lengths) > 4 and said == text


@pytest.mark.parametrize("at", [1, 2, 3])
def test_ctrl_c_between_reading_and_judging_takes_the_whole_pass_back(tiny, monkeypatch, at):
    cache, said, calls = tiny.new_cache(), [], iter(range(1, 100))

    def interrupted(*args):
        if next(calls) == at:
            raise KeyboardInterrupt
        return accept(*args)
    monkeypatch.setattr("v4mini.inference.speculate.accept", interrupted)
    with pytest.raises(KeyboardInterrupt):
        said.extend(generate(tiny, PROMPT, 30, temperature=0, cache=cache, speculate=7))
    assert cache.length == 4 + at - 1                   # no draft is right here: a token a pass, the last one not yet read


def test_the_largest_number_of_drafts_works(tiny, scripted_drafts):
    text, cache = list(generate(tiny, PROMPT, 25, temperature=0)), tiny.new_cache(reserve=12)
    scripted_drafts(text, lambda n: 11 * (n % 2))
    assert list(follow(tiny, PROMPT, max_new_tokens=25, temperature=0, speculate=11, cache=cache)) == text
