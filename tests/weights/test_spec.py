"""The only table of tensors: names, shapes, formats."""

from types import SimpleNamespace

import pytest

from v4mini.config import Config
from v4mini.weights.spec import TensorSpec, tensors


def found(config):                                      # -> what a perfect checkpoint holds
    return {name: SimpleNamespace(dtype=dtype, shape=shape) for spec in tensors(config) for name, dtype, shape in spec.stored()}


FLASH = {name: (held.dtype, tuple(held.shape)) for name, held in found(Config.flash()).items()}

# The released names with the released shapes: one of each kind, of Flash.
RELEASED = {
    "embed.weight": ("BF16", (129280, 4096)), "head.weight": ("BF16", (129280, 4096)), "norm.weight": ("BF16", (4096,)),
    "hc_head_fn": ("F32", (4, 16384)), "hc_head_base": ("F32", (4,)), "hc_head_scale": ("F32", (1,)),
    "layers.0.attn_norm.weight": ("BF16", (4096,)), "layers.42.hc_ffn_fn": ("F32", (24, 16384)),
    "layers.42.hc_attn_base": ("F32", (24,)), "layers.42.hc_attn_scale": ("F32", (3,)),
    "layers.0.attn.attn_sink": ("F32", (64,)), "layers.0.attn.wq_a.weight": ("F8_E4M3", (1024, 4096)),
    "layers.0.attn.wq_a.scale": ("F8_E8M0", (8, 32)), "layers.0.attn.wq_b.weight": ("F8_E4M3", (32768, 1024)),
    "layers.0.attn.wkv.weight": ("F8_E4M3", (512, 4096)), "layers.0.attn.wo_a.weight": ("F8_E4M3", (8192, 4096)),
    "layers.0.attn.wo_b.weight": ("F8_E4M3", (4096, 8192)), "layers.0.attn.kv_norm.weight": ("BF16", (512,)),
    "layers.2.attn.compressor.wkv.weight": ("BF16", (1024, 4096)), "layers.2.attn.compressor.ape": ("F32", (4, 1024)),
    "layers.3.attn.compressor.wgate.weight": ("BF16", (512, 4096)), "layers.3.attn.compressor.ape": ("F32", (128, 512)),
    "layers.3.attn.compressor.norm.weight": ("BF16", (512,)),
    "layers.2.attn.indexer.wq_b.weight": ("F8_E4M3", (8192, 1024)),
    "layers.2.attn.indexer.weights_proj.weight": ("BF16", (64, 4096)),
    "layers.2.attn.indexer.compressor.wkv.weight": ("BF16", (256, 4096)),
    "layers.2.attn.indexer.compressor.ape": ("F32", (4, 256)), "layers.2.attn.indexer.compressor.norm.weight": ("BF16", (128,)),
    "layers.2.ffn.gate.tid2eid": ("I64", (129280, 6)), "layers.3.ffn.gate.bias": ("F32", (256,)),
    "layers.0.ffn.gate.weight": ("BF16", (256, 4096)), "layers.0.ffn.experts.255.w1.weight": ("I8", (2048, 2048)),
    "layers.0.ffn.experts.255.w1.scale": ("F8_E8M0", (2048, 128)), "layers.0.ffn.experts.0.w2.weight": ("I8", (4096, 1024)),
    "layers.0.ffn.experts.0.w2.scale": ("F8_E8M0", (4096, 64)),
    "layers.0.ffn.shared_experts.w3.weight": ("F8_E4M3", (2048, 4096)), "mtp.0.e_proj.weight": ("F8_E4M3", (4096, 4096)),
    "mtp.0.h_proj.scale": ("F8_E8M0", (32, 32)), "mtp.0.enorm.weight": ("BF16", (4096,)), "mtp.0.hc_head_fn": ("F32", (4, 16384)),
    "mtp.0.ffn.gate.bias": ("F32", (256,)), "mtp.0.norm.weight": ("BF16", (4096,)),
}


@pytest.mark.parametrize("name", RELEASED)
def test_a_tensor_of_flash_has_its_released_dtype_and_shape(name):
    assert FLASH[name] == RELEASED[name]


@pytest.mark.parametrize("name", [
    "layers.0.attn.compressor.wkv.weight", "layers.3.attn.indexer.wq_b.weight", "layers.3.ffn.gate.tid2eid",
    "layers.2.ffn.gate.bias", "mtp.0.attn.compressor.wkv.weight", "mtp.0.ffn.gate.tid2eid", "mtp.0.embed.weight",
    "mtp.0.head.weight", "layers.43.attn_norm.weight", "mtp.1.norm.weight", "layers.0.ffn.experts.256.w1.weight"])
def test_and_no_tensor_that_it_does_not_have(name):
    assert name not in FLASH


def test_names_are_told_once():
    assert len(FLASH) == sum(len(spec.stored()) for spec in tensors(Config.flash()))


def test_fp8_tiles_at_the_edge_have_a_scale_too():
    spec = TensorSpec("a.weight", (129, 256), "fp8", "matrix", "")
    assert spec.stored() == [("a.weight", "F8_E4M3", (129, 256)), ("a.scale", "F8_E8M0", (2, 2))] and spec.nbytes == 129 * 256 + 4


def test_fp4_is_half_a_byte_a_number_and_a_scale_for_32():
    spec = TensorSpec("a.weight", (3, 64), "fp4", "matrix", "")
    assert spec.stored() == [("a.weight", "I8", (3, 32)), ("a.scale", "F8_E8M0", (3, 2))] and spec.nbytes == 3 * 34


def test_formats_follow_the_config():
    formats = {name: {spec.format for spec in tensors(config)} for name, config in (
        ("released", Config.mini()), ("fp8 experts", Config.mini().replace(expert_dtype="fp8")),
        ("base", Config.mini().replace(expert_dtype=None)),
        ("bf16", Config.mini().replace(dtype="bf16", expert_dtype=None)), ("f32", Config.tiny()))}
    assert formats == {"released": {"bf16", "f32", "i64", "fp8", "fp4"}, "fp8 experts": {"bf16", "f32", "i64", "fp8"},
                       "base": {"bf16", "f32", "i64", "fp8"}, "bf16": {"bf16", "f32", "i64"}, "f32": {"f32", "i64"}}
