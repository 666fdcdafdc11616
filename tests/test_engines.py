"""Engines by name: what is there is taken, what is not is refused with its reason, and nothing stands in for anything."""

import importlib.util

import pytest

from v4mini import engines
from v4mini.backend import Backend
from v4mini.engines import ENGINES, choose_backend, missing
from v4mini.kernels.backend import NumbaBackend
from v4mini.shapes import Refused


def test_a_backend_is_a_name_or_an_engine_of_ones_own():
    mine = Backend("released")
    assert choose_backend(mine) is mine and choose_backend(mine, "released") is mine
    assert choose_backend("numpy", "released").simulate == "released" and type(choose_backend("numpy")) is Backend
    assert type(choose_backend("auto")) is type(choose_backend()) is NumbaBackend and choose_backend("auto").simulate is None
    with pytest.raises(Refused, match="backend: expected auto, numpy, numba, .*, got 'tpu'"):
        choose_backend("tpu")
    with pytest.raises(Refused, match="simulate"):
        choose_backend("numpy", "yes")
    with pytest.raises(Refused, match="Give it to the backend"):       # it would be passed over without a word
        choose_backend(Backend(), "released")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_whose_package_is_absent_is_refused_with_the_way_to_get_it(name, monkeypatch):
    needs = ENGINES[name].needs
    monkeypatch.setattr(engines, "find_spec", lambda package: None if package in needs else importlib.util.find_spec(package))
    if not needs:
        assert missing(name) == "" and choose_backend(name).name == name
        return
    assert missing(name).startswith(" and ".join(needs) + " not installed. Try: ") and ENGINES[name].install in missing(name)
    with pytest.raises(Refused, match=f"backend: expected one that can run here, got '{name}': .*not installed"):
        choose_backend(name)


def test_what_this_installation_has_can_be_made_and_the_rest_says_why_not():
    for name in ENGINES:
        reason = missing(name)
        assert reason == "" or reason.endswith((".", ENGINES[name].install)), name
        if not reason:
            assert choose_backend(name).name == name
        else:
            with pytest.raises(Refused, match="expected one that can run here"):
                choose_backend(name)


def test_an_engine_may_refuse_a_machine(monkeypatch):
    from v4mini.kernels import backend

    monkeypatch.setattr(backend, "missing", lambda: "this machine is too old.", raising=False)
    with pytest.raises(Refused, match="'numba': this machine is too old."):
        choose_backend("auto")                          # and does not take NumPy in its place
