"""What is planned is what runs: bytes of live caches, products of a live model, and published sizes of V3.2."""

from collections import Counter

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.cached import CachedModel
from v4mini.planning.flops import token_flops
from v4mini.planning.memory import STORAGES
from v4mini.planning.models import V4Model, V32Model, planned_model
from v4mini.shapes import Refused
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

MILLION = 2**20


class Counting(Backend):
    """The NumPy engine, noting 2 FLOPs for every multiply and add of every product that it is asked for."""

    def __init__(self):
        super().__init__()
        self.flops = Counter()

    def _weights(self, x, weight):
        self.flops["dense"] += 2 * len(x) * weight.shape[0] * weight.shape[1]

    def linear(self, x, weight):
        self._weights(x.reshape(-1, x.shape[-1]), weight)
        return super().linear(x, weight)

    def grouped_linear(self, x, weight, groups):
        self._weights(x, weight)                        # each group's input meets its own rows: rows x width of the matrix
        return super().grouped_linear(x, weight, groups)

    def hc_pre(self, streams, hc, iters, eps, norm_eps):
        self._weights(streams, hc.fn)
        return super().hc_pre(streams, hc, iters, eps, norm_eps)

    def hc_head(self, streams, hc, eps, norm_eps):
        self._weights(streams, hc.fn)
        return super().hc_head(streams, hc, eps, norm_eps)

    def index_topk(self, q, keys, weights, visible, k):
        self.flops["index"] += 2 * q.shape[1] * q.shape[2] * int(np.sum(visible))
        return super().index_topk(q, keys, weights, visible, k)

    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        row = 4 * q.shape[1] * q.shape[2]               # scores and sums
        self.flops["window"] += row * min(window, len(rows))
        if picks is not None:
            self.flops["csa"] += row * int((picks >= 0).sum())
        elif entries is not None:
            self.flops["hca"] += row * int(np.sum(visible))
        return super().attend(q, rows, first, sink, window, scale, entries, picks, visible)


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini(), Config.bench()], ids=["tiny", "mini", "bench"])
@pytest.mark.parametrize("past", [0, 2, 127, 300])
def test_flops_are_those_of_a_live_model(config, past):
    """Every product that a step of the real model asks its engine for, counted, is what was planned: to the last FLOP."""
    model = CachedModel(config, build(config, random_tensors(config).get), Counting())
    cache = model.new_cache()
    if past:
        model.prefill(np.arange(past) % config.vocab_size, cache)
    model.ops.flops.clear()
    model.step(1, cache)
    assert dict(+model.ops.flops) == {part: flops for part, flops in token_flops(config, past).items() if flops}
    planned = V4Model("it", config)
    assert sum(planned.dense().values()) == pytest.approx(model.ops.flops["dense"])
    for part, (flops, _) in planned.growing(past + 1).items():
        assert flops == model.ops.flops[part]


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini()], ids=["tiny", "mini"])
@pytest.mark.parametrize("storage", STORAGES)
def test_cache_bytes_are_those_of_a_live_cache(model_of, config, storage):
    model = model_of(config)
    for tokens in (1, 4, 130, 517):
        cache = model.new_cache(storage, reserve=0)
        model.prefill(np.arange(tokens) % config.vocab_size, cache)
        planned = V4Model("it", config)
        assert planned.cache(tokens, storage) == cache.breakdown()
        assert sum(planned.cache(tokens, storage).values()) == cache.nbytes


def test_a_layer_stack_of_flash_itself_keeps_the_bytes_of_the_headlines():
    """Rows of Flash's real width, in a live cache of one layer of each kind, as released."""
    from inference.fake import Fake

    from v4mini.inference.cache import Cache

    config = Config.flash().replace(n_layers=4)
    cache, fake = Cache(config, "released", reserve=0), Fake(config, "released")
    fake.feed(cache, np.arange(1024) % 7)
    found = cache.breakdown()
    assert found["csa"] == 256 * 584 and found["index_keys"] == 256 * 68 and found["hca"] == 8 * 584
    assert found == V4Model("cut", config).cache(1024)


def test_flash_and_pro_have_their_published_sizes(flash, pro):
    assert (round(flash.parameters / 1e9), round(flash.active / 1e9)) == (284, 13)
    assert (round(pro.parameters / 1e12, 1), round(pro.active / 1e9)) == (1.6, 49)
    assert flash.layers == {"window": 2, "csa": 21, "hca": 20} and pro.layers == {"window": 0, "csa": 30, "hca": 31}


def test_v32_has_its_published_sizes(v32):
    """671B and 37B without, 685B with the MTP block, as the model cards of V3 and V3.2 say; V3.2's indexer adds 0.85B."""
    assert 671 < v32.parameters / 1e9 < 672.5 and round(v32.active / 1e9) == 37
    bf16 = [sum(v32.weights("bf16", mtp).values()) / 2e9 for mtp in (False, True)]
    assert bf16[0] == pytest.approx(v32.parameters / 1e9) and bf16[1] == pytest.approx(685, abs=2)


def test_v32_cache_is_that_of_the_table(v32):
    assert sum(v32.cache(MILLION, "bfloat16").values()) == 83.875 * 2**30
    assert sum(v32.cache(MILLION).values()) == MILLION * 61 * (656 + 132)


@pytest.mark.parametrize("name, experts, attention, shared, head", [        # GB, from the released tensors by hand
    ("flash", 3.45, 4.60, 1.08, 1.06), ("pro", 12.84, 18.29, 4.03, 1.85)])
def test_what_one_token_reads(name, experts, attention, shared, head):
    model = planned_model(name)
    step, groups = model.step_weights(1), model.weights()
    assert step["experts"] / 1e9 == pytest.approx(experts, abs=5e-3)
    assert sum(size for group, size in groups.items() if group.startswith("attn ")) / 1e9 == pytest.approx(attention, abs=5e-3)
    assert groups["shared experts"] / 1e9 == pytest.approx(shared, abs=5e-3)
    assert groups["output head"] / 1e9 == pytest.approx(head, abs=5e-3)
    assert step["rest"] == sum(groups.values()) - sum(groups[group] for group in ("routed experts", "embedding", "hash tables"))


def test_a_batch_touches_as_many_experts_as_a_draw_does(rng, flash):
    """Draw 6 of 256 for each of 32 tokens, often; the mean number touched is the formula's."""
    for batch in (1, 8, 32, 200):
        touched = np.mean([len({int(expert) for _ in range(batch) for expert in rng.choice(256, 6, replace=False)})
                           for _ in range(40)])
        share = flash.step_weights(batch)["experts"] / flash.weights()["routed experts"]
        assert share == pytest.approx(touched / 256, abs=0.03)
    assert flash.step_weights(1)["experts"] == pytest.approx(flash.weights()["routed experts"] * 6 / 256)


def test_what_a_new_token_reads_of_its_cache(flash, pro):
    reads = {kind: size / 1e9 for kind, size in flash.reads(MILLION).items()}
    assert reads == pytest.approx({"index_keys": 0.374, "csa": 0.006, "hca": 0.096, "window": 0.003}, abs=5e-4)
    assert sum(pro.reads(MILLION).values()) / 1e9 == pytest.approx(0.71, abs=5e-3)
    for kind, size in flash.reads(100).items():         # a short text: no more than there is
        assert size <= flash.cache(100)[kind]


def test_arithmetic_follows_the_way_of_storing(flash):
    assert set(flash.dense()) == {"fp8", "bf16"} and set(flash.dense("w8a8")) == {"int8", "bf16"}
    assert set(flash.dense("q2")) == {"bf16"}
    assert len({round(sum(flash.dense(stored).values())) for stored in ("released", "w8a8", "q2")}) == 1
    assert set(V4Model("tiny", Config.tiny()).dense()) == {"bf16"}
    head = sum(flash.dense().values()) - sum(flash.dense(head=False).values())
    assert head == pytest.approx(2 * 129280 * 4096)


def test_models_are_found_by_name_file_and_folder(tmp_path):
    assert planned_model("DeepSeek-V4-Pro").config == Config.pro() and planned_model("FLASH").config == Config.flash()
    assert isinstance(planned_model("v3.2"), V32Model)
    import json

    (tmp_path / "config.json").write_text(json.dumps(Config.mini().to_dict()))
    for path in (tmp_path, tmp_path / "config.json"):
        assert planned_model(path).config == Config.mini()


@pytest.mark.parametrize("name, words", [("flush", "Did you mean flash"), ("v3", "Did you mean v3.2"), ("gpt", "config.json")])
def test_an_unknown_model_is_refused_with_the_nearest(name, words):
    with pytest.raises(Refused, match="model: expected flash, pro, mini or v3.2") as error:
        planned_model(name)
    assert words in str(error.value)


def test_v32_has_two_ways_of_storing(v32):
    for ask in (lambda: v32.weights("q2"), lambda: v32.dense("w8a8"), lambda: v32.step_weights(1, "fp8")):
        with pytest.raises(Refused, match="V3.2 can be planned as released or bf16"):
            ask()


@pytest.mark.parity
def test_v32_counts_what_transformers_builds(v32):
    """transformers' own V3.2 on the meta device: the same parameters but for norms and biases, which we leave out."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model("deepseek_v32")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = [tuple(p.shape) for p in model.parameters()]
    matrices = sum(np.prod(shape, dtype=np.int64) for shape in shapes if len(shape) > 1)
    assert matrices == v32.parameters
    assert sum(np.prod(shape, dtype=np.int64) for shape in shapes if len(shape) == 1) < 2e6
