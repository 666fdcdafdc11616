"""One command for an engine's author: pytest tests/engines --engine NAME, or --engine package.module:Class for one of your own.

Without --engine: every engine that this installation can run. An array of torch that turns itself into one of NumPy is an error
here, as it is on every device.
"""

import sys
from importlib import import_module

import numpy as np
import pytest

from v4mini import engines


def pytest_generate_tests(metafunc):
    if "engine" in metafunc.fixturenames:
        named = metafunc.config.getoption("--engine")
        names = named or [name for name in engines.ENGINES if not engines.missing(name)]
        metafunc.parametrize("engine", names, scope="session")


@pytest.fixture(scope="session")
def make(engine):
    """make(simulate=None): a new Backend of this engine."""
    if ":" not in engine:
        return lambda simulate=None: engines.choose_backend(engine, simulate)
    module, _, kind = engine.partition(":")
    return getattr(import_module(module), kind)


@pytest.fixture(scope="session")
def ops(make):
    return make()


@pytest.fixture(scope="session")
def of_engine(make, model_of):
    """of_engine(config, simulate=None): the model of random weights on this engine; model_of gives it on NumPy's."""
    made = {}

    def model(config, simulate=None):
        key = config, simulate
        if key not in made:
            made[key] = model_of(config, make(simulate))
        return made[key]
    return model


@pytest.fixture(autouse=True)
def tensors_stay(monkeypatch):
    """What a tensor on a device says to NumPy, a tensor in main memory says here too."""
    torch = sys.modules.get("torch")
    if torch is not None:
        def refuse(self, *args, **kwargs):
            raise TypeError("a tensor left its device by itself: only Backend.host may do that")
        monkeypatch.setattr(torch.Tensor, "__array__", refuse)
        torch.set_num_threads(1)                        # small arrays: threads would wait for one another


@pytest.fixture
def ids():
    return np.random.default_rng(11).integers(0, 97, 300)


