"""Values: what layers do with arrays between operations, against finite differences of the same lines on plain arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training.backward.finite_differences import FLOAT64, expect, finite_difference

from v4mini.backend import Backend
from v4mini.training.gradients import Gradients
from v4mini.training.tape import Tape
from v4mini.training.value import Value


def gradients(work, arrays, g):                         # of sum(work(*values) * g)
    tape = Tape(Backend(), Gradients())
    values = [Value(array, tape) for array in arrays]
    work(*values).add_gradient(g)
    tape.backward()
    return [np.zeros(array.shape) if value.gradient is None else value.gradient for value, array in zip(values, arrays)]


LINES = {
    "reshape": lambda x, y: x.reshape(2, 6),
    "a reshape of a part": lambda x, y: x[1:].reshape(8),
    "slices that overlap": lambda x, y: x[:2] + x[1:],
    "the whole and a part": lambda x, y: (x + y)[0:2] + x[1:3],
    "all of it": lambda x, y: x[:],
    "columns": lambda x, y: x[:, 1:3] + y[:, :2],
    "a new axis": lambda x, y: x[:, None, :] + y.reshape(3, 1, 4),
    "broadcast": lambda x, y: x + y[:1],
    "broadcast both ways": lambda x, y: x[:, :1] + y[:1],
    "twice itself": lambda x, y: x + x,
    "itself, added and scaled": lambda x, y: (x * 3.0 + x) + (x + y) * -0.5,
    "a scale per channel": lambda x, y: x * np.array([1.0, 0.0, -2.0, 3.0]),
    "through many hands": lambda x, y: ((x + y)[:2] + x[1:].reshape(4, 2)[1:3].reshape(1, 4)) * 2.0,
}


@pytest.mark.parametrize("line", LINES)
def test_what_layers_write(rng, line):
    work, arrays = LINES[line], [rng.standard_normal((3, 4)), rng.standard_normal((3, 4))]
    g = rng.standard_normal(np.shape(work(*arrays)))
    for found, wanted in zip(gradients(work, arrays, g), finite_difference(work, arrays, g)):
        expect(found, wanted, FLOAT64)


STEPS = (lambda a, b: a + b, lambda a, b: a * 2.0, lambda a, b: a[1:2] + b, lambda a, b: a + b[2:],
         lambda a, b: a + b[:1], lambda a, b: (a.reshape(2, 3)).reshape(3, 2), lambda a, b: b)


@given(st.lists(st.tuples(st.integers(0, len(STEPS) - 1), st.integers(0, 9), st.integers(0, 9)), max_size=12))
def test_any_net_of_such_lines(net):
    """Each line reads two earlier results. Shared gradients may not be written into by one of their owners."""
    def work(x, y):
        results = [x, y]
        for step, first, second in net:
            results.append(STEPS[step](results[first % len(results)], results[second % len(results)]))
        return results[-1]
    rng = np.random.default_rng(len(net))
    arrays, g = [rng.standard_normal((3, 2)), rng.standard_normal((3, 2))], rng.standard_normal((3, 2))
    kept = g.copy()
    for found, wanted in zip(gradients(work, arrays, g), finite_difference(work, arrays, g)):
        expect(found, wanted, FLOAT64, least=1e-8)
    np.testing.assert_array_equal(g, kept)              # whoever gave a gradient still has it


def test_what_has_no_rule_is_refused_instead_of_computed_wrongly():
    value = Value(np.ones((2, 3)), Tape(Backend(), Gradients()))
    with pytest.raises(TypeError, match="np.cumsum has no rule on the tape"):
        np.cumsum(value)
    for rows in (np.array([0, 0]), [1]):
        with pytest.raises(TypeError, match="Call the tape's take"):
            value[rows]
    for mixed in (lambda: np.ones((2, 3)) + value, lambda: np.exp(value), lambda: value - value):
        with pytest.raises(TypeError):
            mixed()


def test_a_value_says_what_it_is():
    value = Value(np.ones((2, 3), np.float32), None, "norm.weight")
    assert repr(value) == "<Value norm.weight [2, 3]>" and len(value) == 2 and value.shape == (2, 3)
    assert value.ndim == 2 and value.dtype == np.float32
