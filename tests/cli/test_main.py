"""The command line as a user meets it: help, output, and one plain sentence for every mistake."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini.cli import main

DATA = Path(__file__).parents[2] / "data"


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_explains_itself(command):
    result = run(command, "--help")
    assert result.exit_code == 0 and len(result.output.splitlines()) > 4


def test_tour_shows_layers_experts_memory_and_text():
    result = run("tour")
    assert result.exit_code == 0, result.output
    for words in ("ten lines", "Its weights are trained", "chosen by the indexer", "hash 0", "bytes per token",
                  "continues 'import"):
        assert words in result.output


@pytest.mark.parametrize("preset, parameters, size", [
    ("flash", "284.332 B parameters, 13.270 B active", "159,609,485,896 bytes"),
    ("pro", "1,572.997 B parameters, 48.852 B active", "864,704,792,696 bytes")])
def test_inspect_counts_the_real_ones_from_the_config(preset, parameters, size):
    output = run("inspect", preset).output
    assert parameters in output and size in output


def test_inspect_reads_a_checkpoint_and_says_it_is_whole():
    result = run("inspect", DATA / "mini", "--tensors")
    assert result.exit_code == 0 and "Whole" in result.output and "layers.3.attn.indexer.wq_b.scale" in result.output
    assert json.loads(run("inspect", DATA / "mini", "--json").output)["problems"] == []


def test_inspect_lists_what_does_not_fit(tmp_path):
    fields = json.loads((DATA / "mini" / "config.json").read_text())
    fields["n_routed_experts"] = 9
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "model.safetensors").symlink_to(DATA / "mini" / "model.safetensors")
    result = run("inspect", tmp_path)
    assert result.exit_code == 1 and "missing: layers.0.ffn.experts.8.w1.weight" in result.output
    assert "wrong shape: layers.0.ffn.gate.weight wanted [9, 256], got [8, 256]" in result.output


def test_generate_text_and_ids():
    result = run("generate", "import numpy", "-n", 5, "--seed", 1)
    assert result.exit_code == 0 and "5 generated" in result.output
    again = run("generate", "import numpy", "-n", 5, "--seed", 1)
    assert again.output.rsplit("[", 1)[0] == result.output.rsplit("[", 1)[0]
    ids = run("generate", "0 17 4", "--ids", "-n", 3, "--temperature", 0)
    assert ids.exit_code == 0 and len(ids.output.split("[")[0].split()) == 3


def test_verify_holds():
    result = run("verify")
    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.output and "exact logits" in result.output


def test_verify_fails_loudly(tmp_path):
    import shutil

    shutil.copytree(DATA / "golden", tmp_path / "golden")
    path = tmp_path / "golden" / "official_exact" / "model.safetensors"
    raw = bytearray(path.read_bytes())
    (header,) = struct.unpack("<Q", raw[:8])
    place = json.loads(raw[8: 8 + header])["layers.3.attn.attn_sink"]["data_offsets"][0]
    raw[8 + header + place: 8 + header + place + 4] = struct.pack("<f", 3.0)
    path.write_bytes(raw)
    result = run("verify", "--golden", tmp_path / "golden")
    assert result.exit_code == 1 and "FAIL" in result.output


def test_doctor_finds_this_machine_fit():
    assert "engine numpy" in run("doctor").output
    assert all({"what", "found", "verdict"} == set(fact) for fact in json.loads(run("doctor", "--json").output))


@pytest.mark.parametrize("arguments, words", [
    (("generate", ""), "expected some text, got none"),
    (("generate", "5 99999", "--ids"), "expected 0 to 2047, got 99999"),
    (("generate", "5 -1", "--ids"), "expected 0 to 2047, got -1"),
    (("generate", "", "--ids"), "Is the prompt empty?"),
    (("generate", "five", "--ids"), "expected token ids"),
    (("generate", "x", "--model", "/nowhere"), "/nowhere"),
    (("generate", "x", "--top-p", "0"), "top_p: expected above 0"),
    (("generate", "x", "--temperature", "nan"), "temperature: expected 0 or more"),
    (("generate", "x", "-n", "2000000"), "max_seq_len"),
    (("generate", "x", "--backend", "abacus"), "backend: expected"),
    (("inspect", "nonsense"), "nonsense"),
    (("inspect", __file__), "safetensors"),
    (("verify", "--golden", "/nowhere"), "/nowhere"),
])
def test_a_mistake_gets_one_sentence_and_exit_2(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.output and "Traceback" not in result.output and result.output.startswith("v4mini: ")


def test_a_zero_length_header_or_another_file_is_refused(tmp_path):
    files = {"empty": b"", "short": b"\0\0\0", "pickle": b"\x80\x04\x95abc" * 9, "huge": struct.pack("<Q", 1 << 60) + b"{}"}
    for name, raw in files.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(raw)
        result = run("inspect", path)
        assert result.exit_code == 2 and result.output.count("\n") <= 2, result.output


def test_python_dash_m_does_what_v4mini_does():
    by_module = subprocess.run([sys.executable, "-m", "v4mini", "inspect", "flash"], capture_output=True, text=True)
    assert by_module.stdout == run("inspect", "flash").output and by_module.returncode == 0
    usage = subprocess.run([sys.executable, "-m", "v4mini", "--help"], capture_output=True, text=True, check=True).stdout
    assert usage.startswith("Usage: v4mini ")


def test_options_of_jupyter_pass_through(monkeypatch):
    asked = []
    monkeypatch.setattr("subprocess.call", lambda command, **_: asked.append(command) or 0)
    assert run("lab", "--no-browser", "--port=9999", "-y", "--ip", "0.0.0.0").exit_code == 0
    assert asked[0][-6:] == ["00_start_here.ipynb", "--no-browser", "--port=9999", "-y", "--ip", "0.0.0.0"]
    assert "Usage: main lab" in run("lab", "--help").output and len(asked) == 1


def test_a_config_alone_is_inspected():
    assert run("inspect", DATA / "mini" / "config.json").output.split(":", 1)[1] == run("inspect", "mini").output.split(":", 1)[1]


def commands_with_json():
    groups = [(name, command) for name, command in main.commands.items()]
    found = [((name,), command) for name, command in groups]
    found += [((name, below), command) for name, group in groups for below, command in getattr(group, "commands", {}).items()]
    return [names for names, command in found if any("--json" in option.opts for option in command.params)]


@pytest.mark.parametrize("names", commands_with_json(), ids=" ".join)
def test_what_json_gives_is_described(names):
    assert "--json gives" in run(*names, "--help").output
