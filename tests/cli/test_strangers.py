"""What strangers wrote never reaches a terminal raw, and what cannot be written is known before the work. By every command."""

import json
import os
import pty
import subprocess
import sys

import pytest
from hostile.typed import typed

from v4mini import Config, Refused, random_weights
from v4mini.lessons.places import data_folder
from v4mini.printable import printable, printable_json

ODD = "\x1b]0;t\x07\x9b2J\u202e\x7f"                     # retitles, clears, turns what follows around


def odd_copy(name, folder):             # data/NAME with ODD behind every text of its rows that no rule looks at
    def poisoned(value, key=""):
        if isinstance(value, dict):
            return {one: poisoned(inner, one) for one, inner in value.items()}
        if isinstance(value, list):
            return [poisoned(inner, key) for inner in value]
        return value + ODD if isinstance(value, str) and key in ("title", "source", "note", "claim", "by", "finding") else value
    made = poisoned(json.loads((data_folder() / name).read_text(encoding="utf-8")))
    path = folder / name
    path.write_text(json.dumps(made), encoding="utf-8")
    return path


@pytest.mark.parametrize("name, command", [
    ("machines.json", ("plan", "--list", "--machines")), ("machines.json", ("plan", "--machine", "h200x8", "--machines")),
    ("prices.json", ("cost", "ingest", "--prices")), ("claims.json", ("claims", "--claims"))])
def test_tables_of_strangers_are_harmless(tmp_path, name, command):
    path = odd_copy(name, tmp_path)
    said = typed(*command, path)
    assert not said.startswith("WRONG"), said
    assert "⟨1b⟩" in said
    assert repr(ODD)[1:-1] in str(json.loads(typed(*command, path, "--json")))      # a program gets every character


def test_a_checkpoint_of_odd_names_is_harmless(tmp_path):
    folder = random_weights(Config.tiny(), tmp_path / f"m{ODD[:-1]}")
    assert not typed("inspect", folder).startswith("WRONG")
    assert json.loads(typed("inspect", folder, "--json"))["name"] == str(folder)


def test_json_escapes_keep_every_character():
    value = {f"a{ODD}": ["b\n", "é", "\ud800", "\u2028"]}
    text = printable_json(json.dumps(value, ensure_ascii=False, indent=1))
    assert json.loads(text) == value
    assert printable(text, "\n") == text


def test_generated_text_reaches_no_terminal_raw(tmp_path):
    """A terminal, and a stranger's tokenizer whose tokens are what a terminal obeys."""
    code = ("import sys; from unittest import mock; from v4mini.cli import generate\n"
            "stream = type('Stream', (), {'put': lambda self, token: 'x\\x1b[2Jy', 'end': lambda self: ''})()\n"
            "from v4mini.text.stop import StopText\n"
            "generate._say(iter([1, 2]), stream, StopText(()), silent=False)\n")
    mine, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", code], stdout=theirs, stderr=subprocess.DEVNULL, check=True)
    os.close(theirs)
    assert os.read(mine, 1000).decode().strip() == "x⟨1b⟩[2Jy" * 2
    os.close(mine)


@pytest.mark.parametrize("command", [
    ("generate", "--ids", "1", "--trace"), ("bench", "kernels", "--plot"), ("bench", "prefill", "--plot"),
    ("bench", "decode", "--plot"), ("bench", "million", "--log")])
@pytest.mark.parametrize("place", ["none/x.png", ".", "pipe.png"])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, monkeypatch, command, place):
    def work(*_, **__):
        raise AssertionError("it began")
    for name in ("v4mini.load", "v4mini.bench.ceiling.ceilings", "v4mini.bench.million.million"):
        monkeypatch.setattr(name, work)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(Refused, match="expected|cannot be written"):
        typed(*command, tmp_path / place)


@pytest.mark.parametrize("name", ["x", "x.docx"])
def test_a_picture_of_an_unknown_kind_is_refused_before_the_work(tmp_path, monkeypatch, name):
    monkeypatch.setattr("v4mini.bench.ceiling.ceilings", None)
    with pytest.raises(Refused, match=r"\.png, \.svg or \.pdf"):
        typed("bench", "kernels", "--plot", tmp_path / name)


@pytest.mark.parametrize("arguments, begin", [(("--whole",), ""), ((), ""), ((), '"""\n')])
def test_a_message_without_end_is_refused(monkeypatch, arguments, begin):
    from click.testing import CliRunner

    from v4mini.cli import chat_commands, main

    monkeypatch.setattr(chat_commands, "LONGEST_MESSAGE", 1000)
    lines = "x" * 2000 if not begin else "y" * 400 + "\n"
    result = CliRunner().invoke(main, ["chat", "--backend", "numpy", "-n", "1", *arguments], input=begin + lines * 3)
    assert result.exit_code == 2 and "at most 1,000 letters" in result.output


@pytest.mark.parametrize("command", [
    ("plan", "--context", "9" * 400), ("plan", "--context", "9" * 400 + "M"), ("plan", "--disk", "9" * 400 + "GB"),
    ("plan", "--host-memory", "1" + "0" * 30), ("fetch", "here", "norm", "--limit", "9" * 400),
    ("bench", "prefill", "--lengths", "9" * 30), ("bench", "train", "--batches", "9" * 9 + "x" + "9" * 9)])
def test_numbers_beyond_any_machine_are_one_sentence(command):
    with pytest.raises(Refused, match="expected"):
        typed(*command)
