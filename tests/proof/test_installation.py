"""doctor and lesson 00 judge alike, and what is called ok has been tried."""

import importlib.metadata

import numpy as np
import pytest

from v4mini.kernels import compiled
from v4mini.kernels.folders import Folders
from v4mini.lessons import data_folder, machine
from v4mini.proof import installation
from v4mini.proof.installation import needs, report
from v4mini.shapes import Notice


def verdicts():
    return {fact["what"]: fact["verdict"] for fact in report(data_folder())}


@pytest.mark.parametrize("gib, fits", [(16, True), (3.7, True), (3, False), (0.5, False)])
def test_doctor_and_lesson_00_judge_memory_alike(monkeypatch, capsys, gib, fits):
    monkeypatch.setattr("v4mini.machine.memory_bytes", lambda: int(gib * 2**30))
    machine()
    assert ("memory" not in capsys.readouterr().out.splitlines()[-1]) == fits
    assert (verdicts()["memory"] == "ok") == fits


@pytest.mark.parametrize("cores, fits", [(2, True), (1, False)])
def test_and_cores(monkeypatch, capsys, cores, fits):
    monkeypatch.setattr("v4mini.machine.cores", lambda: cores)
    machine()
    assert ("cores" not in capsys.readouterr().out.splitlines()[-1]) == fits
    assert (verdicts()["cores"] == "ok") == fits


def test_what_a_package_must_be_is_read_from_pyproject(monkeypatch):
    lines = ["numpy>=1.26", "click>=99", 'transformers==5.23.0; extra == "parity"', 'matplotlib; extra == "lab"',
             'v4mini[lab]; extra == "test"']
    here = {"numpy": "2.1.0", "click": "8.1", "transformers": "5.24.1"}
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: lines)
    monkeypatch.setattr(installation, "_version", here.get)
    found = {need.what: (need.wanted, need.fault, need.is_basic) for need in needs(("lab", "parity"))}
    assert found["numpy"] == ("1.26 or newer", "", True) and found["click"] == ("99 or newer", "8.1", True)
    assert found["transformers"] == ("5.23.0 or newer", "", False) and found["matplotlib"] == ("any or newer", "missing", False)
    assert "v4mini" not in found and "transformers" not in {need.what for need in needs(("lab",))}
    assert verdicts()["click"] == "missing"
    assert verdicts()["matplotlib"].startswith('optional: python -m pip install -e ".[lab]"')


@pytest.mark.parametrize("fault", ["raises", "nan"])
def test_an_engine_that_cannot_compute_is_not_called_ok(monkeypatch, fault):
    def rms_norm(self, x, weight, eps):
        if fault == "raises":
            raise RuntimeError("cannot cache function")
        return np.full_like(x, np.nan)
    monkeypatch.setattr("v4mini.kernels.backend.NumbaBackend.rms_norm", rms_norm)
    words = {"raises": "missing: RuntimeError: cannot cache function", "nan": "missing: logits: expected finite numbers, got nan"}
    found = verdicts()
    assert found["engine numba"].startswith(words[fault]) and found["engine numpy"] == "ok"


def test_where_kernels_are_kept_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    good, blocked, private = tmp_path / "a", tmp_path / "file" / "a", tmp_path / "last"
    for place, last, words in ((good, private, "ok"),
                               (blocked, private, "temporary: set NUMBA_CACHE_DIR to a folder of your own"),
                               (blocked, blocked, "no folder can be written: kernels are compiled anew in every process")):
        kept = Folders([place], last, "v4mini-test")
        monkeypatch.setattr(compiled, "folders", lambda kept=kept: kept)
        if words == "ok":
            assert verdicts()["kernel cache"] == words
        else:
            with pytest.warns(Notice, match="cannot be written"):
                assert verdicts()["kernel cache"] == words
