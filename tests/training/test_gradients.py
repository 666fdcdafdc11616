"""The list of backward functions: both lists are whole, and engines are chosen by name."""

import pytest

from v4mini import Refused
from v4mini.backend import Backend
from v4mini.training.gradients import Gradients, choose_gradients, numba_gradients

PUBLIC = {name for name in vars(Gradients) if not name.startswith("_")}


def test_numba_overrides_what_is_no_product_and_keeps_the_rest():
    gradients = numba_gradients()
    assert set(vars(gradients)) <= PUBLIC and "numba" in gradients.name
    same = {name for name in PUBLIC if getattr(gradients, name) is getattr(Gradients, name)}
    assert same == {"embed", "linear", "grouped_linear", "index_scores", "route"}


LOOPS = "numba, linear layers numpy (BLAS)"


@pytest.mark.parametrize("name, engine, gradients", [("numpy", "numpy", "numpy"), ("numba", "numba", LOOPS),
                                                 ("auto", "numba", LOOPS)])
def test_engines_by_name(name, engine, gradients):
    chosen, backward = choose_gradients(name)
    assert isinstance(chosen, Backend) and (chosen.name, backward.name) == (engine, gradients)


def test_an_unknown_engine_is_refused():
    with pytest.raises(Refused, match="engine: expected auto, numba or numpy, got 'torch'"):
        choose_gradients("torch")
