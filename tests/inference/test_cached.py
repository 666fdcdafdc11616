"""A model that remembers gives what a model that reads everything anew gives: in any splits, after rewinds, copies, Ctrl-C."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import SAME_MODEL

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cache import Cache
from v4mini.layers.sequences import NoMemory
from v4mini.planning.memory import STORAGES, cache_bytes
from v4mini.proof.huggingface import closest_ranks
from v4mini.shapes import Refused

T = 260
HYPOTHESIS = settings(derandomize=True, deadline=None, max_examples=12)


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(7).integers(0, 97, T)


@pytest.fixture(scope="module")
def whole(tiny, ids):
    return tiny.logits(ids)


@pytest.fixture(scope="module")
def released(model_of):
    return model_of(Config.mini(), Backend("released"))


def draw(rng, model, count):
    return rng.integers(0, model.config.vocab_size, count)


def draw_clear(rng, model, count):
    """Ids of which no choice is a draw: there both answers are right, and float32 in another order may take the other."""
    while True:
        ids = draw(rng, model, count)
        if closest_ranks(model, ids, zeros=False) > 1e-5:       # where relu made both 0, they are so in any order of adding
            return ids


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


@HYPOTHESIS
@given(st.lists(st.sampled_from([1, 1, 2, 3, 4, 5, 15, 16, 17, 64, 127, 128, 129]), max_size=30))
def test_reading_in_any_pieces_gives_the_logits_of_the_whole(tiny, ids, whole, sizes):
    reads_the_same(tiny, ids, whole, sizes)


@pytest.mark.parametrize("changes", [{"compress_ratios": (8, 2, 4, 4, 0)}, {"window_size": 1}, {"window_size": 300},
                                     {"hc_mult": 1}, {"index_topk": 1}, {"original_seq_len": 0}], ids=str)
def test_configs_of_odd_sizes_in_pieces_too(model_of, ids, changes):
    model = model_of(Config.tiny().replace(**changes))
    reads_the_same(model, ids[:70], model.logits(ids[:70]), [1, 2, 5, 1, 30, 1, 1, 1])


def test_the_shape_of_the_bundled_model_in_pieces_too(mini, rng):
    ids = draw_clear(rng, mini, 180)
    reads_the_same(mini, ids, mini.logits(ids), rng.integers(1, 100, 10).tolist())


def test_caches_of_different_lengths_step_together(tiny, ids, whole):
    lengths, caches = (1, 5, 127, 130), [tiny.new_cache() for _ in range(4)]
    for n, cache in zip(lengths, caches):
        tiny.prefill(ids[:n], cache)
    for more in range(3):
        last = tiny.step_many([ids[n + more] for n in lengths], caches)
        np.testing.assert_allclose(last, [whole[n + more] for n in lengths], **SAME_MODEL)
    last = tiny.prefill_many([ids[n + 3: n + 3 + size] for n, size in zip(lengths, (9, 1, 4, 2))], caches)
    np.testing.assert_allclose(last, [whole[n + 2 + size] for n, size in zip(lengths, (9, 1, 4, 2))], **SAME_MODEL)


@pytest.mark.parametrize("storage", STORAGES)
def test_chunks_do_not_matter_in_any_storage(tiny, rng, storage):
    ids = draw_clear(rng, tiny, 90)
    wanted = None
    for chunk in (90, 1, 7, 64):
        cache, done = tiny.new_cache(storage), []
        got = tiny.prefill(ids, cache, done.append, chunk)
        wanted = got if wanted is None else wanted
        # float32 rows differ by a last bit between chunks, which a coarser storage rounds up here and down there
        tolerance = SAME_MODEL if storage == "float32" else {"rtol": 0, "atol": 0.05 * np.abs(wanted).max()}
        np.testing.assert_allclose(got, wanted, **tolerance)
        assert done == [*range(chunk, 90, chunk), 90] and cache.length == 90


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("boundary", [3, 4, 16, 127, 128])
def test_rewound_goes_on_with_the_same_bits(tiny, rng, storage, boundary):
    ids, more, wrong = draw(rng, tiny, boundary), draw(rng, tiny, 6), draw(rng, tiny, 8)
    cache, straight = tiny.new_cache(storage), tiny.new_cache(storage)
    tiny.prefill(ids, straight)
    tiny.prefill(ids, cache)
    for token in wrong[:3]:
        tiny.step(token, cache)
    tiny.prefill(wrong[3:], cache)
    cache.rewind(8)
    for token in more:
        np.testing.assert_array_equal(tiny.step(token, cache), tiny.step(token, straight))


def test_copies_answer_alone_and_at_once(mini, rng):
    prefix, cache = draw(rng, mini, 120), mini.new_cache()      # 30 entries and few more, of which all are read: no draws
    mini.prefill(prefix, cache)
    questions = [draw(rng, mini, 2 + n) for n in range(3)]
    alone = []
    for question in questions:
        fresh = mini.new_cache()
        mini.prefill(prefix, fresh)
        alone.append(mini.prefill(question, fresh))
    copies = [cache.copy() for _ in questions]
    together = mini.prefill_many(questions, copies)
    np.testing.assert_allclose(together, alone, **SAME_MODEL)
    tokens = [int(row.argmax()) for row in together]
    more = mini.step_many(tokens, copies)
    for question, token, row in zip(questions, tokens, more):
        np.testing.assert_allclose(mini.logits([*prefix, *question, token])[-1], row, **SAME_MODEL)
    np.testing.assert_allclose(mini.step(5, cache), mini.logits([*prefix, 5])[-1], **SAME_MODEL)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("storage", STORAGES)
def test_saved_and_loaded_goes_on_with_the_same_bits(mini, rng, tmp_path, storage, mapped):
    ids, more = draw(rng, mini, 150), draw(rng, mini, 12)
    cache = mini.new_cache(storage)
    mini.prefill(ids, cache)
    cache.save(tmp_path / "saved")
    again = mini.load_cache(tmp_path / "saved", mapped)
    for token in more:
        np.testing.assert_array_equal(mini.step(token, cache), mini.step(token, again))


@pytest.mark.parametrize("storage", STORAGES)
def test_a_cache_in_a_file_gives_the_same_bits(mini, rng, tmp_path, storage):
    ids = draw(rng, mini, 150)
    with mini.new_cache(storage, path=tmp_path / "rows") as filed:
        cache = mini.new_cache(storage)
        np.testing.assert_array_equal(mini.prefill(ids, filed, chunk=40), mini.prefill(ids, cache, chunk=40))
        for token in ids[:10]:
            np.testing.assert_array_equal(mini.step(token, filed), mini.step(token, cache))
        assert filed.nbytes == cache.nbytes == cache_bytes(mini.config, 160, storage)


def test_released_rows_are_the_simulated_models_own(released, mini, rng):
    """With simulate="released" rows are FP8 and FP4 numbers already: only BF16 in the rotated dims is new.

    FP8 activations and chosen experts make such a model flip at the slightest change, even at another split of the text. So
    the measure is what the simulation itself changes, and that over several texts.
    """
    changes, simulations = [], []
    for _ in range(5):
        ids = draw(rng, released, 135)
        in_storage = {storage: released.prefill(ids, released.new_cache(storage)) for storage in STORAGES}
        np.testing.assert_array_equal(in_storage["bfloat16"], in_storage["released"])   # the same numbers, stored differently
        changes.append(np.median(np.abs(in_storage["released"] - in_storage["float32"])))
        simulations.append(np.median(np.abs(mini.prefill(ids, mini.new_cache()) - in_storage["float32"])))
    assert 0 < np.median(changes) < np.median(simulations)


def test_coarser_rows_of_a_float32_model_are_a_loss(mini, rng):
    ids = draw(rng, mini, 200)
    exact, half, lossy = (mini.prefill(ids, mini.new_cache(storage)) for storage in STORAGES)
    half, lossy = (np.median(np.abs(logits - exact)) / np.std(exact) for logits in (half, lossy))
    assert 0 < half < 0.02 < lossy < 0.5                # 8 significant bits; 4, and 2 in index keys without Hadamard


class Interrupting(Backend):
    """Presses Ctrl-C before the n-th operation."""

    countdown = float("inf")

    def __getattribute__(self, name):
        if name in OPERATIONS:
            Interrupting.countdown -= 1
            if Interrupting.countdown < 0:
                raise KeyboardInterrupt
        return super().__getattribute__(name)


OPERATIONS = frozenset(Backend().describe())


@pytest.mark.parametrize("new", [1, 30])
def test_ctrl_c_at_any_operation_leaves_the_cache_as_it_was(model_of, rng, new):
    model = model_of(Config.tiny(), Interrupting())
    ids, more = draw(rng, model, 40), draw(rng, model, new)
    cache, straight = model.new_cache(), model.new_cache()
    model.prefill(ids, cache)
    model.prefill(ids, straight)
    operations, interrupted = 0, True
    while interrupted:
        Interrupting.countdown, operations = operations, operations + 1 if operations < 20 else operations + 9
        try:
            got, interrupted = model.prefill(more, cache), False
        except KeyboardInterrupt:
            assert (cache.length, cache.max_rewind) == (40, 8)
        finally:
            Interrupting.countdown = float("inf")
    assert operations > 100
    np.testing.assert_array_equal(got, model.prefill(more, straight))


def test_an_interrupted_prefill_keeps_its_chunks_and_goes_on(tiny, rng):
    ids, cache = draw_clear(rng, tiny, 100), tiny.new_cache()

    def stop(done):
        if done == 60:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        tiny.prefill(ids, cache, stop, chunk=20)
    assert cache.length == 60
    np.testing.assert_allclose(tiny.prefill(ids[cache.length:], cache, chunk=20), tiny.logits(ids)[-1], **SAME_MODEL)


def test_a_failure_with_several_caches_changes_none(tiny, rng):
    caches = [tiny.new_cache() for _ in range(3)]
    for cache, count in zip(caches, (10, 4, 30)):
        tiny.prefill(draw(rng, tiny, count), cache)
    with pytest.raises(RuntimeError), tiny.appending([[1], [2, 3], [4]], caches) as (ids, spans):
        tiny.streams(ids, spans)
        raise RuntimeError
    assert [cache.length for cache in caches] == [10, 4, 30]


class Counting(Backend):
    """Notes how many tokens each operation is asked about."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def attend(self, q, *rest, **far):
        self.seen.append(("attend", len(q)))
        return super().attend(q, *rest, **far)

    def index_topk(self, q, *rest):
        self.seen.append(("index_topk", len(q)))
        return super().index_topk(q, *rest)

    def experts(self, x, *rest):
        self.seen.append(("experts", len(x)))
        return super().experts(x, *rest)


def test_the_last_layer_works_only_for_query_tokens(model_of, rng):
    model = model_of(Config.tiny(), Counting())         # its last layer is CSA
    model.prefill_many([draw(rng, model, 50), draw(rng, model, 1)], [model.new_cache(), model.new_cache()])
    assert model.ops.seen[-5:] == [("index_topk", 1), ("attend", 1), ("index_topk", 1), ("attend", 1), ("experts", 2)]
    assert ("experts", 51) in model.ops.seen[:-5]


@pytest.mark.parametrize("ratios", [(0, 4, 128, 4, 0), (4, 0, 4, 128, 0), (4, 128, 4, 0, 0)])
@pytest.mark.parametrize("last", [1, 3, 99])
def test_query_tokens_get_what_all_would_get(model_of, rng, ratios, last):
    model = model_of(Config.tiny().replace(compress_ratios=ratios, n_hash_layers=4))
    ids, spans = model.flatten([draw_clear(rng, model, 140), draw(rng, model, 2)])
    spans = [(span, NoMemory()) for span in spans]
    every, some = model.streams(ids, spans), model.streams(ids, spans, logits_to_keep=last)
    asked = [*range(140 - min(last, 140), 140), *range(142 - min(last, 2), 142)]
    np.testing.assert_allclose(some, every[asked], **SAME_MODEL)


def test_scratch_does_not_grow_with_the_text(tiny, rng):
    """2,000 tokens in chunks of 100 take what 500 take, but for the cache and each chunk's scores of all entries."""
    import tracemalloc
    peaks = []
    for length in (500, 2000):
        ids = draw(rng, tiny, length)
        tracemalloc.start()
        cache = tiny.new_cache()
        tiny.prefill(ids, cache, chunk=100)
        peaks.append(tracemalloc.get_traced_memory()[1] - 2 * cache.nbytes)
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 4 * 100 * (2000 - 500) / 4 * (tiny.config.index_n_heads + 8)    # index scores [100, N]


def test_refusals(tiny, mini, tmp_path):
    cache = tiny.new_cache()
    for sequences, caches in ([[1], [2]], [cache]), ([[1], [2]], [cache, cache]), ([[1]], []):
        with pytest.raises(Refused, match="one of its own"):
            tiny.prefill_many(sequences, caches)
    for wrong in (mini.new_cache(), Cache(tiny.config, layers=[0, 1])):
        with pytest.raises(Refused, match="another config"):
            tiny.step(1, wrong)
    for chunk in (0, -5, 2.5, None):
        with pytest.raises(Refused, match="chunk: expected 1 or more"):
            tiny.prefill([1, 2], cache, chunk=chunk)
    cache.save(tmp_path / "saved")
    with pytest.raises(Refused, match="another config"):
        mini.load_cache(tmp_path / "saved")
    assert cache.length == 0


def test_a_text_too_long_is_refused_before_it_is_read(model_of):
    model = model_of(Config.tiny().replace(max_seq_len=40))
    cache = model.new_cache()
    model.prefill([1] * 30, cache)
    with pytest.raises(Refused, match="30 tokens and 11 more are over this config's 40"):
        model.prefill([1] * 11, cache, chunk=5)
    assert cache.length == 30 and model.prefill([1] * 10, cache, chunk=5).shape == (97,)
    with pytest.raises(Refused, match="max_seq_len"):
        model.step(1, cache)
    assert cache.length == 40


@pytest.mark.parametrize("token", [97, -1, 1.0, None, True, [1], "a"], ids=str)
def test_a_step_wants_one_token(tiny, token):
    cache = tiny.new_cache()
    with pytest.raises(Refused, match="ids: "):
        tiny.step(token, cache)
    assert cache.length == 0


@pytest.mark.parametrize("bad, said", [([97], "got 97"), ([], "one or more"), ([1.0], "expected integers")])
def test_one_bad_sequence_of_several_is_refused_before_any_is_read(tiny, bad, said):
    caches = [tiny.new_cache(), tiny.new_cache()]
    with pytest.raises(Refused, match=said):
        tiny.prefill_many([[1, 2], bad], caches)
    assert [cache.length for cache in caches] == [0, 0]


def test_a_closed_cache_is_refused(tiny):
    cache = tiny.new_cache()
    cache.close()
    with pytest.raises(Refused, match="cache: it was closed"):
        tiny.step(1, cache)
