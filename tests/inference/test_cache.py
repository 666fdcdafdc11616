"""What a cache shows is what a memory that keeps every row would show: after any splits, rewinds, copies and interruptions."""

import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from inference.fake import SMALL, TOKENS, Fake, tokens_of

from v4mini.config import Config
from v4mini.inference.cache import Cache
from v4mini.planning.memory import STORAGES, cache_breakdown, cache_bytes
from v4mini.shapes import Refused

TEXTS = st.one_of(st.lists(st.integers(0, TOKENS - 1), min_size=1, max_size=size) for size in (1, 3, 30))


class AnyOrder(RuleBasedStateMachine):
    """Several caches, each with the tokens it should hold; whatever happens to one must not reach the others."""

    @initialize(storage=st.sampled_from(STORAGES), reserve=st.integers(0, 9), in_file=st.booleans())
    def start(self, storage, reserve, in_file):
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "rows" if in_file else None
        self.fake = Fake(SMALL, storage)
        self.live = [(Cache(SMALL, storage, reserve, path), [])]

    def pick(self, number):
        return self.live[number % len(self.live)]

    @rule(number=st.integers(0, 9), new=TEXTS)
    def feed(self, number, new):
        cache, tokens = self.pick(number)
        tokens += new
        self.fake.feed(cache, tokens)

    @rule(number=st.integers(0, 9), new=TEXTS, parts=st.integers(0, 30))
    def interrupt(self, number, new, parts):
        cache, tokens = self.pick(number)
        list(self.fake.extend(cache, tokens + new, parts))
        cache.abandon()

    @rule(number=st.integers(0, 9), tokens=st.integers(1, 9))
    def rewind(self, number, tokens):
        cache, held = self.pick(number)
        if tokens > cache.max_rewind:
            with pytest.raises(Refused, match="rewind: expected 0 to"):
                cache.rewind(tokens)
        else:
            cache.rewind(tokens)
            del held[-tokens:]

    @precondition(lambda self: len(self.live) < 4)
    @rule(number=st.integers(0, 9))
    def copy(self, number):
        cache, tokens = self.pick(number)
        self.live.append((cache.copy(), list(tokens)))

    @precondition(lambda self: len(self.live) > 1)
    @rule(number=st.integers(0, 9))
    def close(self, number):
        self.live.pop(number % len(self.live))[0].close()

    @rule(number=st.integers(0, 9), mapped=st.booleans())
    def save_and_load(self, number, mapped):
        cache, tokens = self.live.pop(number % len(self.live))
        path = Path(self.folder.name) / "saved"
        cache.save(path)
        self.live.append((Cache.load(path, SMALL, mapped), tokens))
        cache.close()

    @invariant()
    def lengths_and_bytes(self):
        for cache, tokens in getattr(self, "live", []):
            assert cache.length == len(tokens)
            assert cache.nbytes == cache_bytes(SMALL, len(tokens), cache.storage, cache.reserve)
            assert cache.breakdown() == cache_breakdown(SMALL, len(tokens), cache.storage, cache.reserve)

    def teardown(self):
        try:
            for cache, tokens in getattr(self, "live", []):     # nothing that happened to another reached this one
                self.fake.feed(cache, [*tokens, 1, 2, 3])
        finally:
            for cache, _ in getattr(self, "live", []):
                cache.close()
            if hasattr(self, "folder"):
                self.folder.cleanup()


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_rewound_by_any_number_at_any_length(rng):
    """Step by step, so that rows move on to a fresh array at each place once. Copies go back; the cache goes on."""
    fake, text, wrong, cache = Fake(SMALL), tokens_of(rng, 60), tokens_of(rng, 20), Cache(SMALL)
    for length in range(1, len(text)):
        fake.feed(cache, text[:length])
        for back in range(1, cache.max_rewind + 1):
            twin = cache.copy()
            twin.rewind(back)
            fake.feed(twin, text[: length - back] + wrong[:1])
            fake.feed(twin, text[: length - back] + wrong)


def test_a_rewind_behind_a_copy_does_not_reach_the_copy(rng):
    fake, text, wrong = Fake(SMALL), tokens_of(rng, 40), tokens_of(rng, 40)
    cache = Cache(SMALL)
    fake.feed(cache, text)
    twin = cache.copy()
    cache.rewind(8)
    fake.feed(cache, text[:32] + wrong)
    twin.rewind(4)
    third = twin.copy()
    fake.feed(twin, text[:36] + wrong)
    fake.feed(third, text[:36] + text)
    cache.rewind(3)
    fake.feed(cache, text[:32] + wrong[:37] + text)


def test_a_rewind_to_before_the_copy_was_made_and_its_rows_began(rng):
    fake, text, wrong = Fake(SMALL), tokens_of(rng, 44), tokens_of(rng, 40)
    cache = Cache(SMALL)
    fake.feed(cache, text[:40])
    twin = cache.copy()
    fake.feed(twin, text)                               # rows of its own from 40 on
    twin.rewind(8)
    fake.feed(twin, text[:36] + wrong)
    fake.feed(cache, text)


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("boundary", [1, 3, 4, 5, 8, 127, 128, 129, 132, 256])
def test_rewound_is_as_if_never_there(rng, storage, boundary):
    config = Config.tiny().replace(window_size=128)
    fake, text, wrong = Fake(config, storage), tokens_of(rng, boundary), tokens_of(rng, 8)
    for back in (1, 4, 8):
        cache, straight = Cache(config, storage), Cache(config, storage)
        fake.feed(straight, text)
        fake.feed(cache, text)
        for upto in range(1, back + 1):
            fake.feed(cache, text + wrong[:upto])
        cache.rewind(back)
        assert (cache.length, cache.nbytes) == (straight.length, straight.nbytes)
        for more in range(1, 6):                        # feed itself compares every row with what it must be
            fake.feed(cache, text + wrong[3: 3 + more])
            fake.feed(straight, text + wrong[3: 3 + more])


def test_a_rewind_goes_no_further_than_the_reserve(rng):
    fake, text = Fake(SMALL), tokens_of(rng, 50)
    cache = Cache(SMALL, reserve=3)
    fake.feed(cache, text)
    cache.rewind(2)
    for asked in (2, -1, 1.0, None):
        with pytest.raises(Refused, match="rewind: expected 0 to 1 tokens, got .* reserve=3"):
            cache.rewind(asked)
    cache.rewind(1)
    assert cache.max_rewind == 0 and cache.length == 47
    fake.feed(cache, text[:49])
    assert cache.max_rewind == 2


def test_a_short_text_can_be_taken_back_whole(rng):
    cache, fake = Cache(SMALL), Fake(SMALL)
    fake.feed(cache, tokens_of(rng, 5))
    cache.rewind(5)
    assert cache.length == 0
    fake.feed(cache, tokens_of(rng, 40))


@pytest.mark.parametrize("new", [1, 20])
def test_ctrl_c_at_any_line_leaves_the_cache_before_or_after(rng, new):
    """Stop at the n-th line that runs inside the cache, for every n; then the rows must be those before or those after."""
    fake, text, more = Fake(SMALL), tokens_of(rng, 19), tokens_of(rng, new)
    line, interrupted, outcomes = 0, True, set()
    while interrupted:
        line += 1
        cache = Cache(SMALL, reserve=2)
        fake.feed(cache, text)
        interrupted = run_until(line, lambda cache=cache: _call(fake, cache, text + more))
        assert cache.length in (len(text), len(text) + new)
        outcomes.add(cache.length)
        cache.rewind(2)
        before = (text + more)[: cache.length]
        fake.feed(cache, [*before, 1, 2, 3, 4, 5])
    assert line > 100 and len(outcomes) == 2


def _call(fake, cache, tokens):
    try:
        list(fake.extend(cache, tokens))
    except BaseException:
        cache.abandon()
        raise
    cache.commit(len(tokens) - cache.length)


def run_until(line, action):                            # -> whether it was interrupted, by KeyboardInterrupt at that line
    seen = 0

    def local(frame, event, _):
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return local

    def trace(frame, event, _):
        return local if frame.f_code.co_filename.endswith(("cache.py", "cache_storage.py")) else None
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_copies_share_the_long_part_and_copy_the_small_one(rng):
    config = Config.bench()
    fake, text = Fake(config), tokens_of(rng, 20_000)
    cache = Cache(config)
    for start in range(0, len(text), 2_000):
        fake.feed(cache, text[: start + 2_000])
    growing = sum(cache.breakdown()[kind] for kind in ("csa", "hca", "index_keys"))
    tracemalloc.start()
    twins = [cache.copy() for _ in range(3)]
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 3 * (cache.nbytes - growing) * 1.1 + 100_000 < growing
    for number, twin in enumerate([*twins, cache]):
        fake.feed(twin, [*text, *[number] * 9])


def test_a_chain_of_copies_forgets_nothing(rng):
    fake, text = Fake(SMALL, "bfloat16"), tokens_of(rng, 5)
    chain = [Cache(SMALL, "bfloat16")]
    texts = [text]
    fake.feed(chain[0], text)
    for number in range(12):
        chain.append(chain[-1].copy())
        texts.append(texts[-1] + [number % TOKENS] * 7)
        fake.feed(chain[-1], texts[-1])
    for cache, held in zip(chain, texts):
        fake.feed(cache, [*held, 0, 1, 2])


def test_float32_rows_are_plain_arrays_and_not_copies(rng):
    cache, fake = Cache(SMALL), Fake(SMALL)
    fake.feed(cache, tokens_of(rng, 50))
    for key, seen in fake.extend(cache, tokens_of(rng, 51)):
        assert type(seen) is np.ndarray and seen.dtype == np.float32 and seen.base is not None, key


def test_other_storages_hold_what_they_say(rng):
    text = tokens_of(rng, 300)
    nbytes = {}
    for storage in STORAGES:
        cache = Cache(SMALL, storage, reserve=0)
        Fake(SMALL, storage).feed(cache, text)
        nbytes[storage] = cache.breakdown()
    for kind in ("window", "csa", "index_keys", "hca"):
        assert nbytes["float32"][kind] == 2 * nbytes["bfloat16"][kind] > 2 * nbytes["released"][kind], kind
    assert nbytes["released"]["csa"] == 2 * 75 * (68 + 8 + 8)       # 2 layers, 300 / 4 rows, FP8 + BF16 + 2 scales in 8 bytes
    assert nbytes["released"]["index_keys"] == 2 * 75 * (17 + 2)


def test_the_mtp_block_takes_a_cache_of_its_own(rng):
    layers = [SMALL.n_layers]
    cache, fake = Cache(SMALL, layers=layers), Fake(SMALL, layers=layers)
    fake.feed(cache, tokens_of(rng, 30))
    assert cache.nbytes == cache_bytes(SMALL, 30, layers=layers) == (5 + 16) * 72 * 4


@pytest.mark.parametrize("storage, reserve, match", [
    ("float16", 8, "storage: expected float32, bfloat16, released, got 'float16'"), ("float32", -1, "reserve: expected 0 to"),
    ("float32", 1.5, "reserve"), ("float32", True, "reserve"), (None, 8, "storage")])
def test_choices_that_are_none_are_refused(storage, reserve, match):
    with pytest.raises(Refused, match=match):
        Cache(SMALL, storage, reserve)


def test_a_copy_touches_the_rows_in_use_alone(tiny, monkeypatch):
    cache = tiny.new_cache(reserve=1000)            # 2,000 rows a layer and more, of which 20 are in use
    tiny.prefill(list(range(20)), cache)
    monkeypatch.setattr(np, "empty", lambda shape, dtype=np.float64: np.full(shape, 7, dtype))
    twin = cache.copy()
    monkeypatch.undo()
    assert all((rows.codes == 7).all(axis=1).sum() >= len(rows.codes) - 20 for rows in twin._state.sliding.values())
    assert np.array_equal(tiny.step(3, twin), tiny.step(3, cache))


def test_a_window_or_a_reserve_of_millions_takes_room_only_as_the_text_grows(tiny, monkeypatch, tmp_path):
    huge = Cache(tiny.config.replace(window_size=2**24), reserve=2**20)
    assert huge.nbytes < 300e6 and huge.copy().nbytes == huge.nbytes        # all rows would be 10 GB
    usual, ids = tiny.new_cache(reserve=40), np.arange(200) * 7 % 97
    monkeypatch.setattr("v4mini.inference.cache.FIRST_ROWS", 4)
    small = tiny.new_cache(reserve=40)
    for start, stop, back in ((0, 3, 1), (3, 4, 0), (4, 90, 40), (90, 91, 0), (91, 200, 40)):
        wanted, got = (tiny.prefill(ids[start:stop], cache) for cache in (usual, small))
        np.testing.assert_array_equal(got, wanted)
        small.save(tmp_path / f"{stop}")
        small = tiny.load_cache(tmp_path / f"{stop}")
        for cache in (usual, small):
            cache.rewind(min(back, cache.max_rewind))
    np.testing.assert_array_equal(tiny.step(5, small.copy()), tiny.step(5, usual))
