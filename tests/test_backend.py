"""The one list of operations, and that layers need nothing beside it."""

import ast
from pathlib import Path

import numpy as np
import pytest
from tolerances import SAME_MODEL

from v4mini.backend import BESIDE, OPERATIONS, Backend
from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.trace import Trace


class Listed:
    """Only what the lists name, and a count of who was called: what a new engine would have to offer."""

    def __init__(self, backend):
        self.calls = dict.fromkeys(OPERATIONS, 0)
        for name in OPERATIONS:
            setattr(self, name, self._counted(name, getattr(backend, name)))
        self.place, self.formats, self.host = backend.place, backend.formats, backend.host

    def at(self, layer):
        return self

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
    model.prefill_many([ids[:9], ids[:3]], [model.new_cache(), model.new_cache()])
    assert [name for name, calls in ops.calls.items() if calls == 0] == []


def test_describe_tells_of_every_operation_and_of_nothing_else():
    assert Backend().describe() == dict.fromkeys(OPERATIONS, "numpy")
    assert {"embed", "linear", "rope", "attend", "index_topk", "route", "experts", "hc_pre"} <= set(OPERATIONS)
    assert not {*BESIDE, "name", "on_host"} & set(OPERATIONS)
    public = {name for name in vars(Backend) if not name.startswith("_")} - {"name", "on_host"}
    assert public == {*OPERATIONS, *BESIDE}


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


def test_a_layer_is_told_which_it_is(model_of):
    class Told(Backend):
        def at(self, layer):
            seen.append(layer)
            return self

    seen = []
    model_of(Config.tiny(), Told()).mtp_logits(np.arange(9))
    assert seen == [0, 1, 2, 3, 4]                      # the last is the MTP block


def test_layers_and_the_model_leave_an_engines_arrays_to_the_engine():
    """NumPy is for host integers here: the files below name it nowhere else, so no array of an engine can fall into its hands."""
    root = Path(__file__).parents[1] / "v4mini"
    allowed = {"layers/sequences.py": {"Part", "Memory", "Sequences", "_joined"}, "model.py": {"Model.flatten", "Model._checked"},
               "layers/dspark.py": {"beside", "block_attention", "everything_but_itself"},   # host integers
               "inference/cached.py": {"CachedModel.step_many"}}
    for path in [*sorted({*(root / "layers").glob("*.py")} - {root / "layers" / "finite.py"}),      # host copies
                 root / "model.py", root / "inference" / "cached.py"]:
        name, tree = path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))
        places = {f"{node.name}.{item.name}" if isinstance(node, ast.ClassDef) and hasattr(item, "name") else node.name
                  for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)
                  for item in (node.body if isinstance(node, ast.ClassDef) else [node])
                  if any(isinstance(part, ast.Name) and part.id == "np" for part in ast.walk(item))}
        for place in places:
            assert {place, place.split(".")[0]} & allowed.get(name, set()), f"{name}: {place} calls NumPy, not its engine"
        others = {alias.asname for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} - {"np", None}
        assert not others, f"{name}: {others}"
