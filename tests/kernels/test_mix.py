"""Streams are read, written and mixed as in ops.mix."""

import numpy as np
import pytest
from tolerances import OP

from v4mini.kernels import mix
from v4mini.ops import mix as numpy_mix
from v4mini.shapes import Refused

SHAPES = [(0, 4, 8), (1, 4, 8), (17, 4, 24), (40, 3, 7), (5, 1, 16)]


def parameters(normal, M, D):
    n = (2 + M) * M
    return normal(n, M * D) / np.float32((M * D) ** 0.5), normal(n), normal(3)


@pytest.mark.parametrize("T, M, D", SHAPES)
@pytest.mark.parametrize("size", [1, 1e-9, 1e9])
def test_hc_pre_agrees_with_numpy(normal, T, M, D, size, either_way):
    streams, hc = normal(T, M, D) * np.float32(size), parameters(normal, M, D)
    for got, wanted in zip(mix.hc_pre(streams, *hc, 20, 1e-6, 1e-6), numpy_mix.hc_pre(streams, *hc, 20, 1e-6, 1e-6)):
        np.testing.assert_allclose(got, wanted, rtol=OP["rtol"], atol=OP["atol"] * max(1, size))


@pytest.mark.parametrize("T, M, D", SHAPES)
def test_hc_post_and_hc_head_agree_with_numpy(normal, T, M, D, either_way):
    args = normal(T, D), normal(T, M, D), normal(T, M), normal(T, M, M)
    np.testing.assert_allclose(mix.hc_post(*args), numpy_mix.hc_post(*args), **OP)
    head = normal(M, M * D), normal(M), normal(1)
    np.testing.assert_allclose(mix.hc_head(args[1], *head, 1e-6, 1e-6), numpy_mix.hc_head(args[1], *head, 1e-6, 1e-6), **OP)


def test_gates_that_are_shut_or_wide_open(normal):
    fn, base, scale = parameters(normal, 4, 8)
    base[:4], base[4:8], base[8:] = [-200, 200, -80, 80], [200, -200, 90, -90], np.linspace(-300, 300, 16)
    streams = normal(6, 4, 8)
    args = streams, fn, base, scale, 20, 1e-6, 1e-6
    for got, wanted in zip(mix.hc_pre(*args), numpy_mix.hc_pre(*args)):
        np.testing.assert_allclose(got, wanted, **OP)


@pytest.mark.parametrize("M, D", [(4, 1100), (4, 6000)])
def test_wide_streams_are_read_in_fewer_tokens(normal, M, D):
    """Blocks of 16 tokens and not 64; 37 do not fill them."""
    streams, hc = normal(37, M, D), parameters(normal, M, D)
    for got, wanted in zip(mix.hc_pre(streams, *hc, 3, 1e-6, 1e-6), numpy_mix.hc_pre(streams, *hc, 3, 1e-6, 1e-6)):
        np.testing.assert_allclose(got, wanted, **OP)


def test_one_thread_and_two_give_the_same_bits(normal, same_bits):
    streams, hc = normal(70, 4, 16), parameters(normal, 4, 16)
    same_bits(lambda: mix.hc_pre(streams, *hc, 20, 1e-6, 1e-6))
    same_bits(lambda: mix.hc_post(streams[:, 0], streams, streams[:, :, 0], streams[:, :, :4]))
    same_bits(lambda: mix.hc_head(streams, hc[0][:4], hc[1][:4], hc[2][:1], 1e-6, 1e-6))


def test_parameters_of_another_size_are_refused(normal):
    fn, base, scale = parameters(normal, 4, 8)
    with pytest.raises(Refused, match=r"hc fn: expected \[24, 32\], got \[24, 31\]"):
        mix.hc_pre(normal(2, 4, 8), fn[:, :31], base, scale, 20, 1e-6, 1e-6)
    with pytest.raises(Refused, match=r"post: expected \[2, 4\]"):
        mix.hc_post(normal(2, 8), normal(2, 4, 8), normal(2, 3), normal(2, 4, 4))
