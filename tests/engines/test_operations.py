"""Every operation of every engine on hard inputs, beside NumPy's."""

import pytest
from engines.cases import CASES, RELEASED, answer, compare, lacking

from v4mini.backend import OPERATIONS, Backend


def test_nothing_of_the_contract_is_missing(ops, engine):
    assert not lacking(ops), f"{engine} lacks {', '.join(lacking(ops))}: see v4mini/backend.py"
    assert set(ops.describe()) == set(OPERATIONS) and isinstance(ops.name, str)


def test_an_engine_of_a_device_leaves_no_operation_to_numpy(ops, engine):
    if ops.on_host:
        pytest.skip("its arrays are NumPy's")
    left = [name for name in (*OPERATIONS, "place", "formats", "host") if getattr(type(ops), name) is getattr(Backend, name)]
    assert not left, f"{engine} still runs NumPy's {', '.join(left)}"


def test_each_operation_has_a_case():
    assert {name.split(":")[0] for name in CASES} == set(OPERATIONS)


@pytest.mark.parametrize("name", CASES)
def test_float32(ops, name):
    compare(answer(ops, name), answer(Backend(), name), CASES[name][1], name)


@pytest.mark.parametrize("name", RELEASED)
def test_with_the_rounding_of_the_released_script(make, name):
    wanted = answer(Backend("released"), name, cases=RELEASED)
    compare(answer(make("released"), name, cases=RELEASED), wanted, RELEASED[name][1], name)
