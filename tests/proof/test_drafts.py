"""DSpark's golden rounds as `verify` runs them, and as other runtimes may use them."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.proof import drafts
from v4mini.proof.drafts import golden_rounds, verify_drafts
from v4mini.proof.vectors import judge_vectors
from v4mini.shapes import Refused

GOLDEN = Path(__file__).parents[2] / "data" / "golden"


@pytest.fixture(scope="module")
def golden():
    return golden_rounds(GOLDEN / "dspark")


def test_both_engines_draft_as_the_derivation_says():
    found = list(verify_drafts(GOLDEN))
    assert len(found) == 2 * 3 * 3 and all(verdict.passed for verdict in found)
    assert {verdict.case.rpartition(" ")[2] for verdict in found} == {"numpy", "numba"}


def test_a_drafter_that_is_off_fails(monkeypatch):
    right = drafts.rounds

    def early(model, ids, reads):                       # each round drafts behind the token before
        yield from right(model, ids, [n - 1 for n in reads])
    monkeypatch.setattr(drafts, "rounds", early)
    assert not any(verdict.passed for verdict in verify_drafts(GOLDEN) if "logits" in verdict.case)


def test_another_runtimes_rounds_are_judged(golden, tmp_path):
    right = {name: golden[name] for name in ("main_x_1", "base_1", "logits_1", "confidence_1", "drafts_1")}
    np.savez(tmp_path / "right.npz", **right)
    assert [verdict.passed for verdict in judge_vectors(GOLDEN, tmp_path / "right.npz")] == [True] * 5
    np.savez(tmp_path / "drafts.npz", drafts_1=golden["drafts_1"] + [0, 0, 1, 0, 0])
    (verdict,) = judge_vectors(GOLDEN, tmp_path / "drafts.npz")
    assert not verdict.passed and verdict.difference == pytest.approx(0.2)


def test_every_mistake_in_the_file_fails_and_is_named(golden, tmp_path):
    mistakes = sorted({name.split("/")[1] for name in golden if name.startswith("wrong/")})
    assert len(mistakes) == 16
    for mistake in mistakes:
        theirs = {f"{name}_{number}": golden[f"wrong/{mistake}/{name}_{number}"].astype(np.float32)
                  for name in ("logits", "confidence") for number in (1, 2)}
        np.savez(tmp_path / "theirs.npz", **theirs)
        failed = [verdict for verdict in judge_vectors(GOLDEN, tmp_path / "theirs.npz") if not verdict.passed]
        assert failed and all(f"as with `{mistake}`" in verdict.case for verdict in failed), mistake


def test_the_command_names_the_mistake(golden, tmp_path):
    np.savez(tmp_path / "theirs.npz", logits_1=golden["wrong/causal block/logits_1"])
    result = CliRunner().invoke(main, ["verify", "--vectors", str(tmp_path / "theirs.npz")])
    assert result.exit_code == 1 and "DSpark logits_1: as with `causal block`" in result.stdout and "0 of 1 hold" in result.stdout


def test_without_the_files_it_says_so(tmp_path):
    with pytest.raises(Refused, match=r"no .*cases.npz. Run from a checkout"):
        list(verify_drafts(tmp_path))
    np.savez(tmp_path / "x.npz", logits_1=np.zeros((5, 96)))
    with pytest.raises(Refused, match=r"logits_1: expected numbers of shape \[5, 97\]"):
        list(judge_vectors(GOLDEN, tmp_path / "x.npz"))
