"""The list of backward functions: both lists are whole, and engines are chosen by name."""

import pytest

from v4mini import Refused
from v4mini.backend import Backend
from v4mini.training.rules import Rules, choose_rules, numba_rules

PUBLIC = {name for name in vars(Rules) if not name.startswith("_")}


def test_numba_overrides_what_is_no_product_and_keeps_the_rest():
    rules = numba_rules()
    assert set(vars(rules)) <= PUBLIC and "numba" in rules.name
    same = {name for name in PUBLIC if getattr(rules, name) is getattr(Rules, name)}
    assert same == {"embed", "linear", "grouped_linear", "index_scores", "route"}


LOOPS = "numba, linear layers numpy (BLAS)"


@pytest.mark.parametrize("name, engine, rules", [("numpy", "numpy", "numpy"), ("numba", "numba", LOOPS),
                                                 ("auto", "numba", LOOPS)])
def test_engines_by_name(name, engine, rules):
    chosen, backward = choose_rules(name)
    assert isinstance(chosen, Backend) and (chosen.name, backward.name) == (engine, rules)


def test_an_unknown_engine_is_refused():
    with pytest.raises(Refused, match="engine: expected auto, numba or numpy, got 'torch'"):
        choose_rules("torch")
