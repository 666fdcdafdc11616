"""`python -m accel` from the outside: helps, tables, refusals."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest

from accel.checks import evidence, workers
from accel.checks.cases import CASES
from accel.checks.finding import Finding
from accel.cli.bench import times_of
from v4mini.shapes import Refused

FOUND = Finding("rope", "rope.rope", "sm_90a", "compiled", "", {"registers": 40})


def run(*arguments, code=0):
    done = subprocess.run([sys.executable, "-m", "accel", *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done


@pytest.mark.parametrize("command", ["check", "plan", "schemas", "selftest", "doctor", "ranks", "bench", "evidence",
                                     "evidence add", "evidence show"])
def test_every_command_has_help(command):
    assert "--help" in run(*command.split(), "--help").stdout


def test_plan_shows_every_operation(tmp_path):
    labels = json.loads(run("plan", "--json").stdout)["labels"]
    assert list(labels) == list(CASES)
    text = run("plan").stdout
    assert all(case in text for case in CASES)
    nothing = json.loads(run("plan", "--evidence", str(tmp_path / "none.json"), "--json").stdout)["labels"]
    assert {label for row in nothing.values() for label in row.values()} == {"unrun"}


def test_doctor_says_what_to_try():
    rows = json.loads(run("doctor", "--json").stdout)
    assert {"torch", "triton", "CUDA device", "Ascend device", "CANN"} <= set(rows)
    assert all(row["is_ready"] or row["try"] for row in rows.values())


def test_targets_of_two_environments_are_refused_and_short_names_known():
    words = run("check", "--target", "sm_90", "--target", "sm_100", "--target", "ascend910b", code=2).stderr
    assert "one environment, got sm_90a, sm_100a, ascend910b" in words


@pytest.mark.parametrize("family,missing", [("interpreter", "triton"), ("nvidia", "triton"), ("ascend", "ascendnpuir")])
def test_where_its_compiler_is_missing_a_check_says_what_to_install(monkeypatch, family, missing):
    if find_spec(missing):
        pytest.skip(f"{missing} is here")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(Refused, match="Try .*python -m pip install"):
        workers.versions(family)


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "f.json").write_text("{}")
    assert "another form" in run("evidence", "add", str(tmp_path / "f.json"), code=2).stderr


@pytest.mark.parametrize("command", [("selftest", "--interpreter", "--out"), ("check", "--record", "--evidence")])
def test_a_record_that_cannot_be_written_is_refused_before_the_work(tmp_path, command):
    (tmp_path / "taken").write_text("x")
    words = run(*command, str(tmp_path / "taken" / "e.json"), code=2).stderr
    assert words.startswith("accel: ") and "cannot be made" in words and len(words.splitlines()) == 1


def test_names_of_strangers_are_shown_harmless(tmp_path):
    made = evidence.row_of(FOUND, {"triton": "3\x1b[2J"}, "a command", "a machine\x9b\u202e")
    evidence.write(tmp_path / "e.json", [made])
    said = run("evidence", "show", "--evidence", str(tmp_path / "e.json")).stdout
    assert "⟨1b⟩[2J" in said and "⟨c29b⟩⟨e280ae⟩" in said and not any(c in said for c in "\x1b\x9b\u202e")


def test_bench_measures_the_torch_engine():
    pytest.importorskip("torch")
    said = json.loads(run("bench", "--alone", "--tokens", "40", "--tokens", "70", "--repeats", "1", "--json").stdout)
    assert [(row["engine"], row["tokens"], row["failure"]) for row in said["results"]] == [("torch", 40, ""), ("torch", 70, "")]
    assert said["ratios"] == [] and all(row["seconds"] > 0 and row["peak_bytes"] > 10**7 for row in said["results"])


def test_bench_compares_where_both_finished():
    rows = [{"engine": engine, "tokens": tokens, "seconds": seconds}
            for engine, tokens, seconds in (("torch", 10, 2.0), ("hf", 10, 7.0), ("torch", 20, 3.0), ("hf", 20, None))]
    assert times_of(rows) == {10: 3.5}
