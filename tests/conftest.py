"""What every test may use: a random generator seeded by the test's own name."""

import zlib

import numpy as np
import pytest


def pytest_addoption(parser):
    parser.addoption("--engine", action="append", help="tests/engines: only this one, a name or package.module:Class")


def pytest_itemcollected(item):
    if " at 0x" in item.nodeid:             # workers of pytest-xdist would collect different tests, and stop
        raise pytest.UsageError(f"{item.nodeid}: expected a name that every run has, got an address. Give ids.")


@pytest.fixture
def rng(request):
    """Random numbers that are the same for this test alone, in any order, on any machine."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def normal(rng):
    """normal(T, D, ...): float32 numbers of size 1."""
    return lambda *shape: rng.standard_normal(shape, dtype=np.float32)


@pytest.fixture(scope="session")
def model_of():
    """model_of(config, ops=None, seed=0): a CachedModel with random weights in memory; the weights are made once a session."""
    from v4mini.backend import Backend
    from v4mini.inference.cached import CachedModel
    from v4mini.weights.random import random_tensors
    from v4mini.weights.tree import build

    made = {}

    def model(config, ops=None, seed=0):
        if (config, seed) not in made:
            made[config, seed] = build(config, random_tensors(config, seed).get)
        return CachedModel(config, made[config, seed], ops or Backend())
    return model


@pytest.fixture(scope="session")
def tiny(model_of):
    """All kinds of layer in float32, window 16."""
    from v4mini.config import Config

    return model_of(Config.tiny())


@pytest.fixture(scope="session")
def mini(model_of):
    """The shape of the bundled model with random weights, quantised as released, window 128."""
    from v4mini.config import Config

    return model_of(Config.mini())


@pytest.fixture(autouse=True, scope="session")
def nobody_s_progress(tmp_path_factory):
    """Solved exercises of tests are not a reader's."""
    import os

    os.environ.setdefault("V4MINI_PROGRESS", str(tmp_path_factory.mktemp("progress") / "progress.jsonl"))
