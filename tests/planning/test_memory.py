"""Predicted bytes are counted bytes, for any config; and the published tables come out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inference.fake import Fake

from v4mini.config import Config
from v4mini.inference.cache import Cache
from v4mini.planning.memory import (
    STORAGES,
    cache_breakdown,
    cache_bytes,
    entry_bytes,
    index_key_bytes,
    v32_cache_bytes,
)
from v4mini.shapes import Refused

MILLION = 2**20


@st.composite
def configs(draw):
    n = draw(st.integers(1, 5))
    ratios = draw(st.lists(st.sampled_from([0, 2, 3, 4, 4, 7, 128]), min_size=n, max_size=n))
    rope = 2 * draw(st.integers(1, 6))
    return Config.tiny().replace(
        n_layers=n, compress_ratios=(*ratios, 0), n_hash_layers=0, head_dim=rope + draw(st.integers(0, 200)), rope_head_dim=rope,
        index_head_dim=rope + draw(st.integers(0, 80)), window_size=draw(st.integers(1, 40)))


@settings(max_examples=150, deadline=None)
@given(config=configs(), storage=st.sampled_from(STORAGES), reserve=st.integers(0, 12), data=st.data())
def test_predicted_is_counted(config, storage, reserve, data):
    tokens = data.draw(st.integers(0, 300), label="tokens")
    cache, fake, text = Cache(config, storage, reserve), Fake(config, storage), np.arange(300) % 7
    while cache.length < tokens:
        fake.feed(cache, text[: min(tokens, cache.length + data.draw(st.integers(1, 200), label="chunk"))])
    cache.rewind(data.draw(st.integers(0, cache.max_rewind), label="rewind"))
    assert cache.breakdown() == cache_breakdown(config, cache.length, storage, reserve)
    assert cache.nbytes == cache_bytes(config, cache.length, storage, reserve)


def test_bytes_of_a_row():
    flash = Config.flash()
    assert [entry_bytes(flash, storage) for storage in STORAGES] == [2048, 1024, 584]
    assert [index_key_bytes(flash, storage) for storage in STORAGES] == [512, 256, 68]


def published(config, tokens, storage):
    return cache_bytes(config, tokens, storage, reserve=0, unfinished=False)


@pytest.mark.parametrize("config, gib, csa, index, hca, window", [(Config.flash(), 6.724, 5.250, 1.313, 0.156, 0.005),
                                                                (Config.pro(), 9.625, 7.500, 1.875, 0.242, 0.007)])
def test_bf16_at_a_million_tokens(config, gib, csa, index, hca, window):
    kinds = cache_breakdown(config, MILLION, "bfloat16", reserve=0)
    assert published(config, MILLION, "bfloat16") / 2**30 == pytest.approx(gib, abs=6e-4)
    parts = [kinds[kind] / 2**30 for kind in ("csa", "index_keys", "hca", "window")]
    assert parts == pytest.approx([csa, index, hca, window], abs=6e-4)


# MB of 10^6 bytes by context length: V3.2 in BF16 and released; Pro and Flash the same. From the released layouts.
TABLE = {4096: (352, 197, 48, 25, 34, 18), 32768: (2814, 1575, 331, 169, 231, 118), 131072: (11258, 6300, 1299, 664, 907, 464),
         262144: (22515, 12601, 2590, 1324, 1809, 924), 524288: (45030, 25201, 5171, 2642, 3613, 1846),
         1048576: (90060, 50403, 10334, 5280, 7220, 3688)}


@pytest.mark.parametrize("tokens", TABLE)
def test_the_table_of_contexts(tokens):
    got = [v32_cache_bytes(tokens), v32_cache_bytes(tokens, "released")]
    for config in (Config.pro(), Config.flash()):
        got += [published(config, tokens, storage) for storage in ("bfloat16", "released")]
    assert [round(number / 1e6) for number in got] == list(TABLE[tokens])


def test_the_headlines():
    """9.5 times (Pro) and 13.7 times (Flash) less than V3.2: released rows on both sides, at 2^20 tokens, the cache alone."""
    v32 = v32_cache_bytes(MILLION, "released")
    assert v32 / published(Config.pro(), MILLION, "released") == pytest.approx(9.545, abs=1e-3)
    assert v32 / published(Config.flash(), MILLION, "released") == pytest.approx(13.666, abs=2e-3)
    assert v32_cache_bytes(MILLION) == 83.875 * 2**30
    assert v32_cache_bytes(MILLION) / published(Config.pro(), MILLION, "bfloat16") == pytest.approx(8.7, abs=0.05)


def test_bytes_per_token_of_context():
    for config, mixed, bf16 in (Config.flash(), 3514, 6880), (Config.pro(), 5031, 9848):
        for storage, wanted in ("released", mixed), ("bfloat16", bf16):
            grown = cache_bytes(config, 2 * MILLION, storage) - cache_bytes(config, MILLION, storage)
            assert round(grown / MILLION) == wanted


def test_unfinished_blocks_with_no_reserve_are_the_references_states():
    for config, megabytes in (Config.flash(), 12.2), (Config.pro(), 18.7):
        assert cache_breakdown(config, 0, reserve=0)["unfinished"] / 1e6 == pytest.approx(megabytes, abs=0.05)


def test_a_wrong_question_is_refused():
    for tokens in (-1, 1.5, "many"):
        with pytest.raises(Refused, match="tokens: expected 0 or more"):
            cache_bytes(Config.tiny(), tokens)
    with pytest.raises(Refused, match="storage"):
        cache_bytes(Config.tiny(), 5, "fp8")
    with pytest.raises(Refused, match="storage"):
        v32_cache_bytes(5, "fp8")
    with pytest.raises(Refused, match="reserve"):
        cache_bytes(Config.tiny(), 5, reserve=-1)
