"""What every test may use: a random generator seeded by the test's own name."""

import zlib

import numpy as np
import pytest


@pytest.fixture
def rng(request):
    """Random numbers that are the same for this test alone, in any order, on any machine."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
