"""Model and CachedModel: what one token may know of the others, and that remembering changes no number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import SAME_MODEL, VISIBLE

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.shapes import Refused

# The edges of a block of 4, of tiny's window of 16, of a block of 128; 0 and the first steps besides.
EDGES = (0, 1, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 127, 128, 129, 255, 256)
T = 260
HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=10)


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(7).integers(0, 97, T)


@pytest.fixture(scope="module")
def whole(tiny, ids):
    return tiny.logits(ids)


# ---- causality ----

@pytest.mark.parametrize("t", EDGES)
def test_changing_token_t_changes_no_logit_before_t_and_those_at_t(tiny, ids, whole, t):
    changed = ids.copy()
    changed[t] = (ids[t] + 1) % 97
    logits = tiny.logits(changed)
    np.testing.assert_allclose(logits[:t], whole[:t], **SAME_MODEL)
    assert np.abs(logits[t] - whole[t]).max() > VISIBLE


@pytest.mark.parametrize("t, reader", [(3, 3), (3, 200), (0, 3), (0, 127), (64, 127), (127, 127), (64, 259)])
def test_a_token_is_heard_through_entries_long_after_it_left_the_window(tiny, ids, whole, t, reader):
    changed = ids.copy()
    changed[t] = (ids[t] + 1) % 97
    assert np.abs(tiny.logits(changed)[reader] - whole[reader]).max() > VISIBLE


def test_a_window_layer_alone_forgets_what_left_the_window(model_of, ids):
    model = model_of(Config.tiny().replace(n_layers=1, n_mtp_layers=0, compress_ratios=(0,)))
    changed = ids[:40].copy()
    changed[5] = (ids[5] + 1) % 97
    apart = np.abs(model.logits(changed) - model.logits(ids[:40])).max(axis=1)
    assert np.all(apart[5:21] > VISIBLE)                # 16 readers: t .. t + 15
    # The others: no difference but rounding. Experts get other tokens beside theirs, and BLAS may add a taller product otherwise.
    assert np.all(apart[:5] < SAME_MODEL["atol"]) and np.all(apart[21:] < SAME_MODEL["atol"])


@pytest.mark.parametrize("t", (1, 3, 4, 5, 16, 17, 59))
def test_mtp_row_t_has_seen_tokens_to_t_plus_1_and_no_further(tiny, ids, t):
    ids = ids[:60]
    before, changed = tiny.mtp_logits(ids), ids.copy()
    changed[t] = (ids[t] + 1) % 97
    after = tiny.mtp_logits(changed)
    np.testing.assert_allclose(after[: t - 1], before[: t - 1], **SAME_MODEL)
    assert np.abs(after[t - 1] - before[t - 1]).max() > VISIBLE
    assert before.shape == (59, 97)


def test_prefixes_have_the_logits_of_the_whole(tiny, ids, whole):
    for n in EDGES[1:]:
        np.testing.assert_allclose(tiny.logits(ids[:n]), whole[:n], err_msg=f"{n=}", **SAME_MODEL)


# ---- several sequences ----

def test_sequences_together_are_as_each_alone_without_padding(tiny, ids):
    lengths = [1, 3, 130, 17, 4]
    sequences = [ids[-n:] for n in lengths]
    for n, together, sequence in zip(lengths, tiny.logits_many(sequences), sequences):
        assert together.shape == (n, 97)
        np.testing.assert_allclose(together, tiny.logits(sequence), err_msg=f"{n=}", **SAME_MODEL)


@HYPOTHESIS
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_any_sequences_together_are_as_each_alone(tiny, lengths, seed):
    draw = np.random.default_rng(seed)
    sequences = [draw.integers(0, 97, n) for n in lengths]
    for together, sequence in zip(tiny.logits_many(sequences), sequences):
        np.testing.assert_allclose(together, tiny.logits(sequence), **SAME_MODEL)


def test_caches_of_different_lengths_step_together(tiny, ids, whole):
    lengths, caches = (1, 5, 127, 130), [tiny.new_cache() for _ in range(4)]
    for n, cache in zip(lengths, caches):
        tiny.prefill(ids[:n], cache)
    for more in range(3):
        last = tiny.step_many([ids[n + more] for n in lengths], caches)
        np.testing.assert_allclose(last, [whole[n + more] for n in lengths], **SAME_MODEL)
    last = tiny.prefill_many([ids[n + 3: n + 3 + size] for n, size in zip(lengths, (9, 1, 4, 2))], caches)
    np.testing.assert_allclose(last, [whole[n + 2 + size] for n, size in zip(lengths, (9, 1, 4, 2))], **SAME_MODEL)


# ---- remembering ----

def pieces(ids, sizes):                                 # -> the ids in pieces of these sizes, the rest at the end
    for size in sizes:
        if len(ids):
            yield ids[:size]
            ids = ids[size:]
    if len(ids):
        yield ids


def reads_the_same(model, ids, whole, sizes):
    cache = model.new_cache()
    for some in pieces(ids, sizes):
        last = model.prefill(some, cache)
        np.testing.assert_allclose(last, whole[cache.length - 1], err_msg=f"after {cache.length} tokens", **SAME_MODEL)
    assert cache.length == len(ids)


@pytest.mark.parametrize("sizes", [[1] * T, [3, 1, 4], [4] * 65, [127, 1, 1], [128, 128], [5, 123, 127, 1]],
                         ids=lambda sizes: str(sizes[:4]))
def test_reading_in_pieces_gives_the_logits_of_the_whole(tiny, ids, whole, sizes):
    reads_the_same(tiny, ids, whole, sizes)


@settings(HYPOTHESIS, max_examples=12)
@given(st.lists(st.sampled_from([1, 1, 2, 3, 4, 5, 15, 16, 17, 64, 127, 128, 129]), max_size=30))
def test_reading_in_any_pieces_gives_the_logits_of_the_whole(tiny, ids, whole, sizes):
    reads_the_same(tiny, ids, whole, sizes)


@pytest.fixture(scope="module")
def mini_whole(mini, ids):
    return mini.logits(ids[:140])


@settings(HYPOTHESIS, max_examples=4)
@given(st.lists(st.sampled_from([1, 2, 3, 4, 64, 127, 128, 129]), max_size=4))
def test_the_shape_of_the_bundled_model_in_any_pieces_too(mini, ids, mini_whole, sizes):
    reads_the_same(mini, ids[:140], mini_whole, sizes)


@pytest.mark.parametrize("changes", [{"compress_ratios": (8, 2, 4, 4, 0)}, {"window_size": 1}, {"window_size": 300},
                                     {"hc_mult": 1}, {"index_topk": 1}, {"original_seq_len": 0}], ids=str)
def test_configs_of_odd_sizes_in_pieces_too(model_of, ids, changes):
    model = model_of(Config.tiny().replace(**changes))
    reads_the_same(model, ids[:70], model.logits(ids[:70]), [1, 2, 5, 1, 30, 1, 1, 1])


def test_a_long_prompt_is_read_in_chunks_that_progress_tells(tiny):
    ids, done = np.random.default_rng(1).integers(0, 97, 700), []
    cache = tiny.new_cache()
    last = tiny.prefill(ids, cache, progress=done.append)
    assert done[-1] == 700 and len(done) > 1 and done == sorted(done)
    np.testing.assert_allclose(last, tiny.logits(ids)[-1], **SAME_MODEL)


# ---- interruptions ----

class Interrupted(Backend):
    """Raises at the n-th call of one operation."""

    def __init__(self, operation, calls):
        super().__init__()
        self.left = calls
        method = getattr(self, operation)

        def interrupt(*args, **more):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return method(*args, **more)
        setattr(self, operation, interrupt)


@pytest.mark.parametrize("operation, calls", [("embed", 1), ("attend", 1), ("attend", 3), ("compress", 2), ("index_topk", 2),
                                              ("experts", 4), ("hc_post", 8), ("hc_head", 1)])
def test_an_interrupted_call_leaves_the_cache_as_it_was(model_of, tiny, ids, whole, operation, calls):
    cache = tiny.new_cache()
    tiny.prefill(ids[:133], cache)
    before = cache.length, cache.nbytes
    with pytest.raises(KeyboardInterrupt):
        model_of(Config.tiny(), Interrupted(operation, calls)).prefill(ids[133:150], cache)
    if operation != "hc_head":                          # after the last block the tokens are read; only the answer is missing
        assert (cache.length, cache.nbytes) == before
    else:
        assert cache.length in (133, 150)
    for t in range(cache.length, 160):
        np.testing.assert_allclose(tiny.step(ids[t], cache), whole[t], err_msg=f"{t=}", **SAME_MODEL)


def test_an_interrupted_call_of_several_leaves_all_caches_as_they_were(model_of, tiny, ids, whole):
    caches = [tiny.new_cache(), tiny.new_cache()]
    tiny.prefill_many([ids[:6], ids[:130]], caches)
    with pytest.raises(KeyboardInterrupt):
        model_of(Config.tiny(), Interrupted("attend", 6)).prefill_many([ids[6:9], ids[130:135]], caches)
    assert [cache.length for cache in caches] == [6, 130]
    np.testing.assert_allclose(tiny.step_many([ids[6], ids[130]], caches), whole[[6, 130]], **SAME_MODEL)


def test_a_long_prompt_that_was_interrupted_can_be_continued_from_where_it_stands(model_of, tiny):
    ids = np.random.default_rng(1).integers(0, 97, 700)
    cache = tiny.new_cache()
    with pytest.raises(KeyboardInterrupt):
        model_of(Config.tiny(), Interrupted("experts", 6)).prefill(ids, cache)      # in the second chunk of four layers
    assert 0 < cache.length < 700
    np.testing.assert_allclose(tiny.prefill(ids[cache.length:], cache), tiny.logits(ids)[-1], **SAME_MODEL)


# ---- refusals ----

BAD_IDS = {
    "nothing": ([], "one or more token ids"), "floats": ([1.0, 2.0], "expected integers"),
    "booleans": ([True, False], "expected integers"),
    "negative": ([3, -1], "expected 0 to 96, got -1"), "too large": ([97], "expected 0 to 96, got 97"),
    "two axes": ([[1, 2]], "one or more token ids"), "ragged": ([[1, 2], [3]], "ids: "), "a number": (5, "ids: "),
    "text": ("hello", "ids: "), "words": (["a"], "expected integers"), "None": (None, "ids: "), "huge": ([2**70], "ids: "),
    "unsigned": (np.array([2**63], np.uint64), "expected 0 to 96")}


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("method", ["logits", "mtp_logits", "prefill"])
def test_ids_that_are_no_tokens_are_refused_and_nothing_is_remembered(tiny, bad, method):
    ids, sentence = BAD_IDS[bad]
    cache = tiny.new_cache()
    tiny.prefill([1, 2, 3], cache)
    with pytest.raises(Refused, match=sentence):
        tiny.prefill(ids, cache) if method == "prefill" else getattr(tiny, method)(ids)
    assert cache.length == 3


@pytest.mark.parametrize("token", [97, -1, 1.0, None, True, [1], "a"], ids=str)
def test_a_step_wants_one_token(tiny, token):
    cache = tiny.new_cache()
    with pytest.raises(Refused, match="ids: "):
        tiny.step(token, cache)
    assert cache.length == 0


def test_one_bad_sequence_of_several_is_refused_before_any_is_read(tiny):
    caches = [tiny.new_cache(), tiny.new_cache()]
    with pytest.raises(Refused, match="got 97"):
        tiny.prefill_many([[1, 2], [97]], caches)
    with pytest.raises(Refused, match="one or more"):
        tiny.prefill_many([[1, 2], []], caches)
    assert [cache.length for cache in caches] == [0, 0]


def test_no_sequences_at_all_are_refused(tiny):
    with pytest.raises(Refused, match="at least one sequence"):
        tiny.logits_many([])


def test_each_sequence_needs_a_cache_of_its_own(tiny):
    cache = tiny.new_cache()
    for caches in ([cache], [cache, cache], []):
        with pytest.raises(Refused, match="caches"):
            tiny.prefill_many([[1], [2]], caches)
    assert cache.length == 0


def test_a_text_longer_than_max_seq_len_is_refused_whole(model_of):
    model = model_of(Config.tiny().replace(max_seq_len=20))
    assert model.logits(range(20)).shape == (20, 97)
    with pytest.raises(Refused, match="20 tokens"):
        model.logits(range(21))
    cache = model.new_cache()
    model.prefill(range(18), cache)
    with pytest.raises(Refused, match="max_seq_len"):
        model.prefill([1, 2, 3], cache)
    assert cache.length == 18
    model.prefill([1, 2], cache)
    with pytest.raises(Refused, match="max_seq_len"):
        model.step(1, cache)
    assert cache.length == 20


def test_a_prompt_of_several_chunks_that_has_no_room_is_refused_before_its_first(model_of):
    model = model_of(Config.tiny().replace(max_seq_len=1000))
    cache = model.new_cache()
    model.prefill([1] * 10, cache)
    with pytest.raises(Refused, match="max_seq_len"):
        model.prefill([1] * 995, cache)
    assert cache.length == 10


def test_a_cache_of_another_config_is_refused(tiny, mini):
    with pytest.raises(Refused, match="another config"):
        tiny.prefill([1], mini.new_cache())


def test_a_model_without_an_mtp_block_says_so(model_of):
    with pytest.raises(Refused, match="no MTP block"):
        model_of(Config.tiny().replace(n_mtp_layers=0)).mtp_logits([1, 2, 3])


def test_mtp_needs_a_next_token(tiny):
    with pytest.raises(Refused, match="at least 2 tokens"):
        tiny.mtp_logits([1])


# ---- precision ----

def test_released_rounding_runs_and_is_heard_but_changes_little(model_of, mini_whole, ids):
    rounded = model_of(Config.mini(), Backend("released")).logits(ids[:140])
    apart = np.abs(rounded - mini_whole)
    assert np.isfinite(rounded).all() and VISIBLE < np.median(apart) < 0.3


def test_logits_are_float32_and_a_pure_function(tiny, ids, whole):
    assert whole.dtype == np.float32 and whole.shape == (T, 97)
    assert np.array_equal(tiny.logits(ids), whole)
    assert np.array_equal(tiny.logits(ids.tolist()), whole) and np.array_equal(tiny.logits(ids.astype(np.uint8)), whole)
