"""Weights are looked at once, and what kernels do not take is declined."""

import dataclasses

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.kernels import bind, packed
from v4mini.numerics.matrix import Matrix
from v4mini.weights.random import random_matrix, random_tensors
from v4mini.weights.tree import build


def test_a_noun_is_arranged_once_and_by_each_function():
    binder, asked, noun = bind.Binder(), [], Matrix(np.ones((2, 3), np.float32))

    def arrange(noun):
        asked.append(noun)                              # gives None, which is remembered too
    assert binder(noun, arrange) is binder(noun, arrange) is None and len(asked) == 1
    assert binder(noun, bind.plain) is noun.codes and len(asked) == 1


@pytest.mark.parametrize("format", ["f32", "bf16", "fp8", "fp4"])
def test_a_plain_weight_is_its_float32_numbers(format):
    stored = random_matrix((32, 64), format)
    kept = dataclasses.replace(stored, keep=True)
    np.testing.assert_array_equal(bind.plain(kept), stored.dense())
    assert (bind.plain(stored) is None) == (format != "f32"), "a packed weight that is not to be kept stays packed"


def test_large_weights_and_other_kinds_are_declined():
    wide = packed.PARALLEL_FROM // 4
    assert bind.plain(np.ones(wide, np.float32)) is None and bind.plain(Matrix(np.ones((1, wide), np.float32))) is None
    assert bind.plain(np.ones(wide - 1, np.float32)) is not None and bind.plain("a device's") is None


def test_a_half_needs_all_of_its_weights():
    config = Config.bench()
    w = build(config, random_tensors(config).get).layers[3]
    one = w.ffn.experts[5]
    packed_one = dataclasses.replace(one, w2=random_matrix(one.w2.shape, "fp8"))
    pool = (*w.ffn.experts[:5], packed_one, *w.ffn.experts[6:])
    assert bind.half_weights(dataclasses.replace(w, ffn=dataclasses.replace(w.ffn, experts=pool))) is None
    assert bind.half_weights(dataclasses.replace(w, ffn_norm="a device's")) is None
