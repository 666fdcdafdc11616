"""Tokens are pooled into entries as in ops.compress."""

import numpy as np
import pytest
from tolerances import OP

from v4mini.kernels import compress
from v4mini.ops import compress as numpy_compress
from v4mini.shapes import Refused


@pytest.mark.parametrize("n, ratio, C, overlap", [(0, 4, 8, True), (1, 4, 6, True), (5, 4, 16, True), (3, 16, 7, False),
                                                  (1, 2, 1, False), (37, 4, 34, True)])
@pytest.mark.parametrize("size", [1, 40])
def test_agrees_with_numpy(normal, n, ratio, C, overlap, size, either_way):
    kv, score = normal(n * ratio, C), normal(n * ratio, C) * np.float32(size)
    previous, ape = (normal(ratio, C), normal(ratio, C)), normal(ratio, C)
    for before in (None, previous):
        np.testing.assert_allclose(compress.compress(kv, score, ape, ratio, before, overlap),
                                   numpy_compress.compress(kv, score, ape, ratio, before, overlap), **OP)


def test_scores_of_minus_infinity_are_absent(normal):
    kv, score = normal(8, 6), normal(8, 6)
    score[1], score[4:, 2], kv[1] = -np.inf, -np.inf, 1e30
    previous = normal(4, 6), np.full((4, 6), -np.inf, np.float32)
    ape = normal(4, 6)
    wanted = numpy_compress.compress(kv, score, ape, 4, previous, True)
    assert np.isfinite(wanted).all()
    np.testing.assert_allclose(compress.compress(kv, score, ape, 4, previous, True), wanted, **OP)


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    kv, score, ape = normal(160, 32), normal(160, 32), normal(4, 32)
    same_bits(lambda: compress.compress(kv, score, ape, 4, None, True))


def test_unfinished_blocks_and_another_layers_ape_are_refused(normal):
    with pytest.raises(Refused, match="compress: expected whole blocks of 4 tokens"):
        compress.compress(normal(7, 4), normal(7, 4), normal(4, 4), 4)
    with pytest.raises(Refused, match=r"ape: expected \[4, 4\], got \[8, 4\]"):
        compress.compress(normal(8, 4), normal(8, 4), normal(8, 4), 4)
