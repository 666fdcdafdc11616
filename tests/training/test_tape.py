"""The tape: integers pass no gradient, roundings pass it straight, and only those learn that should."""

import numpy as np
import pytest
from training.backward.finite_differences import FLOAT32, expect

from v4mini.backend import Backend
from v4mini.numerics import blocks
from v4mini.numerics.blocks import quantise_fp8
from v4mini.numerics.hadamard import hadamard
from v4mini.numerics.matrix import Matrix
from v4mini.training.gradients import Gradients, choose_gradients
from v4mini.training.tape import PositionedSequence, Tape
from v4mini.training.value import Value
from v4mini.weights.tree import Expert


@pytest.fixture(params=["numpy", "numba"])
def tape_of(request):
    """tape_of(...): a tape over an engine."""
    return lambda *more, **named: Tape(*choose_gradients(request.param), *more, **named)


@pytest.fixture
def draw(rng):
    return lambda *shape, size=1.0: rng.standard_normal(shape, np.float32) * np.float32(size)


# ---- straight through ----

def test_rounding_of_rows_has_the_identity_for_gradient(tape_of, draw):
    """By definition, not by nudging: a rounding is flat nearly everywhere; wanted is the slope of the numbers behind."""
    tape, rows, g = tape_of("released"), draw(5, 80), draw(5, 80)
    value = Value(rows, tape)
    rounded = tape.round_kv(value, 16)
    assert np.array_equal(rounded.data, blocks.round_kv(rows, 16)) and not np.array_equal(rounded.data, rows)
    rounded.add_gradient(g)
    tape.backward()
    np.testing.assert_array_equal(value.gradient, g)


def test_rounding_of_index_rows_goes_back_through_the_rotation(tape_of, draw):
    tape, rows, g = tape_of("released"), draw(5, 32), draw(5, 32)
    value = Value(rows, tape)
    rounded = tape.round_index(value)
    assert np.array_equal(rounded.data, blocks.round_index(hadamard(rows))) and not np.array_equal(rounded.data, hadamard(rows))
    rounded.add_gradient(g)
    tape.backward()
    rotation = hadamard(np.eye(32, dtype=np.float32))   # row i: where number i goes
    expect(value.gradient, np.float64(g) @ rotation.T, FLOAT32)


def test_without_rounding_nothing_is_recorded(tape_of, draw):
    tape = tape_of()
    value = Value(draw(2, 32), tape)
    assert tape.round_kv(value, 16) is value and tape.round_index(value) is value and not tape.steps


def test_a_product_in_8_bits_is_differentiated_at_the_rounded_numbers(tape_of, draw):
    """g_x meets the weights as stored, g_weight the inputs as rounded; neither rounding has a slope of its own."""
    tape, x, g = tape_of("released"), draw(3, 128), draw(3, 128)
    matrix = quantise_fp8(draw(128, 128), "w")
    values = Value(x, tape), Value(matrix, tape, "w.weight")
    tape.linear(*values).add_gradient(g)
    tape.backward()
    seen = blocks.round_activations(x)
    assert not np.array_equal(seen, x)
    expect(values[0].gradient, np.float64(g) @ np.float64(matrix.dense()), FLOAT32)
    expect(values[1].gradient, np.float64(g).T @ np.float64(seen), FLOAT32)


# ---- choices ----

def index_given(tape, q, keys, weights, visible, k):
    values = [Value(array, tape) for array in (q, keys, weights)]
    return values, tape.index_topk(*values, np.array(visible), k)


def test_what_the_indexer_picks_passes_no_gradient_and_of_a_tie_the_earlier_entry_learns(tape_of, draw):
    """Two entries of equal score, one place: entry 0 is read and learns, entry 1 does not, and the scores learn nothing."""
    tape = tape_of(sparse=True)
    keys = np.tile(draw(1, 4), (2, 1))
    values, choice = index_given(tape, draw(2, 1, 4), keys, draw(2, 1), [2, 2], 1)
    assert choice.picks.tolist() == [[0], [0]] and choice.scores is None
    q, rows, sink, entries = (Value(x, tape, name) for x, name in
                              ((draw(2, 3, 4), None), (draw(2, 4), None), (draw(3), "layers.0.attn.attn_sink"),
                               (draw(2, 4), None)))
    tape.attend(q, rows, np.zeros(2, int), sink, 4, 0.5, entries, choice).add_gradient(draw(2, 3, 4))
    tape.backward()
    assert entries.gradient[0].all() and not entries.gradient[1].any()
    assert all(value.gradient is None for value in values) and q.gradient.all() and sink.gradient.all()


def test_the_indexer_is_taught_what_attention_does_and_attention_learns_nothing_from_that(tape_of, draw):
    tape = tape_of(sparse=False, train_indexer=True, measure_recall=True)
    values, choice = index_given(tape, draw(8, 1, 4), draw(2, 4), draw(8, 1), np.arange(1, 9) // 4, 1)
    q, rows, sink, entries = (Value(x, tape, name) for x, name in
                              ((draw(8, 3, 4), None), (draw(8, 4), None), (draw(3), "layers.2.attn.attn_sink"),
                               (draw(2, 4), None)))
    first = np.maximum(np.arange(8) - 3, 0)
    tape.at(2).attend(q, rows, first, sink, 4, 0.5, entries, choice)
    side, = tape.index
    assert side.layer == 2 and side.mass > 0 and 0 <= tape.recall[2][0][0] <= tape.recall[2][0][1]
    side.value.add_gradient(1.0)
    tape.backward()
    assert all(value.gradient.any() for value in values)
    assert not values[0].gradient[:3].any()             # tokens that see no entry
    assert all(value.gradient is None for value in (q, rows, sink, entries))


def test_a_learned_gates_bias_chooses_and_learns_nothing_from_gradients(tape_of, draw):
    tape = tape_of()
    tape.spans = [slice(0, 6)]
    scores, bias = Value(draw(6, 5), tape), Value(np.float32([9, 0, 0, 0, -9]), tape, "layers.1.ffn.gate.bias")
    chosen, weights = tape.at(1).route(scores, 1.5, 2, bias=bias)
    assert (chosen[:, 0] == 0).all() and not (chosen == 4).any()
    assert tape.load[1].tolist() == np.bincount(chosen.ravel(), minlength=5).tolist() and tape.load[1][4] == 0
    weights.add_gradient(draw(6, 2))
    tape.backward()
    assert bias.gradient is None and not scores.gradient[:, 4].any() and scores.gradient[:, 0].all()


def test_hash_layers_have_no_load_and_no_balance_loss(tape_of, draw):
    tape = tape_of()
    table = np.array([[0, 1], [4, 2], [3, 3]])
    chosen, _ = tape.route(Value(draw(3, 5), tape), 1.5, 2, chosen=table)
    assert np.array_equal(chosen, table) and not tape.load and not tape.balance


def test_what_is_detached_sends_nothing_back(tape_of, draw):
    """The indexer's inputs are: it learns from its own loss, and nothing but the indexer learns from that one."""
    tape = tape_of()
    x, weight = Value(draw(3, 4), tape), Value(Matrix(draw(2, 4)), tape, "layers.0.attn.indexer.compressor.wkv.weight")
    tape.linear(tape.detach(x), weight).add_gradient(draw(3, 2))
    tape.backward()
    assert x.gradient is None and weight.gradient.any()


def test_rows_that_are_taken_joined_or_copied_send_all_of_it_back(tape_of):
    tape = tape_of()
    x = Value(np.arange(8, dtype=np.float32).reshape(4, 2), tape)
    often = tape.take(x, np.array([2, 0, 2, 2]))
    joined = tape.concat([often, x[1:3]])
    tape.hc_expand(joined, 3).add_gradient(np.ones((6, 3, 2), np.float32))
    tape.backward()
    np.testing.assert_array_equal(x.gradient, 3 * np.array([[1, 1], [1, 1], [4, 4], [0, 0]]))
    assert tape.take(np.array([[5, 6], [7, 8]]), np.array([1])).tolist() == [[7, 8]]      # a table of integers


def test_an_expert_without_a_token_has_zeros(tape_of, draw):
    tape = tape_of()

    def expert():
        return Expert(*(Value(Matrix(draw(*shape)), tape, "w") for shape in ((6, 4), (4, 6), (6, 4))))
    pool = tuple(expert() for _ in range(3))
    x, weights = Value(draw(2, 4), tape), Value(draw(2, 2), tape)
    tape.experts(x, np.array([[0, 2], [2, 0]]), weights, pool, 2.0).add_gradient(draw(2, 4))
    tape.backward()
    for w in (pool[1].w1, pool[1].w2, pool[1].w3):
        assert w.gradient.shape == w.data.shape and not w.gradient.any()
    assert pool[0].w1.gradient.any() and pool[2].w2.gradient.any() and weights.gradient.all()


# ---- the tape itself ----

def test_what_nobody_asks_for_is_not_played_back():
    tape = Tape(Backend(), Gradients())
    x = Value(np.ones(3), tape)

    def never(g):
        raise AssertionError("the loss does not depend on this")
    tape.record(np.ones(3), (x,), never)
    (x * 2.0).add_gradient(np.ones(3))
    tape.backward()
    np.testing.assert_array_equal(x.gradient, [2, 2, 2])


def test_of_several_answers_those_not_used_count_as_zeros():
    tape = Tape(Backend(), Gradients())
    x = Value(np.ones(2), tape)
    one, two = tape.record((x.data + 1, x.data + 2), (x,), lambda g, h: (g + 10 * h,))
    two.add_gradient(np.array([1.0, 2.0]))
    tape.backward()
    np.testing.assert_array_equal(x.gradient, [10, 20])
    assert one.gradient is None and not tape.steps


def test_a_placed_sequence_stands_where_it_was_put():
    memory, rows = PositionedSequence(np.array([4, 5, 6, 7, 128, 129, 130, 131])), Value(np.ones((8, 2)), None)
    assert memory.length == 0 and memory.extend(0, "window", rows) is rows
    assert memory.positions(8).tolist() == [4, 5, 6, 7, 128, 129, 130, 131]
    assert memory.block_positions(0, 2, 4).tolist() == [4, 128] and memory.block_positions(1, 2, 4).tolist() == [128]
    assert memory.window_starts(8, 3).tolist() == [0, 0, 0, 1, 4, 4, 4, 5]
    assert memory.visible(8, 4).tolist() == [0, 0, 0, 1, 1, 1, 1, 2]     # entries are counted, wherever they stand
