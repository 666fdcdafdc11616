"""The memory explorer without a browser: what its page adds up is what planning says, which is what a cache holds."""

import sys

import pytest

import v4mini as v4
from v4mini.planning.memory import STORAGES, cache_breakdown, cache_bytes, plain_cache_bytes, v32_cache_bytes
from v4mini.widgets.memory import PARTS, MemoryExplorer, grown

LENGTHS = [*range(0, 300), 1000, 4095, 20_000, 131_072, 999_999, 1 << 20]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("make", [v4.Config.flash, v4.Config.pro, v4.Config.mini, v4.Config.tiny])
def test_the_page_s_sums_are_planning_s_at_every_length(make, storage):
    config = make()
    if storage == "released" and make is v4.Config.tiny:
        config = v4.Config.bench()                      # tiny's rows have no whole FP8 groups; six layers, two of each kind
    terms = grown(config, storage)
    for n in LENGTHS:
        parts = dict.fromkeys(PARTS, 0)
        for part, layers, once, block, ratio in terms:  # as memory.js adds them
            parts[part] += layers * (once + n // ratio * block)
        assert parts == cache_breakdown(config, n, storage), n


def test_totals_stand_beside_v32_and_a_plain_transformer():
    explorer = MemoryExplorer(tokens=4096)
    totals = explorer.totals()
    assert totals["V4-Flash"] == cache_bytes(v4.Config.flash(), 4096, "released")
    assert totals["V3.2"] == v32_cache_bytes(4096, "released") == 4096 * 61 * (656 + 132)
    assert totals["plain transformer"] == 4096 * 43 * 2 * 8 * 128 * 2
    explorer.storage, explorer.model = "float32", "V4-Pro"
    assert explorer.totals()["plain transformer"] == plain_cache_bytes(4096, 61, "float32") == 4096 * 61 * 2 * 8 * 128 * 4
    assert "after 4,096 tokens V4-Pro keeps" in repr(explorer) and "(float32)" in repr(explorer)


def test_a_model_of_yours_stands_beside_the_published():
    explorer = MemoryExplorer(v4.Config.bench(), tokens=500, storage="float32")
    assert explorer.model == "yours" and sum(explorer.breakdown().values()) == cache_bytes(v4.Config.bench(), 500)
    assert set(explorer.view.data["models"]) == {"V4-Flash", "V4-Pro", "mini", "yours"}


def test_page_and_explorer_move_each_other_and_what_cannot_be_is_said():
    explorer = MemoryExplorer()
    view = explorer.view
    view.asked = {"tokens": 77, "storage": "bfloat16", "model": "V4-Pro", "number": 1}
    assert (explorer.tokens, explorer.storage, explorer.model) == (77, "bfloat16", "V4-Pro")
    explorer.model = "mini"
    assert view.place == {"tokens": 77, "storage": "bfloat16", "model": "mini"}
    view.asked = {"tokens": 0, "number": 2}
    assert view.said == "tokens: expected 1 to 1048576, got 0." and explorer.tokens == 77
    with pytest.raises(v4.Refused, match="storage: expected float32, bfloat16, released, got 'int8'"):
        explorer.storage = "int8"


def test_without_anywidget_its_tables_are_all(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    bundle = MemoryExplorer(tokens=1000)._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"} and bundle["text/html"].count("<table>") == 2
    assert "index keys" in bundle["text/html"] and "plain transformer" in bundle["text/html"]
