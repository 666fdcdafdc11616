"""Model: what one token may know of the others, and what is no text."""

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


# ---- refusals ----

BAD_IDS = {
    "nothing": ([], "one or more token ids"), "floats": ([1.0, 2.0], "expected integers"),
    "booleans": ([True, False], "expected integers"),
    "negative": ([3, -1], "expected 0 to 96, got -1"), "too large": ([97], "expected 0 to 96, got 97"),
    "two axes": ([[1, 2]], "one or more token ids"), "ragged": ([[1, 2], [3]], "ids: "), "a number": (5, "ids: "),
    "text": ("hello", "ids: "), "words": (["a"], "expected integers"), "None": (None, "ids: "), "huge": ([2**70], "ids: "),
    "unsigned": (np.array([2**63], np.uint64), "expected 0 to 96")}


@pytest.mark.parametrize("bad", BAD_IDS)
@pytest.mark.parametrize("method", ["logits", "mtp_logits"])
def test_ids_that_are_no_tokens_are_refused(tiny, bad, method):
    ids, sentence = BAD_IDS[bad]
    with pytest.raises(Refused, match=sentence):
        getattr(tiny, method)(ids)


def test_no_sequences_at_all_are_refused(tiny):
    with pytest.raises(Refused, match="at least one sequence"):
        tiny.logits_many([])


def test_a_text_longer_than_max_seq_len_is_refused_whole(model_of):
    model = model_of(Config.tiny().replace(max_seq_len=20))
    assert model.logits(range(20)).shape == (20, 97)
    with pytest.raises(Refused, match="20 tokens"):
        model.logits(range(21))


def test_a_model_without_an_mtp_block_says_so(model_of):
    with pytest.raises(Refused, match="no MTP block"):
        model_of(Config.tiny().replace(n_mtp_layers=0)).mtp_logits([1, 2, 3])


def test_mtp_needs_a_next_token(tiny):
    with pytest.raises(Refused, match="at least 2 tokens"):
        tiny.mtp_logits([1])


# ---- precision ----

def test_released_rounding_runs_and_is_heard_but_changes_little(model_of, mini, ids):
    rounded = model_of(Config.mini(), Backend("released")).logits(ids[:140])
    apart = np.abs(rounded - mini.logits(ids[:140]))
    assert np.isfinite(rounded).all() and VISIBLE < np.median(apart) < 0.3


def test_logits_are_float32_and_a_pure_function(tiny, ids, whole):
    assert whole.dtype == np.float32 and whole.shape == (T, 97)
    assert np.array_equal(tiny.logits(ids), whole)
    assert np.array_equal(tiny.logits(ids.tolist()), whole) and np.array_equal(tiny.logits(ids.astype(np.uint8)), whole)
