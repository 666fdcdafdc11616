"""Entries of a sequence against the equations in float64: however its tokens come, each finished block gives one row, once."""

import numpy as np
import pytest
from layers import naive
from layers.keeping import Keeping
from tolerances import OP

from v4mini.backend import Backend
from v4mini.layers.attention import layer_frequencies
from v4mini.layers.compressor import grow_entries
from v4mini.layers.sequences import NoMemory

OPS = Backend()
KINDS = {"csa": (0, "entries"), "csa's keys": (0, "index_keys"), "hca": (2, "entries")}
KIND = pytest.mark.parametrize("layer, name", KINDS.values(), ids=KINDS)


def wanted_of(config, released, x, layer, name):        # -> [N, width]
    prefix = f"layers.{layer}.attn." + ("indexer.compressor." if name == "index_keys" else "compressor.")
    ratio = config.ratio(layer)
    return naive.compressor(config, naive.under(released, prefix), x, ratio, naive.frequencies(config, ratio))


def grow(config, weights, x, layer, name, memory):
    w = weights.layers[layer].attn
    w = w.indexer.compressor if name == "index_keys" else w.compressor
    return grow_entries(OPS, x, w, config, layer, name, layer_frequencies(config, layer), memory)


@KIND
@pytest.mark.parametrize("T", [1, 3, 4, 7, 8, 9, 17, 32])
def test_a_sequence_from_its_beginning(config, weights, released, normal, layer, name, T):
    x = normal(T, config.dim)
    got = grow(config, weights, x, layer, name, NoMemory())
    wanted = wanted_of(config, released, x, layer, name)
    assert len(got) == len(wanted) == T // config.ratio(layer) and got.ndim == 2
    if wanted:
        np.testing.assert_allclose(got, wanted, **OP)


@KIND
@pytest.mark.parametrize("pieces", [(1,) * 33, (4,) * 8, (3, 2, 11, 1, 16), (7, 9, 17), (32, 1), (1, 32), (5, 0, 12)], ids=str)
def test_in_pieces_every_block_is_pooled_with_the_one_before_it(config, weights, released, normal, layer, name, pieces):
    """A CSA entry reads two blocks: a wrong or missing `previous` gives other rows."""
    x, memory = normal(sum(pieces), config.dim), Keeping(config)
    wanted = wanted_of(config, released, x, layer, name)
    for n in pieces:
        start, stop = memory.length, memory.length + n
        got = grow(config, weights, x[start:stop], layer, name, memory)
        finished = stop // config.ratio(layer)
        assert len(got) == finished
        if finished:
            np.testing.assert_allclose(got, wanted[:finished], err_msg=f"{start=}", **OP)
        memory.length = stop


def test_the_first_csa_block_has_none_before_it(config, weights, normal):
    """Its other half weighs nothing: tokens of another sequence before it change no bit."""
    x = normal(8, config.dim)
    alone = grow(config, weights, x, 0, "entries", NoMemory())
    changed = grow(config, weights, np.concatenate([normal(4, config.dim), x[4:]]), 0, "entries", NoMemory())
    np.testing.assert_array_equal(alone[0], grow(config, weights, x[:4], 0, "entries", NoMemory())[0])
    assert np.abs(alone[1] - changed[1]).max() > 1e-3, "the second block reads the first one's tokens"
