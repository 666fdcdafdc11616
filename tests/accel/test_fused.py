"""Fused ops of torch_npu: with what its documentation says that they compute, our calls give NumPy's numbers.

The schemas are a real torch_npu's (`python -m accel schemas` holds them against its wheel); the computing here is plain torch.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from accel import fused  # noqa: E402
from accel.checks import device, fused_cases, planted, schemas  # noqa: E402
from accel.reference import TorchBackend  # noqa: E402
from accel.tiles import FUSED  # noqa: E402
from v4mini.config import Config  # noqa: E402
from v4mini.shapes import Refused  # noqa: E402

SCHEMAS = (
    "npu_rms_norm(Tensor input, Tensor gamma, float epsilon=1e-06) -> (Tensor, Tensor)",
    "npu_rotary_mul(Tensor input, Tensor r1, Tensor r2, str rotary_mode='half', Tensor? rotate=None) -> Tensor",
    "npu_swiglu(Tensor input, int dim=-1) -> Tensor",
    "npu_clipped_swiglu(Tensor x, *, Tensor? group_index=None, int dim=-1, float alpha=1.702, float limit=7.0, float bias=1.0, "
    "bool interleaved=True) -> Tensor",
    "npu_sparse_flash_attention(Tensor query, Tensor key, Tensor? value, Tensor sparse_indices, float scale_value, *, "
    "Tensor? block_table=None, Tensor? actual_seq_lengths_query=None, Tensor? actual_seq_lengths_kv=None, "
    "Tensor? query_rope=None, Tensor? key_rope=None, int sparse_block_size=1, "
    "str layout_query=\"BSND\", str layout_kv=\"BSND\", int sparse_mode=3, "
    "int pre_tokens=9223372036854775807, int next_tokens=9223372036854775807, int attention_mode=0, "
    "bool return_softmax_lse=False, Tensor? sinks=None) -> (Tensor, Tensor, Tensor)",
)


def rms_norm(x, gamma, epsilon=1e-6):
    inverse = torch.rsqrt((x * x).mean(-1, keepdim=True) + epsilon)
    return x * inverse * gamma, inverse


def rotary_mul(x, r1, r2, rotary_mode="half", rotate=None):
    assert rotary_mode == "interleave" and rotate is None and r1.shape == r2.shape == (1, x.shape[1], 1, x.shape[3])
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return r1 * x + r2 * turned


def swiglu(x, dim=-1):
    gate, up = x.chunk(2, dim)
    return torch.nn.functional.silu(gate) * up


def clipped_swiglu(x, group_index=None, dim=-1, alpha=1.702, limit=7.0, bias=1.0, interleaved=True):
    assert group_index is None and not interleaved
    gate, up = x.chunk(2, dim)
    gate, up = gate.clamp(max=limit), up.clamp(-limit, limit)
    return gate * torch.sigmoid(alpha * gate) * (up + bias)


def sparse_flash_attention(query, key, value, sparse_indices, scale_value, sparse_block_size=1, layout_query="BSND",
                           layout_kv="BSND", sparse_mode=3, sinks=None, **nothing):
    assert sparse_block_size == 1 and sparse_mode == 0 and not any(v for k, v in nothing.items() if not k.endswith("_tokens"))
    q, rows, picks = query[0].float(), key[0, :, 0].float(), sparse_indices[0, :, 0].long()
    count = (picks >= 0).sum(1)
    assert ((picks >= 0) == (torch.arange(picks.shape[1]) < count[:, None])).all()      # "valid ones come first"
    logits = torch.einsum("thd,tkd->thk", q, rows[picks.clamp(min=0)]) * scale_value
    logits = logits.masked_fill((picks < 0)[:, None], -torch.inf)
    weights = torch.cat([logits, sinks[None, :, None].expand(len(q), -1, 1)], 2).softmax(2)[:, :, :-1]
    out = torch.einsum("thk,tkd->thd", weights, value[0, :, 0].float()[picks.clamp(min=0)])
    return out[None].to(query.dtype), query.new_empty(0), query.new_empty(0)


@pytest.fixture(scope="module")
def npu():
    """torch.ops.npu as a torch_npu would make it, on the CPU."""
    if hasattr(torch.ops.npu, "npu_rms_norm"):
        pytest.skip("a torch_npu is here")
    kept = torch.library.Library("npu", "DEF")
    for line, function in zip(SCHEMAS, (rms_norm, rotary_mul, swiglu, clipped_swiglu, sparse_flash_attention)):
        kept.define(line)
        kept.impl(line.partition("(")[0], function, "CompositeExplicitAutograd")
    yield kept
    kept._destroy()


def error(case, functions):
    got = case.call(functions, **{name: torch.from_numpy(array) for name, array in case.arrays.items()})
    return max(np.abs(a.numpy() - b).max() / np.abs(b).max() for a, b in zip(got, case.right(), strict=True))


@pytest.mark.parametrize("size", ["tiny", "flash"])
@pytest.mark.parametrize("name", FUSED)
def test_a_call_gives_numpys_numbers_if_the_op_does_what_is_written(npu, name, size):
    assert error(fused_cases.case_for(name, size), fused) < (1e-2 if name == "attend" else 2e-5)      # attention in bfloat16


WRONG = (("rope", "-sin if inverse else sin", "sin"), ("rope", "repeat_interleave(2, 1)", "repeat(1, 2)"),
         ("expert", "bias=0.0", "bias=1.0"), ("expert", "interleaved=False", "interleaved=True"),
         ("attend", "picks + S", "picks"), ("attend", "sinks=sink.float()", "sinks=0 * sink"),
         ("attend", "descending=True", "descending=False"))


@pytest.mark.parametrize("name,right,wrong", WRONG)
def test_a_wrong_call_gives_wrong_numbers(npu, name, right, wrong):
    mistake = planted.Mistake("", name, "fused", right, wrong)
    module = planted.imported(planted.spoilt_copy(mistake, schemas.KERNELS.parent / "fused.py"))
    try:
        found = error(fused_cases.case_for(name, "tiny"), module)
    except AssertionError:                              # the op above refuses what its documentation does
        found = np.inf
    assert found > 1e-1


def test_a_selftest_measures_them(npu, monkeypatch):
    for name in FUSED:
        one = device.check_fused(name, "ascend910b", "cpu")
        assert (one.case, one.level, one.problem) == (f"fused {name}", "measured", "") and set(one.numbers) == {"tiny", "flash"}
    monkeypatch.setattr(fused, "rope", lambda x, angles, inverse: x)
    assert "expected an error of at most" in device.check_fused("rope", "ascend910b", "cpu").problem


class Here(fused.Fused, TorchBackend):
    name = "torch and fused"


def test_a_model_runs_with_the_operations_that_are_named_and_no_others(npu, model_of):
    ids, config = np.arange(40) * 5 % 97, Config.tiny()
    wanted = model_of(config).logits(ids)
    for names, bound in ((("rms_norm", "rope", "expert"), 1e-4), ((), 1e-4), (tuple(FUSED), 3e-2)):
        ops = Here()
        ops.fused = names
        logits = model_of(config, ops).logits(ids)
        assert np.abs(logits - wanted).max() < bound * np.abs(wanted).max()
        by = ops.describe()
        assert {name for name in by if by[name].startswith("torch_npu: ")} == set(names)


def test_what_is_not_there_is_refused(npu):
    fused.expect_there(FUSED, "ascend910b")
    with pytest.raises(Refused, match="expected some of rms_norm, rope, expert, attend, got 'hc_pre'"):
        fused.expect_there(["hc_pre"], "ascend910b")
    with pytest.raises(Refused, match="attend: expected one of ascend910b, ascend910c.*got ascend950"):
        fused.expect_there(["attend"], "ascend950")
    npu_without = FUSED["rope"]._replace(op="npu_of_another_version")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Refused, match="got one without"):
        patch.setitem(fused.FUSED, "rope", npu_without)
        fused.expect_there(["rope"], "ascend910b")


def test_a_wheel_is_read_by_name_of_op(tmp_path):
    import zipfile

    wheel = tmp_path / "torch_npu-9.9.9-cp311.whl"
    meta = ("import torch_npu\nm = 0\n@impl(m, 'npu_other')\ndef other(x): ...\n"
            "@impl(m, 'npu_swiglu')\ndef swiglu(x, dim=-1): ...\n")
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr(schemas.LIBRARY, b"\0" + b"\0junk\0".join(line.encode() for line in SCHEMAS) + b"\0")
        file.writestr(schemas.META, meta)
    found = schemas.read(wheel)
    assert found.version == "9.9.9" and [found.schemas[op] for op in schemas.OPS] == [
        [next(line for line in SCHEMAS if line.startswith(op + "("))] for op in schemas.OPS]
    assert "npu_swiglu" in found.meta and "other" not in found.meta and "import" not in found.meta
    with zipfile.ZipFile(tmp_path / "torch_npu-1-x.whl", "w") as file:
        file.writestr(schemas.LIBRARY, b"nothing")
        file.writestr(schemas.META, meta)
    with pytest.raises(Refused, match="expected a torch_npu with npu_rms_norm"):
        schemas.read(tmp_path / "torch_npu-1-x.whl")
    (tmp_path / "torch_npu-2-x.whl").write_bytes(b"no zip")
    with pytest.raises(Refused, match="expected a wheel of torch_npu"):
        schemas.read(tmp_path / "torch_npu-2-x.whl")
