"""The golden cases hold on any processor, and formulas with a mistake in them do not pass."""

import numpy as np
import pytest

from v4mini.backend import Backend
from v4mini.config import Config
from v4mini.inference.load import load
from v4mini.numerics import blocks
from v4mini.proof import golden

FOLDER = golden.Path(__file__).parents[2] / "data" / "golden"
MISTAKES = {
    "cache rows are not rounded": (Backend, "round_kv", lambda self, rows, rope_head_dim: rows),
    "index rows are not rounded": (Backend, "round_index", lambda self, rows: rows),
    "activations are not rounded": (blocks, "round_activations", lambda x: x),
}


@pytest.fixture(scope="module")
def case():
    return dict(np.load(FOLDER / "official_released" / "cases.npz"))


@pytest.fixture(scope="module")
def model():
    return load(FOLDER / "official_released", "numpy", simulate="released", config=Config.load(FOLDER / "official_released"))


def test_some_run_is_as_near_as_the_script_is_to_itself(model, case):
    apart = golden._apart(golden.nearest(model, case), case["logits"])
    assert all(np.less_equal(apart, golden.floor(case))), apart


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_run_of_a_wrong_rounding_comes_so_near(mistake, monkeypatch, model, case):
    monkeypatch.setattr(*MISTAKES[mistake])
    apart = golden._apart(golden.nearest(model, case, count=8), case["logits"])
    assert not all(np.less_equal(apart, golden.floor(case))), apart


def test_runs_differ_in_their_last_bits_only(model, case):
    table = model.weights.embed.dense()
    plain, moved = golden.last_bit_runs(model, case["ids"][:8], count=2)
    assert np.abs(plain - moved).max() < 1e-3 * np.abs(plain).max() and not np.array_equal(plain, moved)
    np.testing.assert_array_equal(model.weights.embed.dense(), table)       # the model stays as it was


def test_the_floor_compares_the_same_positions(case):
    start = int(case["decode_from"])
    assert len(case["decode_logits"]) == len(case["logits"]) - start + 1
    np.testing.assert_allclose(golden.floor(case), (0.00704, 0.02326), rtol=1e-2)      # data/golden/README.md: 7e-3, 97.7%
