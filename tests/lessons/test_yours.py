"""A reader's functions as an engine: right ones, however written, give the golden numbers; a wrong one is named by its place."""

import json

import numpy as np
import pytest

import v4mini as v4
from v4mini.lessons import data_folder, relative, yours
from v4mini.lessons.registry import all_exercises
from v4mini.ops.mix import sinkhorn
from v4mini.shapes import Refused

GOLDEN, T = data_folder() / "golden" / "official_exact", 152        # past the first heavy entry
DIFFERENTLY = {name: all_exercises()[name].differently for name in yours.PARTS}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "cases.npz") as cases:
        return dict(cases)


def test_every_function_replaced_by_another_right_one_gives_the_golden_numbers(golden):
    trace, engine = v4.Trace(), yours.Engine(DIFFERENTLY)
    model = v4.load(GOLDEN, backend=engine)
    assert relative(model.logits(golden["ids"][:T], trace), golden["logits"][:T]) < 1e-4
    rows = golden["stream_rows"][golden["stream_rows"] < T]
    for layer in range(model.config.n_layers):
        assert relative(trace[f"layers.{layer}.streams"][rows], golden[f"streams_{layer}"][: len(rows)]) < 1e-4
    assert {who for operation, who in engine.describe().items() if operation in yours.who_needs()} == {"yours"}
    assert yours.first_difference(engine, model, golden["ids"][:T]) == ""


def test_cached_decoding_with_other_functions_is_prefill(golden):
    model = v4.load(GOLDEN, backend=yours.Engine(DIFFERENTLY))
    cache = model.new_cache()
    model.prefill(golden["ids"][: T - 3], cache)
    last = [model.step(int(token), cache) for token in golden["ids"][T - 3:T]][-1]
    assert relative(last, golden["logits"][T - 1]) < 1e-4


WRONG = {name: all_exercises()[name].wrong[0] for name in yours.PARTS} | {      # those of these show in edge cases only
    "ops.norm.rms_norm": all_exercises()["ops.norm.rms_norm"].wrong[1],
    "ops.index.top_k": lambda scores, k: np.argsort(scores, axis=1, kind="stable")[:, :k],
    "ops.mix.sinkhorn": lambda logits, iters, eps: sinkhorn(logits, iters, eps).swapaxes(1, 2)}
FIRST = {"heavy.compress": "hca", "choosing.compress": "csa", "ops.index.index_scores": "csa", "ops.index.top_k": "csa"}


@pytest.mark.parametrize("exercise", yours.PARTS)
def test_a_wrong_function_is_named_by_the_first_layer_and_operation_that_differ(golden, exercise):
    model = v4.load(GOLDEN, backend="numpy")
    kinds = [model.config.layer_kind(layer) for layer in range(model.config.n_layers)]
    said = yours.first_difference(yours.Engine({exercise: WRONG[exercise]}), model, golden["ids"][:132])
    place, operation = said.split(": ")[0].split(", ")
    assert operation in yours.PARTS[exercise]
    if exercise != "ops.route.route":                   # hash layers come first, and have no bias to leak
        assert place == f"layer {kinds.index(FIRST.get(exercise, 'window'))}"


def test_a_function_that_raises_or_has_another_shape_is_named_too(golden):
    model, ids = v4.load(GOLDEN, backend="numpy"), golden["ids"][:5]
    said = [yours.first_difference(yours.Engine({"ops.mix.hc_post": wrong}), model, ids)
            for wrong in (lambda *given: 1 / 0, lambda y, *given: y)]
    assert said == ["layer 0, hc_post: ZeroDivisionError: division by zero",
                    "layer 0, hc_post: expected shape [5, 4, 128], got [5, 128]"]


def test_what_is_missing_is_ours_and_named():
    who = yours.Engine({"streams.read": DIFFERENTLY["streams.read"], "ops.rope.rope": DIFFERENTLY["ops.rope.rope"]}).describe()
    assert who["rope"] == "yours" and who["hc_pre"] == "yours: streams.read" and {who["attend"], who["linear"]} == {"numpy"}


def test_no_part_of_an_engine_is_refused():
    with pytest.raises(Refused, match="got window.ring_order. Try yours.solved"):
        yours.Engine({"window.ring_order": print})


def test_solved_reads_the_notebooks_as_they_are_saved(tmp_path):
    assert yours.solved() == {}                         # the course's own are not solved

    def cell(source):
        return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}
    right = "def my_rms_norm(x, weight, eps=1e-6):\n    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight\n"
    broken = "def my_rope(x, positions, freqs, inverse=False):\n    return x\n"
    cells = [cell("import numpy as np\nraise SystemExit"), cell(right + "check(my_rms_norm, 'ops.norm.rms_norm')"),
             cell(broken + "check(my_rope, 'ops.rope.rope')")]
    for number in ("02", "03", "05", "06", "07", "08"):
        (tmp_path / f"{number}_x.ipynb").write_text(json.dumps({"cells": cells if number == "02" else []}))
    assert list(yours.solved(tmp_path)) == ["ops.norm.rms_norm"]
