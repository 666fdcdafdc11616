"""One token's products with weights as they are stored, and their decoding, against sums of the decoded weights in float64."""

import numpy as np
import pytest
from kernels.stored import FORMATS, stored
from tolerances import OP

from v4mini.kernels import packed
from v4mini.shapes import Refused


@pytest.mark.parametrize("format", ["bf16", "fp8", "fp4"])
def test_decodes_bit_for_bit_from_any_row(rng, normal, format):
    weight = stored(normal, format, 150, 160)
    for start, stop in [(0, 150), (0, 0), (127, 129), (149, 150)]:
        np.testing.assert_array_equal(packed.rows(weight, start, stop).view(np.uint32), weight.rows(start, stop).view(np.uint32))


@pytest.mark.parametrize("format", ["bf16", "fp8", "fp4"])
@pytest.mark.parametrize("groups", [1, 3])
def test_groups_of_rows_meet_their_own_x(normal, format, groups, either_way):
    weight, x = stored(normal, format, groups * 128, 160), normal(groups, 160)
    out = np.full(groups * 128, np.nan, np.float32)
    packed.matvec(weight, x, out)
    dense = weight.dense().astype(np.float64).reshape(groups, 128, 160)
    np.testing.assert_allclose(out, np.einsum("gni,gi->gn", dense, x.astype(np.float64)).ravel(), **OP)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("shared", [True, False])
def test_alike_weights_with_one_x_or_their_own(normal, format, shared, either_way):
    weights = [stored(normal, format, 33, 96, keep) for keep in (False, True, False)]
    x = normal(1 if shared else 3, 96)
    wanted = [weight.dense().astype(np.float64) @ x[0 if shared else i] for i, weight in enumerate(weights)]
    np.testing.assert_allclose(packed.matvecs(weights, x), wanted, **OP)


def test_a_long_row_is_added_up_in_spans(normal):
    weight, x, out = normal(3, 1300), normal(1300), np.empty(3, np.float32)
    packed.dense_matvec(weight, x, out)
    np.testing.assert_allclose(out, weight.astype(np.float64) @ x, rtol=1e-5, atol=2e-5)


def test_shapes_that_do_not_fit_are_refused(normal):
    weight = stored(normal, "fp8", 5, 64)
    with pytest.raises(Refused, match="x: expected"):
        packed.matvec(weight, normal(1, 32), np.empty(5, np.float32))
    with pytest.raises(Refused, match="w: expected rows within 0..5, got 2..6"):
        packed.rows(weight, 2, 6)


def test_a_damaged_scale_is_refused(normal):
    weight = stored(normal, "fp4", 3, 32)
    weight.scale.view(np.uint8)[1] = 255
    with pytest.raises(Refused, match="w scale: NaN code"):
        packed.matvec(weight, normal(1, 32), np.empty(3, np.float32))
