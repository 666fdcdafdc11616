"""The published numbers come out to the digit, from the accounting that is spelled out, and from no other."""

import pytest

from v4mini.planning.headlines import (
    GB,
    GIB,
    MILLION,
    cache_total,
    fp8_equivalent,
    headlines,
    near_misses,
    plain_flops,
)

PUBLISHED = ["9.5x", "10%", "13.7x", "7%", "8.7x", "8.7x", "7.9x", "2%", "2%", "8x", "8x", "27%", "3.7x", "10%", "9.8x",
             "6.72 GiB", "3.69 GB", "9.62 GiB", "5.28 GB"]


def test_every_headline_is_reproduced_to_its_digit():
    found = headlines()
    assert [one.says for one in found] == PUBLISHED
    assert [one.shown for one in found] == PUBLISHED and all(one.agrees for one in found)


@pytest.mark.parametrize("about, value", [          # to four digits, worked out from the released layouts apart from this code
    ("cache at 2^20 tokens, V3.2 to DeepSeek-V4-Pro", 9.545), ("cache at 2^20 tokens, V3.2 to DeepSeek-V4-Flash", 13.666),
    ('cache at 2^20 tokens, "V3.2" to V4-Pro', 7.880), ("cache at 2^20 tokens, DeepSeek-V4-Pro of GQA-8", 2.015),
    ("FLOPs of one token, DeepSeek-V4-Pro of V3.2", 27.07), ("FLOPs of one token, V3.2 to DeepSeek-V4-Flash", 9.829)])
def test_to_four_digits(about, value):
    (found,) = [one.value for one in headlines() if one.about == about]
    assert found == pytest.approx(value, abs=6e-4 * max(1, value / 10))


def test_the_bytes_behind_them_by_hand():
    """Rows counted once more with nothing but the numbers of layers and the sizes of rows."""
    for csa, hca, layers, name in ((21, 20, 43, "flash"), (30, 31, 61, "pro")):
        from v4mini.planning.models import planned_model

        model, n = planned_model(name), MILLION
        assert cache_total(model, "released") == csa * n // 4 * (584 + 68) + hca * n // 128 * 584 + layers * 128 * 584
        assert cache_total(model, "bfloat16") == csa * n // 4 * (1024 + 256) + hca * n // 128 * 1024 + layers * 128 * 1024
        assert cache_total(model, "released", key=132) == csa * n // 4 * (584 + 132) + hca * n // 128 * 584 + layers * 128 * 584


def test_flops_by_hand(flash, pro, v32):
    """GFLOP a token at 2^20 and at 10^6 tokens, from the report's formulas with a pencil: (plain, FP8-equivalent)."""
    for model, plain, counted in ((flash, 140, 117), (pro, 303, 310), (v32, 1158, 1146)):
        assert round(plain_flops(model, MILLION) / 1e9) == plain
        assert round(fp8_equivalent(model, 10**6) / 1e9) == counted


def test_another_accounting_gives_another_number():
    """Were it not so, the accounting would not matter and the spelling out would be decoration."""
    rows = {what: (pro, flash) for what, pro, flash, _ in near_misses()}
    assert rows["cache, as published"] == pytest.approx((9.545, 13.666), abs=1e-3)
    assert rows["cache, scales of the formats left out on both sides"] == pytest.approx((9.476, 13.567), abs=1e-3)
    assert rows["cache, V4's unfinished blocks counted as well"] == pytest.approx((9.512, 13.621), abs=1e-3)
    assert rows["cache, V4's index keys in FP8"] == pytest.approx((8.715, 12.474), abs=1e-3)
    assert rows["cache, as published but at 4,096 tokens"] == pytest.approx((7.823, 11.181), abs=1e-3)
    assert rows["FLOPs, plain"] == pytest.approx((3.77, 8.21), abs=5e-3)
    assert rows["FLOPs, wo_a counted as BF16, as the script computes it"] == pytest.approx((3.60, 9.59), abs=5e-3)
    published = rows["FLOPs, FP8-equivalent as published"]
    assert published == pytest.approx((3.69, 9.83), abs=5e-3)
    for what, pair in rows.items():
        if what.startswith("FLOPs") and "as published" not in what:
            assert abs(pair[1] / published[1] - 1) > 0.02, what


def test_a_headline_that_does_not_hold_says_so():
    import dataclasses

    one = headlines()[0]
    assert not dataclasses.replace(one, value=9.44).agrees and not dataclasses.replace(one, says="9.6x").agrees
    assert dataclasses.replace(one, value=6.7249, says="6.72 GiB", unit="GiB", digits=2).agrees


def test_units_are_what_they_say(flash):
    assert cache_total(flash, "bfloat16") / GIB == pytest.approx(6.724, abs=5e-4)
    assert cache_total(flash, "released") / GB == pytest.approx(3.688, abs=5e-4)
