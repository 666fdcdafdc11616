"""FLOPs per token: the published sizes give the figures that can be worked out by hand from the report."""

import pytest

from v4mini.config import Config
from v4mini.planning.flops import active_weights, span_flops, token_flops

M = 1 << 20


@pytest.mark.parametrize("config, dense, index, core", [        # GFLOP a token at 2^20, from the formulas with a pencil
    (Config.flash(), 27, 90, 24), (Config.pro(), 98, 129, 77)])
def test_a_token_behind_a_million(config, dense, index, core):
    parts = token_flops(config, M)
    assert round(parts["dense"] / 1e9) == dense and round(parts["index"] / 1e9) == index
    assert round((parts["csa"] + parts["hca"] + parts["window"]) / 1e9) == core


def test_active_weights_are_those_counted_elsewhere():
    assert 13.26e9 < active_weights(Config.flash()) < 13.271e9      # 13.270 B with one embedding row, norms and vectors
    assert active_weights(Config.flash()) - active_weights(Config.flash(), head=False) == 129280 * 4096


def test_only_index_and_hca_grow_for_ever():
    near, far = token_flops(Config.flash(), M), token_flops(Config.flash(), 2 * M)
    assert {part for part in near if far[part] > near[part]} == {"index", "hca"}
    assert far["index"] == pytest.approx(2 * near["index"], rel=1e-5)


def test_a_span_is_the_sum_of_its_tokens():
    config = Config.tiny()
    exact = sum(sum(token_flops(config, t, head=False).values()) for t in range(300, 1300))
    assert sum(span_flops(config, 300, 1300).values()) == pytest.approx(exact, rel=0.01)
