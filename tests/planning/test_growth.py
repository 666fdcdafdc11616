"""Bytes a token against caches of two lengths, and against the published 890."""

from fractions import Fraction

import pytest

from v4mini import Config
from v4mini.planning.growth import growths, v4_growth
from v4mini.planning.memory import cache_bytes


def test_the_published_numbers_come_out_exactly():
    found = {one.model: one.bytes for one in growths()}
    assert found["DeepSeek-V4.1-Flash"] == 890 == Fraction(5, 2) * (256 + 32 + 64 + 4)
    assert found["DeepSeek-V4-Flash"] == found["DeepSeek-V4-Flash-0731"] == Fraction("3514.25")
    assert found["DeepSeek-V3.2"] == 61 * (656 + 132)


@pytest.mark.parametrize("name", ["flash", "pro", "mini", "tiny"])
def test_a_cache_grows_by_so_much(name):
    config = getattr(Config, name)()
    step = 128 * 128                                    # whole blocks of every ratio in use
    grown = cache_bytes(config, 2 * step, "released") - cache_bytes(config, step, "released")
    assert v4_growth(name, config).bytes == Fraction(grown, step)


def test_every_row_says_how_it_is_counted():
    for one in growths():
        assert " x " in one.accounting and one.sure in ("derived", "secondary")
