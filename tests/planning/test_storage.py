"""Bytes of weights in every way of storing: the published files, and what a real checkpoint on disk holds."""

import pytest

from v4mini.config import Config
from v4mini.planning.counts import bytes_by_format, counts
from v4mini.planning.storage import WEIGHTS, format_bytes, kinds, spec_bytes, stored_bytes
from v4mini.shapes import Refused
from v4mini.weights.spec import TensorSpec, tensors

FLASH, PRO = Config.flash(), Config.pro()


@pytest.mark.parametrize("config, mtp, without", [(FLASH, 159_609_485_896, 156.016), (PRO, 864_704_792_696, 850.75)],
                         ids=["flash", "pro"])
def test_released_bytes_are_the_published_index(config, mtp, without):
    """Flash: metadata.total_size of the released index. Pro: publicly "865 GB"."""
    assert sum(stored_bytes(config, mtp=True).values()) == mtp
    assert sum(stored_bytes(config).values()) / 1e9 == pytest.approx(without, abs=5e-3)


@pytest.mark.parametrize("weights, gigabytes, within, source", [
    ("bf16", 568.7, 0.1, "284.3 B numbers of 2 bytes"), ("fp8", 292.5, 7, "the Base checkpoint, MTP included"),
    ("w8a8", 290, 7, "vLLM-Ascend: one node of 8 x 64 GB holds it"), ("q2", 81 * 1.073741824, 0.5, "ds4's docs: about 81 GiB")])
def test_other_ways_of_storing_flash(weights, gigabytes, within, source):
    assert sum(stored_bytes(FLASH, weights).values()) / 1e9 == pytest.approx(gigabytes, abs=within), source


def test_fp8_with_the_mtp_block_is_the_base_checkpoint():
    assert sum(stored_bytes(FLASH, "fp8", mtp=True).values()) / 1e9 == pytest.approx(292.5, abs=0.1)
    assert sum(stored_bytes(PRO, "fp8", mtp=True).values()) / 1e9 == pytest.approx(1602, abs=1)


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini(), Config.bench(), FLASH], ids=["tiny", "mini", "bench", "flash"])
def test_summing_kinds_loses_no_tensor(config):
    whole, specs = kinds(config), tensors(config)
    assert sum(kind.count for kind in whole) == len(specs)
    assert sum(kind.count * kind.one.nbytes for kind in whole) == sum(spec.nbytes for spec in specs)
    assert format_bytes(config, mtp=True) == bytes_by_format(config)
    groups, mtp = counts(config)
    for group, count in groups.items():
        assert stored_bytes(config).get(group, 0) == count.nbytes
    assert stored_bytes(config, mtp=True).get("MTP block", 0) == mtp.nbytes


def test_a_checkpoint_on_disk_has_these_bytes(tmp_path):
    from v4mini.weights.random import random_weights

    random_weights(Config.mini(), tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("*.safetensors"))
    assert 0 <= size - sum(stored_bytes(Config.mini(), mtp=True).values()) < 200_000       # the file's header


@pytest.mark.parametrize("weights, expert, plain, norm", [
    # an expert's w1 and w2 [256, 512], an attention matrix of the same size, a norm of 512 numbers in BF16; with a pencil
    ("released", (256 * 512 * 17 // 32,) * 2, 256 * 512 + 8, 1024), ("fp8", (256 * 512 + 8,) * 2, 256 * 512 + 8, 1024),
    ("w8a8", (256 * 512 + 1024,) * 2, 256 * 512 + 1024, 1024), ("w4a8", (256 * 256 + 1024,) * 2, 256 * 512 + 1024, 1024),
    ("bf16", (256 * 1024,) * 2, 256 * 1024, 1024), ("q2", (66 * 512, 84 * 512), 34 * 4096, 1024)])
def test_one_tensor_of_each_kind(weights, expert, plain, norm):
    w1, w2 = (TensorSpec(f"ffn.experts.{part}.weight", (256, 512), "fp4", "matrix", "routed experts") for part in ("w1", "w2"))
    assert (spec_bytes(w1, weights), spec_bytes(w2, weights)) == expert
    assert spec_bytes(TensorSpec("attn.wkv.weight", (256, 512), "fp8", "matrix", "attn wkv"), weights) == plain
    assert spec_bytes(TensorSpec("norm.weight", (512,), "bf16", "norm", "norms and vectors"), weights) == norm


def test_smaller_formats_are_smaller():
    sizes = {weights: sum(stored_bytes(FLASH, weights).values()) for weights in WEIGHTS}
    assert sizes["q2"] < sizes["w4a8"] < sizes["released"] < sizes["fp8"] < sizes["w8a8"] < sizes["bf16"]


def test_an_unknown_way_of_storing_is_refused():
    for function in (stored_bytes, format_bytes):
        with pytest.raises(Refused, match="weights: expected released, fp8"):
            function(FLASH, "q3")
