"""Receipts: what is in them, that they can be made again here, and that a changed one is found out."""

import copy
import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.proof import Verdict
from v4mini.proof.receipt import check_form, differences, digest, make_receipt, options_of
from v4mini.shapes import Refused

GOLDEN = Path(__file__).parents[2] / "data" / "golden"
OPTIONS = {"backend": "numpy", "hf": False, "configs": 5}
VERDICTS = [Verdict("exact logits", 301, 4e-6, 1e-4, "largest"), Verdict("exact picks", 301, 0.0, 0.0, "differs"),
            Verdict("exact mtp", 300, 5e-6, 1e-4, "largest")]


@pytest.fixture(scope="module")
def receipt():
    return make_receipt(VERDICTS, OPTIONS, GOLDEN)


def changed(receipt, change):                           # as a forger would: with a digest that fits again
    found = copy.deepcopy(receipt)
    change(found)
    return found | {"digest": digest(found)}


def test_what_is_in_it(receipt):
    check_form(json.loads(json.dumps(receipt)))
    wanted = hashlib.sha256((GOLDEN / "official_exact" / "cases.npz").read_bytes()).hexdigest()
    assert receipt["inputs"]["official_exact/cases.npz"] == wanted and "official_released/model.safetensors" in receipt["inputs"]
    assert receipt["largest"]["largest"] == {"case": "exact mtp", "difference": 5e-6, "bound": 1e-4} and receipt["holds"]
    assert receipt["versions"]["numpy"] and receipt["machine"]["cores"] and len(receipt["code"]) == 64
    assert any("160 GB" in words for words in receipt["does_not_claim"]) and options_of(receipt) == OPTIONS


def test_one_made_here_holds_here(receipt):
    assert differences(receipt, make_receipt(VERDICTS, OPTIONS, GOLDEN)) == ([], [])


FORGED = {
    "a smaller difference": (lambda r: r["compared"][0].update(difference=1e-9), "off by 1e-09 there, 4e-06 here"),
    "a wider bound": (lambda r: r["compared"][0].update(bound=1.0), "its bound is 1, ours 0.0001"),
    "a failure called a success": (lambda r: r["compared"][0].update(difference=0.5), "its verdict is not what its numbers say"),
    "a case left out": (lambda r: r["compared"].pop(1), "exact picks: compared here only"),
    "a case made up": (lambda r: r["compared"].append(r["compared"][0] | {"case": "flash"}), "flash: compared there only"),
    "a case twice": (lambda r: r["compared"].append(r["compared"][0]), "a case stands there twice"),
    "other inputs": (lambda r: r["inputs"].update({"official_exact/cases.npz": "0" * 64}), "its digest is another one here"),
    "an input more": (lambda r: r["inputs"].update({"flash.safetensors": "0" * 64}), "flash.safetensors: its digest"),
    "not finite": (lambda r: r["compared"][0].update(difference=float("nan"), passed=True), "its difference is nan"),
    "negative": (lambda r: r["compared"][0].update(difference=-1.0), "its difference is -1"),
    "another largest": (lambda r: r["largest"]["largest"].update(difference=1e-9), "largest: not what its own rows say"),
    "said to fail": (lambda r: r.update(holds=False), "holds: not what its own rows say"),
    "a failure": (lambda r: r["compared"][0].update(difference=0.5, passed=False), "it failed there"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_one_does_not_hold_though_its_digest_fits(receipt, what):
    change, words = FORGED[what]
    forged = changed(receipt, change)
    check_form(forged)
    against, _ = differences(forged, receipt)
    assert any(words in sentence for sentence in against), against


def test_other_machines_and_versions_are_told_and_not_held_against_it(receipt):
    other = changed(receipt, lambda r: (r["machine"].update(processor="another"), r["versions"].update(numpy="9"),
                                        r["compared"][0].update(difference=6e-6), r["largest"].update(
                                            largest={"case": "exact logits", "difference": 6e-6, "bound": 1e-4})))
    against, told = differences(other, receipt)
    assert against == [] and [sentence.split(":")[0] for sentence in told] == ["versions", "machine"]


def test_failing_here_is_held_against_it(receipt):
    own = make_receipt([Verdict("exact logits", 301, 1.0, 1e-4, "largest"), *VERDICTS[1:]], OPTIONS, GOLDEN)
    assert any("it fails here" in sentence for sentence in differences(receipt, own)[0])


@pytest.mark.parametrize("change, words", [
    (lambda r: r.update(made="yesterday"), "It was changed after it was made"),
    (lambda r: r["compared"][0].update(difference=1e-9), "It was changed after it was made"),
    (lambda r: r.pop("inputs"), "expected inputs as dict"), (lambda r: r.update(more=1), "and its fields"),
    (lambda r: r.update(format="2"), "expected format"), (lambda r: r.update(compared=[1]), "expected rows of case"),
    (lambda r: r.update(holds="yes"), "expected holds as bool"),
])
def test_a_changed_file_is_refused(receipt, change, words):
    found = copy.deepcopy(receipt)
    change(found)
    with pytest.raises(Refused, match=words):
        check_form(found)


@pytest.mark.parametrize("options", [{}, OPTIONS | {"configs": 10**9}, OPTIONS | {"hf": 1}, OPTIONS | {"more": 1}])
def test_options_that_are_none_are_refused(receipt, options):
    with pytest.raises(Refused, match="expected"):
        options_of(receipt | {"options": options})


def test_the_command_makes_one_and_checks_it(tmp_path, monkeypatch):
    monkeypatch.setattr("v4mini.proof.golden.verify_golden", lambda folder, backend: iter(VERDICTS[:2]))
    monkeypatch.setattr("v4mini.proof.drafts.verify_drafts", lambda folder, backend: iter(VERDICTS[2:]))

    def run(*arguments):
        return CliRunner().invoke(main, ["verify", *map(str, arguments)])
    path = tmp_path / "receipt.json"
    path.write_text(run("--json").stdout)
    held = run("--against", path)
    assert held.exit_code == 0 and "The receipt holds: 3 comparisons made again" in held.stdout
    assert json.loads(run("--against", path, "--json").stdout)["holds"]
    forged = changed(json.loads(path.read_text()), FORGED["a smaller difference"][0])
    path.write_text(json.dumps(forged))
    found = run("--against", path)
    assert found.exit_code == 1 and "does not hold" in found.stdout
    path.write_text(path.read_text().replace("exact mtp", "exact mpt"))
    assert run("--against", path).exit_code == 2
    for other in (tmp_path / "none.json", tmp_path, __file__):
        assert run("--against", other).exit_code == 2
