"""A config with each kind of layer, its tensors by released name, and the same as a tree."""

import pytest

from v4mini.config import Config
from v4mini.weights.random import random_tensors
from v4mini.weights.tree import build

# CSA (experts by token id), window only, HCA of blocks of 8, CSA; 16 rows of window
CONFIG = Config.tiny().replace(compress_ratios=(4, 0, 8, 4, 0))


@pytest.fixture(scope="package")
def config():
    return CONFIG


@pytest.fixture(scope="package")
def released():
    return random_tensors(CONFIG)


@pytest.fixture(scope="package")
def weights(released):
    return build(CONFIG, released.get)
