"""synth, replay, and generate with --memory and --trace, as a user meets them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini.cli import main
from v4mini.cli.streaming import Bytes
from v4mini.shapes import Refused

MINI = Path(__file__).parents[2] / "data" / "mini"
SAY = ("generate", "0 17 4 250 99", "--ids", "-n", 6, "--temperature", 0, "--backend", "numpy")


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def alone(*arguments):
    """In a process of its own: a memory limit holds for all that a process has, and that of the tests has much."""
    return subprocess.run([sys.executable, "-c", "from v4mini.cli import main; main()", *map(str, arguments)],
                          capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "two"
    result = run("synth", "--model", "mini", "--layers", 3, "--out", path, "--seed", 2)
    assert result.exit_code == 0, result.output
    assert "3 of 4 layers of mini" in result.output and "random weights, seed 2" in result.output
    return path


def test_what_synth_writes_is_whole(folder):
    result = run("inspect", folder)
    assert result.exit_code == 0 and "Whole" in result.output
    assert "MTP block: none" in result.output and len(list(folder.glob("*.safetensors"))) == 5


def test_synth_auto_takes_all_layers_where_they_fit(tmp_path):
    facts = json.loads(run("synth", "--model", "mini", "--mtp", "--out", tmp_path / "x", "--json").output)
    assert facts["layers"] == facts["of"] == 4 and (tmp_path / "x" / "model.safetensors.index.json").exists()
    drafting = run("generate", "5", "--ids", "-n", 3, "--model", tmp_path / "x", "--speculate", 1, "--backend", "numpy")
    assert drafting.exit_code == 0


def test_a_limited_run_says_the_same_and_tells_what_it_read(folder):
    full, limited = run(*SAY, "--model", folder), alone(*SAY, "--model", folder, "--memory", "250MB")
    assert full.exit_code == limited.returncode == 0, limited.stderr
    assert limited.stdout == full.stdout and len(full.stdout.split()) == 6
    assert re.search(r"\[memory: peak [\d.]+ MB of 250.00 MB; 24 slots", limited.stderr)
    assert re.search(r"\[experts: \d+ read of \d+, [\d.]+% hits", limited.stderr) and "stalled" in limited.stderr
    assert "experts" not in full.stderr


def test_json_holds_tokens_seconds_and_the_report(folder):
    plain = json.loads(run(*SAY, "--model", folder, "--json").stdout)
    limited = json.loads(alone(*SAY, "--model", folder, "--json", "--memory", "0.25GB", "--policy", "lru").stdout)
    assert plain["ids"] == limited["ids"] and len(limited["token_seconds"]) == 6 and plain["streaming"] is None
    report = limited["streaming"]
    assert report["limit"] == 250_000_000 and report["expert_reads"] <= report["expert_uses"]
    assert report["peak_resident_bytes"] > 1e7
    text = json.loads(run("generate", "import numpy", "-n", 3, "--backend", "numpy", "--json").stdout)
    assert isinstance(text["text"], str) and len(text["ids"]) == 3


def test_a_trace_is_written_and_replayed(folder, tmp_path):
    for more in ((), ("--memory", "250MB", "--policy", "lru")):
        result = alone(*SAY, "--model", folder, "--trace", tmp_path / "run.trace", *more)
        assert result.returncode == 0, result.stderr
        facts = json.loads(run("replay", tmp_path / "run.trace", "--capacity", "3x", "--capacity", "1MB", "--json").output)
        assert facts["tokens"] == 10 and facts["decoded"] == 5 and facts["expert_bytes"] == 52_224
        assert [row["experts"] for row in facts["results"]] == [3] * 5 + [19] * 5
        best = {row["experts"]: row["misses"] for row in facts["results"] if row["policy"] == "belady"}
        assert all(best[row["experts"]] <= row["misses"] <= row["uses"] == facts["uses"] for row in facts["results"])
    table = run("replay", tmp_path / "run.trace", "--policy", "belady", "--disk", folder, "--memory-rate", "5e0GB").output
    assert table.startswith("v4mini: memory-rate: expected a size")
    table = run("replay", tmp_path / "run.trace", "--policy", "belady", "--disk", folder, "--memory-rate", "5GB/s")
    assert table.exit_code == 0 and "belady" in table.output and "lru" not in table.output and "memory 5.00 GB/s" in table.output


def test_a_trace_without_decoded_tokens_is_replayed_too(tmp_path):
    assert run("generate", "x", "-n", 1, "--backend", "numpy", "--trace", tmp_path / "t").exit_code == 0
    result = run("replay", tmp_path / "t")
    assert result.exit_code == 0 and "0 of them decoded" in result.output


@pytest.mark.parametrize("text, number", [("8GiB", 8 << 30), ("3.5GB", 3_500_000_000), ("500 MB", 500_000_000), ("64", 64),
                                          ("2k", 2000), ("1KiB", 1024), ("2GB/s", 2_000_000_000), ("7b", 7)])
def test_sizes(text, number):
    import click

    assert Bytes().convert(text, click.Option(["--memory"]), None) == number


@pytest.mark.parametrize("text", ["", "GiB", "-1GB", "0GB", "8 gigs", "1e9", "nan", "8GiB GiB"])
def test_no_sizes(text):
    import click

    with pytest.raises(Refused, match="memory: expected a size such as 8GiB"):
        Bytes().convert(text, click.Option(["--memory"]), None)


@pytest.mark.parametrize("arguments, words", [
    (("generate", "x", "--memory", "1MB"), "memory: expected at least"),
    (("generate", "x", "--memory", "much"), "expected a size such as 8GiB"),
    (("generate", "x", "--memory", "8GiB", "--model", "/nowhere"), "/nowhere"),
    (("generate", "x", "-n", "1", "--backend", "numpy", "--trace", "/nowhere/t"), "/nowhere/t"),
    (("synth", "--model", "mini", "--layers", "5", "--out", "x"), "layers: expected auto, or 1 to 4, got '5'"),
    (("synth", "--model", "mini", "--layers", "some", "--out", "x"), "layers: expected auto"),
    (("synth", "--model", "mini", "--out", __file__), "expected a folder"),
    (("synth", "--model", "flash", "--layers", "43", "--out", "x", "--reserve", "9000TB"), "to stay free"),
    (("synth", "--model", "pro", "--out", "x", "--reserve", "9000TB"), "expected room for one layer"),
    (("replay", "/nowhere"), "there is no such file"),
    (("replay", __file__), "expected a routing trace"),
])
def test_a_mistake_gets_one_sentence_and_exit_2(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr and "Traceback" not in result.output and result.stderr.startswith("v4mini: ")
    assert not list(tmp_path.iterdir())


def test_a_capacity_too_small_or_unreadable_is_refused(tmp_path):
    run("generate", "x", "-n", 2, "--backend", "numpy", "--trace", tmp_path / "t")
    for text, words in (("1kB", "expected room for one expert, 52,224 bytes"), ("0x", "expected a size"),
                        ("many", "expected a size")):
        result = run("replay", tmp_path / "t", "--capacity", text)
        assert result.exit_code == 2 and words in result.output
