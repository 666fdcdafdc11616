"""v4mini chat as its user meets it: with a pipe, with a terminal, with Ctrl-C, with mistakes."""

import contextlib
import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from v4mini.cli import main

MINI = Path(__file__).parents[2] / "data" / "mini"


def run(text, *arguments):
    return CliRunner().invoke(main, ["chat", "--backend", "numpy", "-n", "6", *map(str, arguments)], input=text)


def test_each_line_is_a_message_and_the_answer_goes_to_stdout_alone():
    result = run("Hello\n\nAnd then?\n", "--seed", 1)
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) >= 2 and "tokens remembered" not in result.stdout
    reports = re.findall(r"\[(\d+) tokens remembered, (\d+) read, (\d+) said", result.stderr)
    assert len(reports) == 2 and reports[0][0] == "0" and int(reports[1][0]) > 3 and {r[2] for r in reports} == {"6"}
    assert run("Hello\n\nAnd then?\n", "--seed", 1).stdout == result.stdout
    assert run("Hello\n\nAnd then?\n", "--seed", 2).stdout != result.stdout


def test_what_the_weights_are_is_said_by_the_file(monkeypatch):
    from v4mini.weights.store import open_store
    with open_store(MINI) as store:
        card = store.metadata["weights"]
    assert f"The weights of mini, as its file says: {card}." in run("").stderr

    def card_of(metadata):
        monkeypatch.setattr("v4mini.weights.store.open_store",
                            lambda path: contextlib.nullcontext(SimpleNamespace(metadata=metadata)))
        return run("").stderr
    assert "file says: random, seed 7. Expect noise." in card_of({"weights": "random, seed 7"})
    trained = card_of({"weights": "trained on the standard library"})
    assert "file says: trained on the standard library." in trained and "noise" not in trained
    assert card_of({}) == "", "a file that says nothing is not spoken for"


def test_thoughts_go_to_stderr():
    result = run("Hello\n", "--think", "--temperature", 0)
    assert "thinking: " in result.stderr and "thinking" not in result.stdout and result.stdout.strip() == ""


def test_json_gives_one_object_an_answer():
    first, second = map(json.loads, run("Hello\nAgain\n", "--json").stdout.splitlines())
    assert first["role"] == "assistant" and first["said"] == 6 and first["kept"] == 0 and not first["ended"]
    assert first["content"] and first["fault"].startswith("answer: expected") and second["kept"] > 0


def test_commands():
    typed = ("/help", "/system", "/system Be brief.", "/system", "Hello", "/reset", "/system", "Hello", "/nonsense x",
             "/quit", "never read")
    result = run("\n".join(typed) + "\n", "--json")
    assert result.exit_code == 0
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["read"] + first["kept"] == second["read"] + second["kept"], "after /reset it is the first message again"
    for words in ("/system TEXT", "There is none.", "Set.", "Be brief.", "Forgotten.", "/nonsense: expected /help, /reset"):
        assert words in result.stderr


def test_a_message_may_begin_with_a_slash():
    alone, doubled = (json.loads(run(text, "--json").stdout) for text in ("etc/hosts\n", "//etc/hosts\n"))
    assert doubled["read"] == alone["read"] + 1
    assert run("/etc/hosts\n", "--json").stdout == ""


def test_ctrl_c_stops_the_answer_and_not_the_conversation(monkeypatch):
    from v4mini.inference.generate import generate

    turns = []

    def interrupted(model, ids, max_new_tokens, **settings):
        turns.append(ids)
        for count, token in enumerate(generate(model, ids, max_new_tokens, **settings)):
            if len(turns) == 1 and count == 3:
                raise KeyboardInterrupt
            yield token
    monkeypatch.setattr("v4mini.inference.generate.generate", interrupted)
    result = run("Hello\nAgain\n")
    assert result.exit_code == 0 and "3 said, stopped" in result.stderr and "6 said, cut" in result.stderr


def test_ctrl_c_before_the_first_word_takes_the_message_back(monkeypatch):
    def never(*arguments, **settings):
        raise KeyboardInterrupt
        yield
    monkeypatch.setattr("v4mini.inference.generate.generate", never)
    result = run("Hello\n")
    assert result.exit_code == 0 and "your message is taken back" in result.stderr


@pytest.mark.parametrize("arguments, words", [
    (("--effort", "max"), "--effort: expected it beside --think"),
    (("--think", "--effort", "huge"), "--effort: expected one of low, high, max, got 'huge'"),
    (("--model", "/nowhere"), "/nowhere: no such checkpoint"),
    (("--top-p", "0"), "top_p: expected above 0"),
    (("--backend", "abacus"), "backend: expected"),
])
def test_a_mistake_gets_one_sentence_and_exit_2(arguments, words):
    result = run("Hello\n", *arguments)
    assert result.exit_code == 2 and result.output.startswith("v4mini: ") and words in result.output, result.output


def test_a_question_too_long_is_refused_and_the_next_one_answered():
    result = run("Hello\nAgain\n", "-n", "2000000")
    assert result.exit_code == 2 and result.stderr.count("max_seq_len") == 2 and "Traceback" not in result.output


def test_a_release_brings_its_own_instructions(tmp_path):
    shutil.copytree(MINI, tmp_path / "release")
    (tmp_path / "release" / "encoding").mkdir()
    (tmp_path / "release" / "encoding" / "encoding_dsv4.py").write_text(
        'TOOLS_TEMPLATE = "{tool_schemas}"\nresponse_format_template = "{schema}"\n'
        'REASONING_EFFORT_MAX = "' + "hard " * 50 + '"\n')
    theirs, ours = (json.loads(run("Hi\n", "--model", folder, "--think", "--effort", "max", "--json").stdout)
                    for folder in (tmp_path / "release", MINI))
    assert theirs["read"] > 50 > ours["read"]
    stderr = run("", "--model", tmp_path / "release", "--think", "--effort", "max").stderr
    assert "Instructions: " in stderr and "encoding_dsv4.py" in stderr


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_in_a_terminal_thoughts_are_dim_and_ctrl_c_leaves_the_conversation_alive():
    outer, inner = os.openpty()
    code = ("import fcntl, signal, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"    # its own terminal: Ctrl-C gets there
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"                 # a shell's background job ignores it
            "from v4mini.cli import main; main(['chat', '--backend', 'numpy', '--think', '-n', '100000', "
            "'--temperature', '0'])")                                               # so it says '*, *, *' without an end
    process = subprocess.Popen([sys.executable, "-c", code], stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
                               env=os.environ | {"TERM": "xterm"})
    os.close(inner)
    seen = b""

    def until(wanted, pressing=b""):                    # a Ctrl-C may come where nobody listens: press again
        nonlocal seen
        press, deadline = time.monotonic(), time.monotonic() + 300
        while wanted not in seen:
            assert time.monotonic() < deadline and process.poll() is None, seen[-2000:]
            if pressing and time.monotonic() >= press:
                os.write(outer, pressing)
                press += 2
            if select.select([outer], [], [], 0.1)[0]:
                seen += os.read(outer, 65536)
        seen = seen.split(wanted, 1)[1]
    try:
        until(b"> ")
        os.write(outer, b"Hello\n")
        until(b"\x1b[2mthinking: ")
        until(b"said, stopped", pressing=b"\x03")
        until(b"> ")
        until(b"/quit or Ctrl-D leaves.", pressing=b"\x03")
        os.write(outer, b"/quit\n")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        os.close(outer)
