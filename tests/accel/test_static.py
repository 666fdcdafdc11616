"""One decode step, recorded whole in each of its kinds and replayed at every later position: DeepSeek's numbers come out."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from accel.checks import decode  # noqa: E402
from accel.reference import TorchBackend  # noqa: E402
from accel.static import StaticBackend, StaticDecoder, StaticMemory  # noqa: E402
from v4mini import load  # noqa: E402
from v4mini.layers.sequences import Memory  # noqa: E402
from v4mini.shapes import Refused  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "data/golden/official_exact"
START = 60                                              # 241 steps: past 128 and 256, every program at many positions
EXACT = {"rtol": 0, "atol": 1e-5}
ASKS = ("aten.item", "aten._local_scalar_dense", "aten.nonzero", "aten._unique2", "aten.bincount", "aten.is_nonzero")


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "cases.npz")


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return load(GOLDEN, TorchBackend())


def after(model, ids, capacity=512, storage="float32"):
    cache = model.new_cache(storage)
    model.prefill(ids, cache)
    return StaticDecoder(model, capacity, cache), cache


def unrecorded(decoder, tokens):                        # -> [n, V]: the same steps, run as they are; recording is slow
    rows = []
    for token in tokens:
        rows.append(decoder._step(torch.tensor([int(token)])).numpy()[0])
        decoder.memory.length += 1
    return np.stack(rows)


@pytest.fixture(scope="module")
def decoded(model, golden):
    decoder, _ = after(model, golden["ids"][:START])
    return decoder, np.stack([decoder.step(token) for token in golden["ids"][START:]])


def test_three_programs_say_what_deepseeks_script_says(decoded, golden):
    decoder, logits = decoded
    assert sorted(decoder.programs) == [(), (4,), (4, 128)] and len(logits) > 200
    np.testing.assert_allclose(logits, golden["logits"][START:], **EXACT)


def test_a_program_asks_the_host_for_nothing(decoded):
    for program in decoded[0].programs.values():
        calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        assert len(calls) > 1000 and not [call for call in calls if call.startswith(ASKS)]


def test_with_positions_of_the_host_a_replay_is_wrong(model, golden, monkeypatch):
    """The first step is recorded where it stands, so it is right; the next one is not."""
    monkeypatch.setattr(StaticMemory, "positions", Memory.positions)
    decoder, _ = after(model, golden["ids"][:START])
    first, second = decoder.step(golden["ids"][START]), decoder.step(golden["ids"][START + 1])
    np.testing.assert_allclose(first, golden["logits"][START], **EXACT)
    assert np.abs(second - golden["logits"][START + 1]).max() > 1e-3


@pytest.mark.parametrize("start", [1, 3, 4, 17, 126, 128])
def test_it_takes_over_wherever_a_cache_stands_and_leaves_that_alone(model, golden, start):
    ids = golden["ids"]
    decoder, cache = after(model, ids[:start])
    logits = unrecorded(decoder, ids[start: start + 6])
    np.testing.assert_allclose(logits, golden["logits"][start: start + 6], **EXACT)
    np.testing.assert_allclose(model.step(ids[start], cache), golden["logits"][start], **EXACT)


@pytest.mark.parametrize("storage", ["bfloat16", "released"])
def test_rows_may_be_stored_packed(model, golden, storage):
    decoder, cache = after(model, golden["ids"][:40], storage=storage)
    tokens = golden["ids"][40:50]
    wanted = np.stack([model.step(token, cache) for token in tokens])
    np.testing.assert_allclose(unrecorded(decoder, tokens), wanted, rtol=0, atol=0.02 * np.abs(wanted).max())


def test_experts_by_gathering_are_experts_in_turn(rng, model):
    pool = model.weights.layers[3].ffn.experts
    E, D = len(pool), pool[0].w1.shape[1]
    x, weights, chosen = map(torch.from_numpy, (rng.standard_normal((5, D)).astype(np.float32),
                                                rng.random((5, 2)).astype(np.float32), rng.integers(0, E, (5, 2))))
    got, wanted = (ops.experts(x, chosen, weights, pool, 1.0) for ops in (StaticBackend(), TorchBackend()))
    np.testing.assert_allclose(got.numpy(), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_more_than_there_is_room_for_is_refused(model, golden):
    with pytest.raises(Refused, match="at most 20 tokens, got 40"):
        after(model, golden["ids"][:40], capacity=20)
    decoder, _ = after(model, golden["ids"][:5], capacity=5)
    with pytest.raises(Refused, match="at most 5 tokens, got one more"):
        decoder.step(1)
    config = model.config.replace(max_seq_len=77)
    with pytest.raises(Refused, match="a cache of this config"):
        StaticMemory(config, 64, model.ops.formats(config, "float32"), "cpu").take_over(model.new_cache())


def test_a_selftest_measures_a_step_of_each_kind_and_notices_wrong_logits(model, golden):
    right = load(GOLDEN, "numpy")
    found = decode.measure(model, right, StaticDecoder, start=110, steps=24, near=1e-5)
    assert {ends: kind["steps"] for ends, kind in found["kinds"].items()} == {"none": 17, "4": 4} and found["error"] < 1e-5
    wrong = SimpleNamespace(logits=lambda ids: 1.01 * right.logits(ids))
    with pytest.raises(Refused, match="position 110: expected logits within"):
        decode.measure(model, wrong, StaticDecoder, start=110, steps=3, near=1e-5)
