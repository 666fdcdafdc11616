"""What lesson 09 says: the streams of every layer are DeepSeek's, and a planted mistake shows in the right one."""

import numpy as np
import pytest

import v4mini as v4
from v4mini.lessons import data_folder
from v4mini.lessons.exercises.l09_the_whole_model import first_wrong_layer, last_step, one_block

GOLDEN = data_folder() / "golden"
BOUND = 1e-4                                    # float32 sums in another order; see proof/golden.py


@pytest.fixture(scope="module")
def theirs():
    with np.load(GOLDEN / "official_exact" / "cases.npz") as cases:
        return dict(cases)


def streams_of(engine, theirs):                 # -> [L, T, M, D]
    trace = v4.Trace()
    model = v4.load(GOLDEN / "official_exact", backend=engine)
    model.logits(theirs["ids"], trace)
    return np.stack([trace[f"layers.{layer}.streams"] for layer in range(model.config.n_layers)])


def golden_streams(theirs):                     # -> [L, 10, M, D]
    return np.stack([theirs[name] for name in sorted(theirs) if name.startswith("streams_")])


def test_blocks_one_by_one_and_the_last_step_are_the_whole_model(theirs):
    model = v4.load(GOLDEN / "official_exact", backend="numpy")
    ids, c, w, ops = theirs["ids"], model.config, model.weights, model.ops
    streams = np.repeat(ops.embed(ids, w.embed)[:, None, :], c.hc_mult, axis=1)
    for layer, block in enumerate(w.layers):
        streams = one_block(ops, streams, ids, block, c, layer)
    logits = last_step(ops, streams, w.head, c)
    np.testing.assert_array_equal(logits, model.logits(ids))
    np.testing.assert_allclose(logits, theirs["logits"], rtol=0, atol=BOUND)


class NoSink(v4.Backend):
    def attend(self, q, rows, first, sink, *sizes, **far):
        return super().attend(q, rows, first, np.full_like(sink, -np.inf), *sizes, **far)


class ReportsRule(v4.Backend):
    def index_topk(self, q, keys, weights, visible, k):
        return super().index_topk(q, keys, weights, visible - ((np.arange(len(q)) + 1) % 4 == 0), k)


class NoFarView(v4.Backend):
    def attend(self, q, rows, first, sink, window, scale, entries=None, picks=None, visible=None):
        entries, visible = (None, None) if visible is not None else (entries, None)
        return super().attend(q, rows, first, sink, window, scale, entries, picks, visible)


@pytest.mark.parametrize("engine, layer", [(v4.Backend(), -1), (NoSink(), 0), (ReportsRule(), 1), (NoFarView(), 2)],
                         ids=["ours", "no sink", "the report's rule", "no far view"])
def test_a_mistake_shows_in_the_first_layer_that_has_the_mechanism(engine, layer, theirs):
    streams = streams_of(engine, theirs)[:, theirs["stream_rows"]]
    assert first_wrong_layer(streams, golden_streams(theirs), BOUND) == layer
