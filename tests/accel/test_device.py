"""The device engine whole: each launch and kernel of a model in Triton's interpreter, beside NumPy's numbers.

In an environment of its own, as all of Triton. `pytest tests/engines --engine accel.checks.engine:InterpretedBackend` tries more.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from v4mini import load
from v4mini.shapes import Refused
from v4mini.trace import Trace

pytestmark = [pytest.mark.compilers, pytest.mark.skipif(find_spec("ascendnpuir") is not None, reason="no triton here")]
DATA = Path(__file__).parents[2] / "data"
IDS = np.random.default_rng(3).integers(0, 1000, 10)
NEAR = {"rtol": 0, "atol": 1e-4}                        # logits reach 20


@pytest.fixture(scope="module")
def interpreted():
    from accel.checks.engine import InterpretedBackend
    return InterpretedBackend


@pytest.fixture(scope="module")
def here(interpreted):                                  # FP4 experts, FP8 elsewhere, as they were trained and released
    return load(DATA / "mini", interpreted())


@pytest.fixture(scope="module")
def right():
    return load(DATA / "mini", "numpy")


def test_experts_lie_in_stacks_and_matrices_as_stored(here):
    experts = here.weights.layers[3].ffn.experts
    assert experts.fp4 and experts.w1.shape[0] == here.config.n_routed_experts == len(experts)
    assert experts[2].w1.codes.data_ptr() == experts.w1[2].data_ptr()                   # nothing is there twice
    assert here.weights.layers[3].attn.wq_b.format == "fp8"
    assert here.ops.place(here.weights).layers[3].ffn.experts is experts                # what is placed stays


def test_a_released_model_gives_numpys_logits_and_choices(here, right):
    mine, theirs = Trace(), Trace()
    np.testing.assert_allclose(here.logits(IDS, mine), right.logits(IDS, theirs), **NEAR)
    for name in theirs:
        if name.endswith(("ffn.experts", "attn.index_picks")):
            np.testing.assert_array_equal(np.sort(mine[name], 1), np.sort(theirs[name], 1), err_msg=name)


def test_steps_on_a_cache_and_in_fixed_shapes_are_the_same(here, right):
    import torch

    from accel.static import StaticDecoder

    cache = here.new_cache()
    here.prefill(IDS[:6], cache)
    decoder = StaticDecoder(here, 64, cache)
    assert decoder.model.ops is here.ops                # no operation of this engine asks for a count
    whole = right.logits(IDS[:9])
    for at in range(6, 9):                              # a block of 4 ends at 7
        static = decoder._step(torch.tensor([int(IDS[at])])).numpy()[0]
        decoder.memory.length += 1
        np.testing.assert_allclose(static, whole[at], err_msg=f"fixed shapes, {at}", **NEAR)
        np.testing.assert_allclose(here.step(IDS[at], cache), whole[at], err_msg=f"cache, {at}", **NEAR)


def test_deepseeks_numbers(interpreted):
    golden, model = np.load(DATA / "golden/official_exact/cases.npz"), load(DATA / "golden/official_exact", interpreted())
    np.testing.assert_allclose(model.logits(golden["ids"][:9]), golden["logits"][:9], **NEAR)


def test_a_matrix_of_another_width_is_refused_by_name(here):
    import torch
    with pytest.raises(Refused, match="wq_a"):
        here.ops.linear(torch.zeros(1, 7), here.weights.layers[0].attn.wq_a)
