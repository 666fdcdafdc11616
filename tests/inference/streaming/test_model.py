"""A model over its files gives the bits of one in memory, within the memory it was given."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest
from flash_like import FLASH_LIKE

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.generate import generate
from v4mini.inference.load import load
from v4mini.inference.routing_trace import recorded
from v4mini.inference.streaming.budget import FEWEST, plan_memory, scratch_bytes
from v4mini.inference.streaming.model import Prefetching, disk_rate, expert_keys, open_streaming, stream
from v4mini.inference.streaming.replay import replay
from v4mini.inference.streaming.weights import units_of
from v4mini.machine import resident_bytes
from v4mini.numerics.matrix import StoredMatrix
from v4mini.shapes import Refused
from v4mini.weights.checkpoint import open_checkpoint
from v4mini.weights.random import random_tensors
from v4mini.weights.store import write_store
from v4mini.weights.synth import synth

BUNDLED = Path(__file__).parents[3] / "data" / "mini"
IDS = (np.arange(40) * 37 + 5) % 500


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return synth(tmp_path_factory.mktemp("streaming") / "flash", FLASH_LIKE)


def over(path, dense, slots, backend="numpy", chunk=512, **how):
    """A streaming model with a budget drawn by hand: a share of the dense weights, and so many slots for experts."""
    checkpoint = open_checkpoint(path)
    with checkpoint.store:
        opened = load(checkpoint, backend, keep=False)
        units, table = units_of(checkpoint)
    sizes = [unit.nbytes for key, unit in units.items() if isinstance(key, str)]
    budget = max(max(sizes), int(dense * sum(sizes))), slots
    plan = SimpleNamespace(budget=lambda tokens, process=0: budget, chunk=chunk, limit=0, expert=0, describe=dict)
    return stream(opened, units, table, plan, **how)


def everything(model, ids, chunk):                      # -> what a model can be asked, one after the other
    cache = model.new_cache()
    yield model.prefill(ids, cache, chunk=chunk)
    for token in (3, 499, 7):
        yield model.step(token, cache)
    caches = [model.new_cache(), model.new_cache()]
    yield model.prefill_many([ids[:9], ids[:4]], caches)
    yield model.logits(ids[:13])
    if model.weights.mtp:
        yield model.mtp_logits(ids[:9])


@pytest.fixture(scope="module")
def wanted(folder):
    return list(everything(load(folder, "numpy", keep=False), IDS, 16))


@pytest.mark.parametrize("dense, slots, policy", [(0, 1, "known"), (0, 2, "lru"), (0.3, 7, "known"), (0.9, 40, "lru"),
                                                    (1, 1000, "known")])
def test_the_same_bits_however_little_is_held(folder, wanted, dense, slots, policy):
    with over(folder, dense, slots, policy=policy) as model:
        for number, got in enumerate(everything(model, IDS, 16)):
            np.testing.assert_array_equal(got, wanted[number], err_msg=str(number))
        assert (model.report()["expert_reads"] > 6 * 16) == (slots < 100)


@pytest.mark.parametrize("simulate", [None, "released"])
def test_the_same_bits_from_the_compiled_kernels(folder, simulate):
    full = load(folder, "numba", simulate, keep=False)
    opened = list(everything(full, IDS[:12], 8))
    with open_streaming(folder, resident_bytes() + (1 << 30), "numba", simulate) as model:
        model.plan = SimpleNamespace(**{**vars(model.plan), "budget": lambda tokens, process=0: (200_000, 3)},
                                     describe=dict)
        for got, wanted in zip(everything(model, IDS[:12], 8), opened):
            np.testing.assert_array_equal(got, wanted)
        assert model.report()["hit_rate"] < 0.5


@pytest.mark.parametrize("slots", [4])
def test_the_bundled_model_speaks_the_same_text(slots):
    with over(BUNDLED, 0.1, slots) as model:
        ids = IDS % model.config.vocab_size
        wanted = list(generate(load(BUNDLED, "numpy", keep=False), ids, 7, temperature=0.7, seed=5))
        assert list(generate(model, ids, 7, temperature=0.7, seed=5)) == wanted


@pytest.mark.parametrize("slots", [1, 5])
def test_a_prompt_reads_each_expert_once_a_layer_and_chunk(folder, slots):
    with over(folder, 0, slots) as model:
        watched, recorder = recorded(model)
        watched.prefill(IDS, model.new_cache(), chunk=20)
        steps = recorder.trace(len(IDS)).steps()
        assert model.pool.stats.reads["experts"] <= sum(len(step.keys) for step in steps)
        assert model.pool.stats.uses["experts"] == sum(len(step.keys) for step in steps) and len(steps) == 2 * 5


@pytest.mark.parametrize("chunk", [0, -1, 2.0])
def test_no_chunk_is_not_the_default_chunk(folder, chunk):
    with over(folder, 1, 5) as model, pytest.raises(Refused, match="chunk: expected 1 or more tokens"):
        model.prefill(IDS, model.new_cache(), chunk=chunk)


@pytest.mark.parametrize("slots", [1, 5, 40, 200])
def test_lru_reads_what_replay_says(folder, slots):
    """The cache that runs and the one on paper are the same."""
    with over(folder, 0.5, slots, policy="lru") as model:
        watched, recorder = recorded(model)
        list(generate(watched, IDS[:11], 9, temperature=0, seed=1))
        lap = replay(recorder.trace(11).steps(), slots, "lru")
        assert (model.report()["expert_uses"], model.report()["expert_reads"]) == (lap.uses, lap.misses)
        assert model.report()["hit_rate"] == lap.hit_rate


def test_hash_layers_experts_are_asked_for_before_anything_runs(folder):
    asked = []
    for policy in ("known", "lru"):
        with over(folder, 1, 100, policy=policy) as model:
            begin, table = model.pool.begin_pass, model.weights.layers[1].ffn.gate.tid2eid
            model.pool.begin_pass = lambda known=(), begin=begin: (asked.append(list(known)), begin(known))
            model.step(17, model.new_cache())
    assert {layer for layer, _ in asked[0]} == {0, 1, 2} and asked[1] == []
    assert {expert for layer, expert in asked[0] if layer == 1} == set(table[17].tolist())


def test_a_hash_layer_that_is_the_last_asks_for_the_last_token_only(tmp_path):
    path = synth(tmp_path / "two", FLASH_LIKE.replace(n_layers=2, n_mtp_layers=0))
    with over(path, 1, 100) as model:
        model.prefill(IDS, model.new_cache())
        settled = model.pool.stats.reads["experts"]
        assert settled == model.pool.stats.uses["experts"] <= 16 + 6


def test_hf_files_with_fused_experts_stream_as_the_released_ones(tmp_path, folder):
    from v4mini.weights.names import HfSlice, to_hf

    config = Config.tiny().replace(n_mtp_layers=0)
    held, fused = {}, {}
    for name, array in random_tensors(config).items():
        place = to_hf(name)
        held.setdefault(place.name if isinstance(place, HfSlice) else place, []).append((place, array))
    for name, parts in held.items():
        by_expert = {}
        for place, array in parts:
            if isinstance(place, HfSlice):
                by_expert.setdefault(place.expert, []).append((place.part or 0, array))
        rows = [np.concatenate([array for _, array in sorted(halves, key=lambda half: half[0])])
                for _, halves in sorted(by_expert.items())]
        fused[name] = np.stack(rows) if rows else parts[0][1]
    path = written(tmp_path / "hf", config, fused, np.float32)
    ids = IDS % 97
    with over(path, 0, 2) as model:
        np.testing.assert_array_equal(model.logits(ids), load(path, "numpy", keep=False).logits(ids))
    half = written(tmp_path / "half", config, fused, np.float16)
    with pytest.raises(Refused, match="expected a format that can be streamed, got float16"):
        open_streaming(half, resident_bytes() + (1 << 30), "numpy")
    brain = written(tmp_path / "brain", config, fused, ml_dtypes.bfloat16)
    with over(brain, 0.2, 3) as model:
        np.testing.assert_array_equal(model.logits(ids), load(brain, "numpy", keep=False).logits(ids))


def written(path, config, tensors, floats):
    kinds = {np.dtype(kind): name for kind, name in ((np.float32, "F32"), (np.float16, "F16"), (ml_dtypes.bfloat16, "BF16"),
                                                     (np.int64, "I64"))}
    tensors = {name: array.astype(floats) if array.dtype == np.float32 else array for name, array in tensors.items()}
    path.mkdir()
    write_store(path, [(name, kinds[array.dtype], array.shape, lambda array=array: [array]) for name, array in tensors.items()])
    (path / "config.json").write_text(json.dumps(config.to_released()))
    return path


def test_a_matrix_of_it_is_a_matrix_like_any_other(folder):
    full = load(folder, "numpy", keep=False).weights
    with over(folder, 0, 2) as model:
        mine = model.weights
        pairs = [(mine.embed, full.embed), (mine.head.weight, full.head.weight),
                 (mine.layers[3].attn.wo_a, full.layers[3].attn.wo_a),
                 (mine.layers[2].ffn.experts[5].w2, full.layers[2].ffn.experts[5].w2),
                 (mine.mtp.block.ffn.experts[15].w1, full.mtp.block.ffn.experts[15].w1), (mine.mtp.e_proj, full.mtp.e_proj)]
        for got, wanted in pairs:
            assert isinstance(got, StoredMatrix) and repr(got) == repr(wanted)
            assert (got.shape, got.format, got.is_quantised, got.nbytes, got.dense_nbytes) == (
                wanted.shape, wanted.format, wanted.is_quantised, wanted.nbytes, wanted.dense_nbytes)
        before = dict(model.pool.stats.reads)
        assert before["experts"] == 0                   # all of that without reading one
        for got, wanted in pairs:
            np.testing.assert_array_equal(got.dense(), wanted.dense())
            np.testing.assert_array_equal(got.rows(1, 9), wanted.rows(1, 9))
            np.testing.assert_array_equal(got.take([5, 0, 5]), wanted.take([5, 0, 5]))
            np.testing.assert_array_equal(got.codes, wanted.codes)
        assert expert_keys(4, np.array([[5, 1], [1, 7]])) == [(4, 1), (4, 5), (4, 7)]
        assert mine.mtp.block.ffn.experts[2].w1.key == (5, 2)


def test_ctrl_c_in_the_middle_changes_nothing_that_comes_after(folder):
    wanted = list(generate(load(folder, "numpy", keep=False), IDS, 5, temperature=0))
    with over(folder, 0.2, 3) as model:
        real, count = model.pool.get, 0

        def interrupted(key, name):
            nonlocal count
            count += 1
            if count == 150:
                raise KeyboardInterrupt
            return real(key, name)
        model.pool.get = interrupted
        for matrix in (model.weights.layers[3].attn.wq_b, model.weights.head.weight):
            matrix._get = interrupted
        cache, count = model.new_cache(), 149
        with pytest.raises(KeyboardInterrupt):
            model.prefill(IDS, cache)
        assert cache.length == 0
        assert list(generate(model, IDS, 5, temperature=0, cache=cache)) == wanted


def test_a_pool_hears_of_a_layers_choice_before_its_experts_run():
    class Heard:
        def prefetch(self, keys):
            said.append(keys)

    class Engine(Backend):
        def experts(self, x, chosen, weights, pool, limit):
            said.append("they run")

    said, mine = [], Engine("released")
    ops = Prefetching(mine, Heard()).at(3)
    ops.experts(None, np.array([[5, 1], [1, 7]]), None, None, 0)
    assert said == [[(3, 1), (3, 5), (3, 7)], "they run"]
    assert ops.simulate == "released" and ops.describe() == mine.describe()


# ---- memory ----

def test_rooms_keep_to_the_limit_and_every_byte_is_given_to_something():
    config = Config.flash().replace(n_layers=8, n_mtp_layers=0)
    units = {(layer, e): SimpleNamespace(joined={}, nbytes=13_377_536, key=(layer, e)) for layer in range(8) for e in range(256)}
    units |= {f"m{i}": SimpleNamespace(joined={}, nbytes=30_000_000, key=f"m{i}") for i in range(100)}
    units |= {"head": SimpleNamespace(joined={}, nbytes=1_059_061_760, key="head")}
    for limit in range(2 << 30, 40 << 30, 700 << 20):
        plan = plan_memory(config, units, limit, 150_000_000)
        for tokens in (1, 16, plan.chunk):
            dense, slots = plan.budget(tokens)
            used = plan.process + scratch_bytes(config, tokens) + dense + slots * plan.expert
            assert used <= limit and slots >= FEWEST and dense >= plan.largest
            assert limit - used < plan.expert or (slots, dense) == (plan.experts, plan.dense)
            assert dense == plan.dense or slots == FEWEST      # experts get what dense leave
        assert sum(plan.describe().values()) <= limit
        grown = plan.budget(1, plan.process + 500_000_000)
        assert grown <= plan.budget(1) and (limit > 30 << 30 or sum(grown) < sum(plan.budget(1)))


def test_too_little_memory_is_refused_with_the_sum_that_is_enough(folder):
    with pytest.raises(Refused, match="for head, 2 x 61,440 for experts") as refused:
        open_streaming(folder, 1 << 20, "numpy")
    least = int(re.search(r"at least ([\d,]+) bytes", str(refused.value))[1].replace(",", ""))
    with open_streaming(folder, least + (4 << 20), "numpy") as model:      # the process itself may grow a little between
        assert model.plan.chunk == 16 and model.step(1, model.new_cache()).shape == (500,)
    with pytest.raises(Refused, match="policy: expected lru or known, got 'mru'"):
        open_streaming(folder, resident_bytes() + (1 << 30), "numpy", policy="mru")


def test_when_the_process_grows_experts_give_way(folder, monkeypatch):
    from v4mini.inference.streaming import model as streaming

    with open_streaming(folder, resident_bytes() + (300 << 20), "numpy") as model:
        cache = model.new_cache()
        model.prefill(IDS, cache)
        assert model.report()["expert_slots"] == 6 * 16
        real = streaming.resident_bytes
        monkeypatch.setattr(streaming, "resident_bytes", lambda: real() + (1 << 30))
        model.step(5, cache)
        assert model.report()["expert_slots"] == FEWEST
        monkeypatch.undo()
        model.step(5, cache)
        assert model.report()["expert_slots"] == 6 * 16


SCRIPT = """
import json, sys
import numpy as np
import v4mini as v4
from v4mini.inference.streaming.model import open_streaming
path, memory = sys.argv[1], int(sys.argv[2])
model = open_streaming(path, memory, "numpy") if memory else v4.load(path, "numpy", keep=False)
tokens = list(v4.generate(model, np.arange(40), 6, temperature=0))
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([tokens, peak, model.report() if memory else None]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell peak memory")
def test_a_process_stays_within_its_limit_and_says_the_same(tmp_path):
    """250 MB of experts in a process that may take 220 MB in all."""
    config = FLASH_LIKE.replace(n_layers=3, dim=1024, moe_inter_dim=512, n_routed_experts=96, n_mtp_layers=0)
    path, limit = synth(tmp_path / "wide", config), 220_000_000

    def run(memory):
        done = subprocess.run([sys.executable, "-c", SCRIPT, str(path), str(memory)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    wanted, whole, _ = run(0)
    tokens, peak, report = run(limit)
    assert tokens == wanted and peak <= limit < whole
    assert report["expert_reads"] > report["expert_slots"] and report["limit"] == limit
    assert report["from_disk_bytes"] is None or report["from_disk_bytes"] >= 0


def test_a_disk_s_rate_is_a_number_of_bytes_a_second(folder):
    assert 1e5 < disk_rate(folder, experts=8) < 1e13
