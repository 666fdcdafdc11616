"""Tensors as people store them: what fits a config, what is passed over, what is refused and how that is told."""

from types import SimpleNamespace

import numpy as np
import pytest

from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.weights.layouts import LINES, check, fit, grouped, likely_cause
from v4mini.weights.spec import tensors

MINI = Config.mini()


def found(config):                                      # -> what a perfect checkpoint holds
    return {name: SimpleNamespace(dtype=dtype, shape=shape) for spec in tensors(config) for name, dtype, shape in spec.stored()}


def as_stored(held, name, dtype, shape=None):
    held[name] = SimpleNamespace(dtype=dtype, shape=held[name].shape if shape is None else shape)


@pytest.mark.parametrize("config", [Config.tiny(), Config.mini(), Config.flash()], ids=["tiny", "mini", "flash"])
def test_a_whole_checkpoint_has_no_problems(config):
    held = fit(config, found(config))
    assert held.problems == [] and held.config == config and held.passed_over == [] and held.notes == []


def test_all_problems_are_told_at_once():
    held = found(MINI)
    del held["norm.weight"], held["layers.0.attn.wq_a.scale"]
    held["layers.1.norm.weight"] = SimpleNamespace(dtype="F32", shape=(3,))
    held["layers.1.attn.attn_sink"] = SimpleNamespace(dtype="F32", shape=(5,))
    held["layers.1.attn.wkv.weight"] = SimpleNamespace(dtype="F8_E5M2", shape=(96, 256))
    del held["layers.1.attn.wkv.scale"]
    held["layers.2.ffn.gate.bias"] = SimpleNamespace(dtype="I64", shape=[8, 1])     # wrong twice, and a list as in a header
    assert sorted(check(MINI, held)) == sorted([
        "missing: norm.weight BF16 [256]", "missing: layers.0.attn.wq_a.scale F8_E8M0 [1, 2]",
        "extra: layers.1.norm.weight F32 [3]", "wrong shape: layers.1.attn.attn_sink wanted [4], got [5]",
        "wrong dtype: layers.1.attn.wkv.weight wanted F8_E4M3, got F8_E5M2",
        "wrong shape: layers.2.ffn.gate.bias wanted [8], got [8, 1]", "wrong dtype: layers.2.ffn.gate.bias wanted F32, got I64"])


@pytest.mark.parametrize("name, dtype, fits", [
    ("norm.weight", "F32", True), ("norm.weight", "F16", True), ("norm.weight", "BF16", True), ("norm.weight", "F64", False),
    ("norm.weight", "F8_E4M3", False), ("layers.0.ffn.gate.tid2eid", "I32", True), ("layers.0.ffn.gate.tid2eid", "F32", False),
    ("layers.0.ffn.gate.tid2eid", "U8", True), ("layers.0.attn.wq_a.scale", "F32", True),
    ("layers.0.attn.wq_a.scale", "U8", True), ("layers.0.attn.wq_a.scale", "BF16", True),
    ("layers.0.attn.wq_a.scale", "I64", False), ("layers.0.attn.wq_a.weight", "U8", True),
    ("layers.0.attn.wq_a.weight", "F8_E4M3FNUZ", False), ("layers.0.ffn.experts.0.w1.weight", "U8", True),
    ("layers.0.ffn.experts.0.w1.weight", "F8_E4M3", False), ("layers.0.ffn.experts.0.w1.weight", "F64", False)])
def test_other_dtypes_of_the_same_values_fit_and_others_do_not(name, dtype, fits):
    held = found(MINI)
    as_stored(held, name, dtype)
    assert (check(MINI, held) == []) is fits


def test_a_weight_in_floats_wants_no_scale_and_one_that_is_left_over_is_told():
    held = found(MINI)
    as_stored(held, "layers.0.attn.wq_a.weight", "BF16")
    assert check(MINI, held) == ["extra: layers.0.attn.wq_a.scale F8_E8M0 [1, 2]"]
    del held["layers.0.attn.wq_a.scale"]
    assert check(MINI, held) == []


@pytest.mark.parametrize("changes, dtype, experts", [
    ({"expert_dtype": None}, "fp8", "fp4"), ({"expert_dtype": "fp8"}, "fp8", "fp4"), ({"dtype": "bf16"}, "fp8", "fp4"),
    ({"dtype": "bf16", "expert_dtype": None}, "fp8", "fp4")])
def test_the_header_says_how_weights_are_stored_whatever_the_config_says(changes, dtype, experts):
    held = fit(MINI.replace(**changes), found(MINI))
    assert held.problems == [] and (held.config.dtype, held.config.expert_dtype) == (dtype, experts)
    assert held.formats == {spec.name: spec.format for spec in tensors(MINI) if spec.format in ("fp8", "fp4")}


def test_floats_under_a_quantised_config():
    held = fit(MINI, found(MINI.replace(dtype="bf16", expert_dtype=None)))
    assert held.problems == [] and (held.config.dtype, held.config.expert_dtype) == ("bf16", None) and held.formats == {}
    held = fit(MINI, found(MINI.replace(expert_dtype="bf16")))
    assert held.problems == [] and (held.config.dtype, held.config.expert_dtype) == ("fp8", "bf16")


# ---- what is asked for, and no more ----

def test_layers_and_drafts_that_nobody_asked_for_are_passed_over():
    held = fit(MINI.replace(n_layers=2, n_mtp_layers=0), found(MINI))
    assert held.problems == [] and {name.split(".")[0] for name in held.passed_over} == {"layers", "mtp"}
    assert held.notes == ["The config asks for 2 layers; 2 more, 2 to 3, are passed over."]


def test_a_drafting_block_that_is_not_there_is_missed_only_if_it_was_asked_for():
    held = {name: entry for name, entry in found(MINI).items() if not name.startswith("mtp.")}
    assert check(MINI, held)[0].startswith("missing: mtp.0.")
    quiet = fit(MINI, held, asked=False)
    assert quiet.problems == [] and quiet.config.n_mtp_layers == 0 and "not in these files" in quiet.notes[0]
    half = {name: entry for name, entry in found(MINI).items() if name != "mtp.0.enorm.weight"}
    assert fit(MINI, half, asked=False).problems == ["missing: mtp.0.enorm.weight BF16 [256]"]
    assert "n_mtp_layers=0" in likely_cause(MINI, half, check(MINI, half))


@pytest.mark.parametrize("name", ["model.rotary_emb.inv_freq", "layers.0.self_attn.rotary_emb.inv_freq", "mtp.0.head.weight",
                                  "mtp.0.emb.tok_emb.weight"])
def test_copies_and_computed_tensors_are_passed_over(name):
    held = found(MINI) | {name: SimpleNamespace(dtype="F32", shape=(4,))}
    assert fit(MINI, held).problems == [] and fit(MINI, held).passed_over == [name]


# ---- how it is told ----

def test_what_differs_in_numbers_only_is_told_once_with_a_count():
    held = {name: (SimpleNamespace(dtype="F64", shape=entry.shape) if name.endswith(".scale") else entry)
            for name, entry in found(MINI).items()}
    problems = check(MINI, held)
    lines = grouped(problems)
    assert len(problems) > 100 and len(lines) <= LINES
    assert any("experts.0.w1.scale wanted F8_E8M0, got F64 (and 31 more like it)" in line for line in lines)
    assert len(grouped(check(MINI, {}))) == LINES and "other kinds" in grouped(check(MINI, {}))[-1]


def test_causes_are_named():
    pruned = found(MINI.replace(n_routed_experts=6))
    assert "6 experts, its config 8 (n_routed_experts)" in likely_cause(MINI, pruned, check(MINI, pruned))
    as_stored(pruned, "layers.0.ffn.gate.weight", "BF16", (8, 256))
    assert "different numbers of experts (6, 8)" in likely_cause(MINI, pruned, check(MINI, pruned))
    blocks = ("mtp.0.main_proj.weight", "mtp.0.main_norm.weight")
    drafter = found(MINI) | {name: SimpleNamespace(dtype="F32", shape=(4,)) for name in blocks}
    assert "DSpark" in likely_cause(MINI, drafter, check(MINI, drafter))
    assert fit(MINI, drafter, asked=False).config.n_mtp_layers == 0


def test_a_config_out_of_proportion_is_refused_before_its_tensors_are_listed():
    with pytest.raises(Refused, match="n_routed_experts"):
        check(MINI.replace(n_routed_experts=65536), found(MINI))


# ---- numbers: codes and scales under other dtypes are the same numbers ----

def test_scales_that_are_no_powers_of_two_are_refused_by_name():
    from v4mini.numerics.matrix import as_scale

    powers = np.float32([[1.0, 2.0**-127], [2.0**127, 0.5]])
    assert as_scale(powers).view(np.uint8).tolist() == [[127, 0], [254, 126]]
    for wrong in (3.0, 0.0, -1.0, np.nan, np.inf, 1e-45):
        with pytest.raises(Refused, match=r"wkv scale: expected powers of two, got .* at \[1, 0\], 1 such"):
            as_scale(np.float32([[1.0], [wrong]]), "layers.0.attn.wkv")
