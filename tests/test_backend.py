"""The one list of operations, and that layers need nothing beside it."""

import numpy as np
import pytest
from tolerances import SAME_MODEL

from v4mini.backend import OPERATIONS, Backend
from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.trace import Trace


class Listed:
    """Only what the list names, and a count of who was called: what a new engine would have to offer."""

    def __init__(self, backend):
        self.calls = dict.fromkeys(OPERATIONS, 0)
        for name in OPERATIONS:
            setattr(self, name, self._counted(name, getattr(backend, name)))

    def _counted(self, name, method):
        def call(*args, **more):
            self.calls[name] += 1
            return method(*args, **more)
        return call


def test_a_model_asks_for_listed_operations_only_and_for_each_of_them(model_of, tiny):
    ops, ids = Listed(Backend()), np.arange(60) % 97
    model = model_of(Config.tiny(), ops)
    np.testing.assert_allclose(model.logits(ids, Trace("attn.weights")), tiny.logits(ids), **SAME_MODEL)
    model.mtp_logits(ids)
    assert [name for name, calls in ops.calls.items() if calls == 0] == []


def test_describe_tells_of_every_operation_and_of_nothing_else():
    assert Backend().describe() == dict.fromkeys(OPERATIONS, "numpy")
    assert {"embed", "linear", "rope", "attend", "index_topk", "route", "experts", "hc_pre"} <= set(OPERATIONS)
    assert "describe" not in OPERATIONS and "name" not in OPERATIONS


@pytest.mark.parametrize("simulate", ["yes", True, 1, "Released"])
def test_simulate_is_none_or_released(simulate):
    with pytest.raises(Refused, match="simulate: expected None or 'released'"):
        Backend(simulate)


def test_plain_float32_rounds_nothing(rng):
    rows = rng.standard_normal((3, 96), dtype=np.float32)
    assert Backend().round_kv(rows, 32) is rows and Backend().round_index(rows) is rows


def test_simulation_rounds_inputs_of_quantised_products_but_not_of_plain_ones(mini, rng):
    w, x = mini.weights.layers[2], rng.standard_normal((2, 256), dtype=np.float32)
    plain, released = Backend(), Backend("released")
    assert w.attn.wq_a.is_quantised and not w.ffn.gate.weight.is_quantised
    assert not np.array_equal(released.linear(x, w.attn.wq_a), plain.linear(x, w.attn.wq_a))
    assert np.array_equal(released.linear(x, w.ffn.gate.weight), plain.linear(x, w.ffn.gate.weight))


def test_simulation_leaves_the_input_of_wo_a_alone(mini, rng):
    """The reference decodes wo_a to BF16 when it converts a checkpoint, so its input goes through no FP8."""
    wo_a = mini.weights.layers[0].attn.wo_a
    x = rng.standard_normal((2, 4 * 96), dtype=np.float32)
    assert np.array_equal(Backend("released").grouped_linear(x, wo_a, 2), Backend().grouped_linear(x, wo_a, 2))


def test_simulation_rounds_rows_but_not_their_rotated_part(rng):
    rows = rng.standard_normal((5, 96), dtype=np.float32)
    rounded = Backend("released").round_kv(rows, 32)
    assert np.array_equal(rounded[:, 64:], rows[:, 64:]) and not np.isclose(rounded[:, :64], rows[:, :64], rtol=1e-4).all()
    np.testing.assert_allclose(rounded, rows, rtol=2**-4, atol=2**-9)


def test_simulated_index_rows_keep_their_products_nearly(rng):
    q, k = rng.standard_normal((2, 40, 32), dtype=np.float32)
    exact, rounded = (q * k).sum(1), (Backend("released").round_index(q) * Backend("released").round_index(k)).sum(1)
    assert np.corrcoef(exact, rounded)[0, 1] > 0.95 and not np.array_equal(exact, rounded)
