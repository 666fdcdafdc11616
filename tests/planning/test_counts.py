"""Counting parameters and bytes: the published totals, to the digit they were published with."""

from functools import cache

import numpy as np
import pytest
from tolerances import MILLIONS

from v4mini.config import Config
from v4mini.planning import counts as planning
from v4mini.planning.counts import bytes_by_format, total

counts = cache(planning.counts)                         # Pro has 140,000 tensors: a second, not to be spent per line

# Millions of parameters: (all, those one token meets), for Flash and Pro. The model card gives the sums, 284B/13B and 1.6T/49B.
TABLE = {
    "routed experts": ((277_025.4, 6_492.8), (1_547_396.2, 24_178.1)),
    "shared experts": ((1_082.1, 1_082.1), (4_029.7, 4_029.7)),
    "attn wq_b": ((1_442.8, 1_442.8), (6_140.5, 6_140.5)),
    "attn wo_a": ((1_442.8, 1_442.8), (4_093.6, 4_093.6)),
    "attn wo_b": ((1_442.8, 1_442.8), (7_163.9, 7_163.9)),
    "attn wq_a": ((180.4, 180.4), (671.6, 671.6)),
    "attn wkv": ((90.2, 90.2), (223.9, 223.9)),
    "compressor wkv+wgate": ((260.0, 260.0), (667.9, 667.9)),
    "indexer wq_b": ((176.2, 176.2), (377.5, 377.5)),
    "indexer compressor wkv+wgate": ((44.0, 44.0), (110.1, 110.1)),
    "indexer weights_proj": ((5.5, 5.5), (13.8, 13.8)),
    "gate weight": ((45.1, 45.1), (167.9, 167.9)),
    "mHC": ((33.8, 33.8), (84.0, 84.0)),
    "embedding": ((529.5, 0.004), (926.7, 0.007)),
    "output head": ((529.5, 529.5), (926.7, 926.7)),
    "norms and vectors": ((1.94, 1.94), (3.4, 3.4)),     # Flash: 1,942,853, most of it the ape tables of 20 HCA layers
}


@pytest.mark.parametrize("group", TABLE)
@pytest.mark.parametrize("number, config", [(0, Config.flash()), (1, Config.pro())], ids=["flash", "pro"])
def test_each_group_has_its_published_size(group, number, config):
    count = counts(config)[0][group]
    np.testing.assert_allclose([count.total / 1e6, count.active / 1e6], TABLE[group][number], **MILLIONS)


@pytest.mark.parametrize("config", [Config.flash(), Config.pro()], ids=["flash", "pro"])
def test_there_is_no_other_group_but_the_hash_tables_which_are_no_parameters(config):
    groups, _ = counts(config)
    assert set(groups) == {*TABLE, "hash tables"}
    assert groups["hash tables"].total == 0 and groups["hash tables"].nbytes == 3 * 129_280 * 6 * 8


@pytest.mark.parametrize("config, all_of_it, active, mtp, mtp_active", [
    (Config.flash(), 284.332, 13.270, 6.610, 0.319), (Config.pro(), 1572.997, 48.852, 25.840, 0.869)], ids=["flash", "pro"])
def test_the_totals_in_billions(config, all_of_it, active, mtp, mtp_active):
    main, (_, extra) = total(config), counts(config)
    np.testing.assert_allclose([main.total / 1e9, main.active / 1e9, extra.total / 1e9, extra.active / 1e9],
                               [all_of_it, active, mtp, mtp_active], rtol=0, atol=5e-4)


@pytest.mark.parametrize("config, nbytes", [(Config.flash(), 159_609_485_896), (Config.pro(), 864_704_792_696)],
                         ids=["flash", "pro"])
def test_bytes_are_those_of_the_released_index_to_the_last(config, nbytes):
    """Flash: metadata.total_size of the released model.safetensors.index.json. Pro: computed; publicly "865 GB"."""
    assert sum(bytes_by_format(config).values()) == nbytes
    assert total(config).nbytes + counts(config)[1].nbytes == nbytes


def test_experts_are_nearly_all_of_it():
    formats = bytes_by_format(Config.flash())
    assert set(formats) == {"bf16", "f32", "i64", "fp8", "fp4"}
    # 43 layers and the MTP block; 147.17 GB without it
    assert formats["fp4"] == 44 * 256 * 3 * 2048 * 4096 * (16 + 1) // 32


def test_a_smaller_model_counts_what_its_tensors_hold():
    from v4mini.weights.random import random_tensors

    for config in (Config.tiny(), Config.mini()):
        assert sum(bytes_by_format(config).values()) == sum(array.nbytes for array in random_tensors(config).values())
