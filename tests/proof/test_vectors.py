"""The golden numbers as others may use them: right ones pass, each wrong variant fails, and files that are none are told."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.proof.golden import EXACT
from v4mini.proof.vectors import ARRAYS, WRONG, judge_vectors, right_model, wrong_variants
from v4mini.shapes import Refused

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDEN / "official_exact" / "cases.npz")


def test_every_wrong_variant_is_found_and_the_right_model_is_not(golden):
    right = float(np.abs(right_model(GOLDEN).logits(golden["ids"]) - golden["logits"]).max())
    found = dict(wrong_variants(GOLDEN))
    assert right < EXACT and set(found) == set(WRONG)
    assert {name: verdict.passed for name, verdict in found.items()} == dict.fromkeys(WRONG, False)
    assert min(verdict.difference for verdict in found.values()) > 10 * EXACT


def test_another_runtimes_numbers_are_judged(golden, tmp_path):
    theirs = {name: golden[name].astype(np.float64) + 5e-5 for name in ARRAYS}
    np.savez(tmp_path / "theirs.npz", **theirs)
    assert [verdict.passed for verdict in judge_vectors(GOLDEN, tmp_path / "theirs.npz")] == [True] * 3
    theirs["logits"][7, 3] += 1e-3
    np.savez(tmp_path / "theirs.npz", logits=theirs["logits"], more=np.arange(3))
    (verdict,) = judge_vectors(GOLDEN, tmp_path / "theirs.npz")
    assert not verdict.passed and verdict.case == "exact logits"
    result = CliRunner().invoke(main, ["verify", "--vectors", str(tmp_path / "theirs.npz")])
    assert result.exit_code == 1 and "FAIL" in result.stdout and "0 of 1 hold" in result.stdout


def test_numbers_that_are_none_fail(golden, tmp_path):
    np.savez(tmp_path / "nan.npz", logits=np.full_like(golden["logits"], np.nan))
    assert not next(judge_vectors(GOLDEN, tmp_path / "nan.npz")).passed


@pytest.mark.parametrize("arrays, words", [
    ({"other": np.zeros(3)}, "expected one of logits"),
    ({"logits": np.zeros((3, 192))}, r"expected numbers of shape \[301, 192\]"),
    ({"logits": np.array(["x"])}, "expected numbers of shape"), ({"logits": np.array([object()])}, "cannot read")])
def test_arrays_that_are_others_are_told(arrays, words, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(Refused, match=words):
        list(judge_vectors(GOLDEN, tmp_path / "x.npz"))


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04damaged", b"\x93NUMPY"])
def test_files_that_are_none_are_told(raw, tmp_path):
    (tmp_path / "x.npz").write_bytes(raw)
    for path in (tmp_path / "x.npz", tmp_path / "none.npz", tmp_path):
        with pytest.raises(Refused, match="vectors: "):
            list(judge_vectors(GOLDEN, path))
