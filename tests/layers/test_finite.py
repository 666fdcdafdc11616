import re

import numpy as np
import pytest

from v4mini import Config, Refused, generate
from v4mini.engines import choose_backend
from v4mini.inference.cached import CachedModel
from v4mini.layers.finite import finite_logits, is_finite
from v4mini.layers.sequences import NoMemory
from v4mini.numerics.matrix import Matrix
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build, named

ENGINES = ["numpy", "numba"]
TINY = Config.tiny().replace(compress_ratios=(4, 0, 16, 4, 0))
IDS = np.arange(100) % TINY.vocab_size
CHOOSES = ".indexer."                   # its numbers say which entries are read and reach no logit


@pytest.fixture(scope="module")
def tensors():
    return random_tensors(TINY)


def model_of(tensors, engine="numpy", config=TINY):
    return CachedModel(config, build(config, tensors.get), choose_backend(engine))


def damaged(array, value=np.nan, place=-1):
    array = array.copy()
    array.reshape(-1)[place] = value
    return array


@pytest.mark.parametrize("engine", ENGINES)
def test_one_number_that_is_none_is_refused_with_the_name_of_its_tensor(tensors, engine):
    wanted = [name for name, array in tensors.items() if array.dtype.kind == "f" and CHOOSES not in name
              and not re.search(r"experts\.[2-6]", name)]
    assert len(wanted) > 120
    for name, array in tensors.items():
        if name in wanted:
            model, used = model_of({**tensors, name: damaged(array)}, engine), "mtp" in name
            with pytest.raises(Refused) as error:
                model.mtp_logits(IDS) if used else model.logits(IDS)
            assert f"{name} has nan at {[size - 1 for size in array.shape]}" in str(error.value), name
            layer = f"layer {name.split('.')[1]}:" if name.startswith("layers") else "layer 4:" if ".attn" in name else ""
            assert layer in str(error.value)


def test_every_tensor_of_a_checkpoint_has_its_name_in_the_tree(tensors):
    names = dict(named(model_of(tensors).weights, TINY))
    assert names.keys() == tensors.keys()
    for name, leaf in names.items():
        np.testing.assert_array_equal(leaf.codes if isinstance(leaf, Matrix) else leaf, tensors[name])


WAYS = {
    "logits": lambda model: model.logits(IDS),
    "several": lambda model: model.logits_many([IDS[:3], IDS]),
    "prefill": lambda model: model.prefill(IDS, model.new_cache()),
    "step": lambda model: model.step(5, model.new_cache()),
    "step_many": lambda model: model.step_many([3, 5], [model.new_cache(), model.new_cache()]),
    "greedy": lambda model: list(generate(model, IDS, 3, temperature=0)),
    "drawn": lambda model: list(generate(model, IDS, 3, temperature=1)),
    "with drafts": lambda model: list(generate(model, IDS, 3, temperature=1, speculate=1)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_every_way_in_refuses_and_warns_of_nothing(tensors, way, engine, value):
    name = "layers.2.ffn.shared_experts.w2.weight"
    with pytest.raises(Refused, match=rf"logits: expected finite numbers, got .*layer 2: {name} has {value} at \[0, 0\]"):
        WAYS[way](model_of({**tensors, name: damaged(tensors[name], value, 0)}, engine))


@pytest.mark.parametrize("greedy", [True, False])
def test_a_draft_block_that_is_damaged_stops_drafts_and_not_the_model(tensors, greedy):
    name = "mtp.0.ffn.shared_experts.w2.weight"
    model = model_of({**tensors, name: damaged(tensors[name])})
    said, cache = [], model.new_cache()
    with pytest.raises(Refused, match=rf"layer 4: {name} has nan"):
        for token in generate(model, IDS, 8, temperature=1 - greedy, speculate=1, cache=cache):
            said.append(token)
    assert len(said) == 1 and cache.length == len(IDS)
    assert len(list(generate(model, said, 4, temperature=0, cache=cache))) == 4


@pytest.mark.parametrize("name", ["markov_head.markov_w1", "markov_head.markov_w2", "confidence_head.proj"])
def test_heads_of_dspark_are_named_too(name):
    config = TINY.replace(n_mtp_layers=0, compress_ratios=TINY.compress_ratios[:4]).with_dspark()
    tensors, name = random_tensors(config), f"mtp.{config.n_dspark_layers - 1}.{name}.weight"
    model = model_of({**tensors, name: np.full_like(tensors[name], np.nan)}, config=config)
    with pytest.raises(Refused, match=f"{name} has nan"):
        list(generate(model, IDS, 8, temperature=0, speculate=2))


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_row_of_a_token_that_is_read_counts(tensors, engine):
    embed = damaged(tensors["embed.weight"], place=96 * TINY.dim)
    model = model_of({**tensors, "embed.weight": embed}, engine)
    assert np.isfinite(model.logits(IDS[:60])).all()
    with pytest.raises(Refused, match=r"outside of the layers: embed.weight has nan at \[96, 0\]"):
        model.logits([3, 96])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["layers.1.attn.wq_a", "layers.3.ffn.experts.2.w1"])
def test_a_scale_that_is_none_is_named(engine, name):
    config = Config.mini().replace(n_layers=4, compress_ratios=(0, 4, 128, 4, 0), n_routed_experts=4, n_activated_experts=4)
    tensors = random_tensors(config)
    scale = tensors[f"{name}.scale"].copy()
    scale.view(np.uint8).reshape(-1)[-1] = 255
    model = model_of({**tensors, f"{name}.scale": scale}, engine, config)
    with pytest.raises(Refused, match=rf"{name} scale: NaN code at \[\d+, \d+\], 1 in all"):
        model.logits(np.arange(20))


@pytest.mark.parametrize("engine", ENGINES)
def test_finite_weights_that_overflow_are_told_apart_from_damaged_ones(tensors, engine):
    name = "layers.1.attn.wo_a.weight"
    model = model_of({**tensors, name: np.full_like(tensors[name], 3e38)}, engine)
    with pytest.raises(Refused, match=f"layer 1: .* with {name} overflows float32. Are weights"):
        model.logits(IDS)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("key", [(1, "window"), (2, "entries"), (3, "window"), (3, "entries")])
def test_rows_of_a_cache_are_told_apart_from_weights(tensors, engine, key):
    model = model_of(tensors, engine)
    cache = model.new_cache()
    model.prefill(IDS, cache)
    if key[1] == "window":
        cache._state.sliding[key].codes[:] = np.nan
    else:
        cache._stores[key][-1].storage.codes[:] = np.nan
    with pytest.raises(Refused, match=f"layer {key[0]}: attend was given rows of an earlier pass"):
        model.step(3, cache)
    assert cache.length == len(IDS)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cache_forgets_a_pass_that_was_refused(tensors, engine):
    model = model_of({**tensors, "embed.weight": damaged(tensors["embed.weight"])}, engine)
    cache, whole = model.new_cache(), model.new_cache()
    model.prefill(IDS[:40], cache)
    with pytest.raises(Refused, match="embed.weight"):
        model.prefill([5, 96, 7], cache)
    assert cache.length == 40
    model.prefill(IDS[:40], whole)
    np.testing.assert_array_equal(model.prefill(IDS[40:60], cache), model.prefill(IDS[40:60], whole))


def streams_of(model, ids):             # [T] -> which tokens are no numbers after all layers
    with np.errstate(all="ignore"):
        streams = model.streams(np.asarray(ids), [(slice(0, len(ids)), NoMemory())])
        return ~np.isfinite(np.asarray(model.head(streams, model.weights.head))).all(axis=1)


@pytest.mark.parametrize("place", [0, 1, 5, 16, 33, 64, 69])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_token_that_is_none_reaches_later_tokens_only_and_the_same_in_both_engines(tensors, place, value):
    ids = IDS % 90
    ids[place] = 96                     # the only token of that row
    tensors = {**tensors, "embed.weight": damaged(tensors["embed.weight"], value)}
    patterns = [streams_of(model_of(tensors, engine), ids) for engine in ENGINES]
    np.testing.assert_array_equal(*patterns)
    assert patterns[0][place] and not patterns[0][:place].any()


@pytest.mark.parametrize("engine", ENGINES)
def test_one_damaged_sequence_does_not_reach_the_others_of_its_pass(tensors, engine):
    model = model_of({**tensors, "embed.weight": damaged(tensors["embed.weight"])}, engine)
    spans = [(slice(0, 5), NoMemory()), (slice(5, 40), NoMemory()), (slice(40, 70), NoMemory())]
    ids = IDS[:70] % 90
    ids[20] = 96
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(model.head(model.streams(ids, spans), model.weights.head)).all(axis=1)
    assert not bad[:20].any() and bad[20] and not bad[40:].any()


def test_a_good_pass_runs_once_and_a_bad_one_twice(tensors):
    model, runs = model_of(tensors), []

    def run(running, factor):
        runs.append(running.ops)
        return running.head(running.streams(IDS, [(slice(0, 100), NoMemory())]), running.weights.head) * factor
    finite_logits(model, lambda running: run(running, 1))
    assert runs == [model.ops]
    with pytest.raises(Refused, match="A second pass with the same numbers was finite"):
        finite_logits(model, lambda running: run(running, 1 if len(runs) == 2 else np.float32(np.nan)))
    assert len(runs) == 3


def test_is_finite_sees_each_place(rng):
    x = rng.standard_normal((3, 4), dtype=np.float32)
    assert is_finite(x) and is_finite(x[:0]) and is_finite(np.array([2**31]))
    for place in range(12):
        for value in (np.nan, np.inf, -np.inf):
            assert not is_finite(damaged(x, value, place))
