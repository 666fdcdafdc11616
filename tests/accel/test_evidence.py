"""Labels say what was proven of today's source, and nothing more."""

import json
import os
from pathlib import Path

import pytest

from accel.checks import evidence
from accel.checks.finding import Finding
from accel.tiles import TARGETS
from v4mini.shapes import Refused

RECORD = Path(__file__).parents[2] / "data/accel/evidence.json"
FOUND = Finding("rope", "rope.rope", "sm_90a", "compiled", "", {"registers": 40})


def row(**changes):
    made = evidence.row_of(FOUND, {"triton": "3.7.1"}, "a command", "a machine") | changes
    return {**made, "seal": evidence._seal(made)}


def test_a_row_survives_the_file(tmp_path):
    evidence.write(tmp_path / "e.json", [row()])
    assert evidence.read(tmp_path / "e.json") == [row()]
    assert evidence.labels(evidence.read(tmp_path / "e.json"))["rope"]["sm_90a"] == "compiled"


def test_a_kernel_that_changed_since_is_stale(monkeypatch, tmp_path):
    evidence.write(tmp_path / "e.json", [row()])
    monkeypatch.setattr(evidence.source, "digest", lambda kernel, target: "another")
    assert evidence.labels(evidence.read(tmp_path / "e.json"))["rope"]["sm_90a"] == "stale: was compiled"
    with pytest.raises(Refused, match="rows of these kernels"):
        evidence.add(tmp_path / "e.json", tmp_path / "into.json")


def test_a_row_altered_by_hand_is_refused(tmp_path):
    evidence.write(tmp_path / "e.json", [row()])
    text = (tmp_path / "e.json").read_text().replace('"compiled"', '"measured"')
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(Refused, match="altered"):
        evidence.read(tmp_path / "e.json")


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"format": "v4mini evidence 1", "rows": [3]}', '{"format": "v4mini evidence 1", "rows": [{"case": "x"}]}'])
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "e.json").write_text(text)
    with pytest.raises(Refused, match="expected"):
        evidence.read(tmp_path / "e.json")


@pytest.mark.parametrize("change", [{"case": ["rope"]}, {"versions": 3}, {"versions": {"triton": []}}, {"kernel": "norm.norm"},
                                    {"machine": None}, {"date": 7}, {"numbers": []}, {"level": {}}])
def test_rows_of_other_types_are_refused_whoever_sealed_them(tmp_path, change):
    made = {name: value for name, value in row().items() if name != "seal"} | change
    evidence.write(tmp_path / "e.json", [row()])
    file = {"format": evidence.FORMAT, "rows": [made | {"seal": evidence._seal(made)}]}
    (tmp_path / "e.json").write_text(json.dumps(file))
    with pytest.raises(Refused, match="known case"):
        evidence.read(tmp_path / "e.json")


@pytest.mark.parametrize("put, words", [(os.mkfifo, "a pipe"), (os.mkdir, "a folder"),
                                        (lambda path: path.write_bytes(b"[" * 100_000), "nested too deeply"),
                                        (lambda path: path.touch() or os.truncate(path, 1 << 28), "at most")])
def test_a_file_that_is_none_is_refused_unread(tmp_path, put, words):
    put(tmp_path / "e.json")
    with pytest.raises(Refused, match=words):
        evidence.read(tmp_path / "e.json")


def test_rows_of_a_device_replace_those_of_a_compiler(tmp_path):
    other = row(target="sm_100a", source=evidence.source.digest("rope.rope", "sm_100a"))
    evidence.write(tmp_path / "record.json", [row(), other])
    evidence.write(tmp_path / "selftest.json", [row(level="measured", machine="a GPU")])
    assert evidence.add(tmp_path / "selftest.json", tmp_path / "record.json") == 1
    labels = evidence.labels(evidence.read(tmp_path / "record.json"))["rope"]
    assert (labels["sm_90a"], labels["sm_100a"], labels["ascend950"]) == ("measured", "compiled", "unrun")


def test_the_committed_record_is_of_these_kernels():
    rows = evidence.read(RECORD)
    stale = [f"{one['case']} on {one['target']}" for one in rows if evidence.is_stale(one)]
    assert not stale, f"run `python -m accel check --record` for {stale}"
    assert {one["target"] for one in rows} == set(TARGETS)


def test_no_chip_is_called_measured_that_was_not_here():
    """A row of a chip says `measured` only if selftest wrote it, on a device with that chip's name."""
    for one in evidence.read(RECORD):
        if one["level"] == "measured" and one["target"] != "interpreter":
            assert one["command"] == "python -m accel selftest"
            assert "NVIDIA" in one["machine"] or "Ascend" in one["machine"]
    assert json.loads(RECORD.read_text())["format"] == evidence.FORMAT


def test_a_selftest_that_is_stopped_or_fails_keeps_what_was_done(tmp_path):
    from accel.cli.selftest import kept

    def run(case):
        if case == "rms_norm":
            raise KeyboardInterrupt
        return FOUND._replace(case=case, problem="wrong" if case == "hc_post" else "", kernel=evidence.KERNEL[case])

    def keep(findings):
        evidence.write(tmp_path / "e.json", [evidence.row_of(one, {}, "c", "m") for one in findings if not one.problem])
    findings, is_whole = kept(["rope", "hc_post", "index scores", "rms_norm", "hc_pre"], run, keep)
    assert [one.case for one in findings] == ["rope", "hc_post", "index scores"] and not is_whole
    assert [one["case"] for one in evidence.read(tmp_path / "e.json")] == ["index scores", "rope"]
