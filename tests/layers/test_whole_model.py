"""Every layer, wired together, against a float64 model that was written from the equations alone (naive.py beside this)."""

import numpy as np
import pytest
from layers import naive
from tolerances import WHOLE_MODEL

from v4mini.config import Config
from v4mini.trace import Trace
from v4mini.weights.random import random_tensors


def agree(model_of, config, ids):
    wanted, streams = naive.logits(config, random_tensors(config), ids)
    trace = Trace()
    np.testing.assert_allclose(model_of(config).logits(ids, trace), wanted, **WHOLE_MODEL)
    for layer, after in streams.items():
        np.testing.assert_allclose(trace[f"layers.{layer}.streams"], after, err_msg=f"{layer=}", **WHOLE_MODEL)


def ids_of(config, T):              # one seed: two index scores within 1e-7 of each other could be ranked either way
    return np.random.default_rng(0).integers(0, config.vocab_size, T)


def test_tiny_with_all_kinds_of_layer_past_the_first_heavy_entry(model_of):
    agree(model_of, Config.tiny(), ids_of(Config.tiny(), 140))


@pytest.mark.parametrize("T", [1, 2, 3, 4, 5, 8, 17])
def test_short_texts(model_of, T):
    agree(model_of, Config.tiny(), ids_of(Config.tiny(), T))


@pytest.mark.parametrize("ratios, changes", [
    ((0,), {}), ((4,), {}), ((8,), {}), ((2, 4, 0), {"n_hash_layers": 3}), ((4, 8), {"original_seq_len": 0}),
    ((0, 8), {"hc_mult": 1}), ((4,), {"hc_mult": 3, "hc_sinkhorn_iters": 1}), ((4, 0), {"swiglu_limit": 0.0}),
    ((4, 0), {"window_size": 1}), ((0, 4), {"n_routed_experts": 2, "n_activated_experts": 2}),
    ((4,), {"rope_head_dim": 16}), ((8,), {"o_groups": 1}), ((8,), {"o_groups": 6}), ((4,), {"index_topk": 1})], ids=str)
def test_one_kind_of_layer_and_one_odd_size_at_a_time(model_of, ratios, changes):
    changes = {"n_layers": len(ratios), "n_mtp_layers": 0, "n_hash_layers": 0, "compress_ratios": ratios} | changes
    config = Config.tiny().replace(**changes)
    agree(model_of, config, ids_of(config, 35))


@pytest.mark.parametrize("T", [2, 3, 20, 40])
def test_the_mtp_block_reads_the_streams_at_t_and_token_t_plus_1(model_of, T):
    config = Config.tiny()
    ids = ids_of(config, T)
    wanted = naive.mtp_logits(config, random_tensors(config), ids)
    np.testing.assert_allclose(model_of(config).mtp_logits(ids), wanted, **WHOLE_MODEL)
