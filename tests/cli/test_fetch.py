"""fetch and inspect as they are typed: what they say before, after, and when something is wrong."""

import json

import pytest
from click.testing import CliRunner
from weights.misbehaving import COMMIT

from v4mini.cli import main
from v4mini.cli.fetch import Size, human_seconds
from v4mini.weights.store import open_store


@pytest.fixture
def server(server, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._cache_assets.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.chdir(tmp_path)
    return server


@pytest.fixture
def run(server):
    def run(command, *arguments):
        more = ["--endpoint", server.endpoint] if command in ("fetch", "inspect") and "--endpoint" not in arguments else []
        return CliRunner().invoke(main, [command, *map(str, arguments), *more])
    return run


def test_a_gate_from_the_first_word_to_the_last(run, server, tmp_path):
    result = run("fetch", "hf://owner/name", "layers.3.ffn.gate")
    assert result.exit_code == 0, result.output
    for words in (COMMIT, "2 tensors: ", "in 3 ranges", "about 1 s if 10.00 MB come in a second", "layers.3.ffn.gate.safetensors",
                  "name-parts: 2 of 585 tensors are there", "held to the release's", "git SHA-1", "nothing",
                  "1 of 2 new files have no digest to be held to: right headers with wrong bytes would not be noticed there."):
        assert words in result.output
    assert set(open_store(tmp_path / "name-parts")) == {"layers.3.ffn.gate.weight", "layers.3.ffn.gate.bias"}
    looked = run("inspect", "name-parts", "--checksums")
    assert looked.exit_code == 1
    for words in ("A part of hf://owner/name at commit " + COMMIT, "gate weight", "Not whole: 583 tensors are missing",
                  "v4mini fetch hf://owner/name all"):
        assert words in looked.output
    again = run("fetch", "hf://owner/name", "layers.3.ffn.gate")
    assert again.exit_code == 0 and "0 tensors, 2 more are there: 0 bytes" in again.output


def test_inspection_from_afar(run, server):
    result = run("inspect", "hf://owner/name")
    assert result.exit_code == 0, result.output
    for words in (f"hf://owner/name@{COMMIT[:12]}: 6 layers", "which is the index's own total", "Whole: every tensor", "Read 1",
                  "9 requests"):
        assert words in result.output
    report = json.loads(run("inspect", "hf://owner/name", "--json").output)
    assert report["problems"] == [] and report["revision"] == COMMIT and len(report["tensors"]) == 585


def test_the_speed_of_the_headers_foretells_the_rest(run, monkeypatch):
    monkeypatch.setattr("v4mini.weights.remote.budget.TELLING", 1000)
    assert "a second, as the headers came" in run("fetch", "hf://owner/name", "layers.4", "--dry-run").output


def test_a_dry_run_writes_nothing(run, server, tmp_path):
    result = run("fetch", "hf://owner/name", "all", "--dry-run", "--into", "dry", "--json")
    told = json.loads(result.output)
    assert told["tensors"] == 585 and not told["fetched"] and not (tmp_path / "dry").exists()
    assert told["to_read"] == told["bytes"] == sum(len(raw) for name, raw in server.files.items() if "index" not in name)


def test_more_than_the_limit_wants_a_word(run, tmp_path):
    result = run("fetch", "hf://owner/name", "all", "--limit", "1MB", "--into", "much")
    assert result.exit_code == 2 and "expected 1.00 MB at most (headers included)" in result.output
    assert "say --limit 11MB" in result.output and not (tmp_path / "much").exists()
    assert run("fetch", "hf://owner/name", "all", "--limit", "11MB", "--into", "much").exit_code == 0
    assert "Whole: every tensor" in run("inspect", "much").output
    assert "5 generated" in run("generate", "0 1 2", "--ids", "-n", 5, "--model", "much", "--backend", "numpy").output


def test_it_is_said_of_every_file_what_it_could_be_held_to(run, server, tmp_path):
    told = json.loads(run("fetch", "hf://owner/name", "all", "--json", "--into", "whole").output)
    assert {file["compared"] for file in told["files"]} == {"sha256", "sha1"}
    parts = run("fetch", "hf://owner/name", "layers.5.ffn.experts.3", "--into", "parts")
    told = json.loads((tmp_path / "parts" / "fetched.json").read_text())
    assert parts.exit_code == 0 and set(told["compared"].values()) == {"sha1", ""}
    assert "1 of 2 new files have no digest" in parts.output
    assert "have no digest" not in run("fetch", "hf://owner/name", "all", "--into", "other").output
    words = " ".join(run("fetch", "--help").output.split())
    assert "For a part no digest exists" in words


def test_json_says_what_was_done(run):
    told = json.loads(run("fetch", "hf://owner/name", "norm", "--json").output)
    assert told["fetched"] and told["tensors"] == 1 and told["revision"] == COMMIT and told["into"] == "name-parts"


def test_a_part_of_a_folder(run, server, tmp_path):
    result = run("fetch", server.folder, "embed", "--into", "part")
    assert result.exit_code == 0 and "part: 1 of 585" in result.output
    assert "missing: layers.0" in run("generate", "0 1 2", "--ids", "--model", "part", "--backend", "numpy").output


def test_unfinished_files_are_named(run, server, tmp_path):
    server.faults += [("00001-of", "416")] * 9
    run("fetch", "hf://owner/name", "layers.3.ffn.gate")
    staged = tmp_path / "name-parts" / ".fetching" / "layers.4.safetensors.part"
    staged.write_bytes(b"1234")
    assert "Unfinished: layers.4.safetensors, 4 bytes so far" in run("inspect", "name-parts").output


def test_a_flipped_bit_is_a_problem(run, tmp_path):
    run("fetch", "hf://owner/name", "norm")
    path = tmp_path / "name-parts" / "norm.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x55")
    result = run("inspect", "name-parts", "--checksums")
    assert result.exit_code == 1 and "wrong checksum: norm.safetensors" in result.output


@pytest.mark.parametrize("arguments, words", [
    (("fetch", "hf://owner/name"), "parts: expected what to fetch, got nothing"),
    (("fetch", "hf://owner/name", "layers.3.ffn.gat"), "Did you mean layers.3.ffn.gate?"),
    (("fetch", "hf://owner/nam", "norm"), "nothing of that name (404)"),
    (("fetch", "hf://owner", "norm"), "expected hf://owner/name"),
    (("fetch", "nowhere", "norm"), "expected hf://owner/name or a folder"),
    (("fetch", "hf://owner/name", "norm", "--endpoint", "http://127.0.0.1:9"), "cannot be reached"),
    (("inspect", "hf://owner/name@v2"), "no such revision (404)"),
    (("inspect", "hf://owner/name", "--endpoint", "http://127.0.0.1:9"), "Is this machine online?"),
    (("inspect", "hf://owner/name", "--limit", "20kB"), "in all at most"),
    (("inspect", "mini", "--checksums"), "got none. Only v4mini fetch records them")])
def test_a_mistake_gets_one_sentence_and_exit_2(run, arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output and result.output.startswith("v4mini: ") and result.output.count("\n") == 1


def test_a_gated_repository_is_one_sentence(run, server):
    server.faults += [("00003", "gated")] * 9
    result = run("fetch", "hf://owner/name", "layers.3.ffn.gate")
    assert result.exit_code == 2 and "Ask for it on the repository's page, then log in with `hf auth login`." in result.output


@pytest.mark.parametrize("text, nbytes", [
    ("50MB", 50_000_000), ("3.6 GB", 3_600_000_000), ("1_000", 1000), ("7kB", 7000), ("9B", 9), ("0.5MB", 500_000), (12, 12)])
def test_sizes(text, nbytes):
    assert Size().convert(text, None, None) == nbytes


@pytest.mark.parametrize("text", ["", "much", "-5MB", "5XB", "MB", "1.2.3", "0x10"])
def test_sizes_that_are_none(run, text):
    result = run("fetch", "hf://owner/name", "norm", "--limit", text)
    assert result.exit_code == 2 and "expected a size such as 50MB" in result.output


def test_times():
    assert [human_seconds(s) for s in (0.01, 1.2, 89, 100, 3000, 7200)] == ["1 s", "2 s", "89 s", "2 min", "50 min", "2.0 h"]
