"""Messages of several lines, conversations in files, tools: what a chat takes besides one line and one answer."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import v4mini as v4
from v4mini.cli import main
from v4mini.cli.chat_commands import questions
from v4mini.machine import resident_bytes
from v4mini.numerics.matrix import Matrix
from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.conversation_file import file_text, from_file
from v4mini.text.dsml import write_calls
from v4mini.text.instructions import MINI

MINI_FOLDER = Path(__file__).parents[2] / "data" / "mini"
CALLS = [{"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": '{"city": "Paris"}'}}
         for n, name in enumerate(("weather", "now"))]


class Talk:
    def __init__(self, *messages):
        self.messages = list(messages)
        self.settings = {"thinking": False, "effort": None, "drop_thinking": True, "instructions": MINI}


def run(text, *arguments):
    return CliRunner().invoke(main, ["chat", "--backend", "numpy", "-n", "3", *map(str, arguments)], input=text)


def asked(*lines, talk=None):
    return list(questions(talk or Talk(), lines))


def test_messages_of_several_lines():
    assert asked('"""def f(x):', "    return x", '"""', "", "one") == ["def f(x):\n    return x", "one"]
    assert asked('"""one line"""', '"""', "a", "", 'b"""', '""" """') == ["one line", "a\n\nb"]
    assert asked('"""', "/quit", "no end") == ["/quit\nno end"], "the end of all lines ends it"
    assert asked("//etc", "/quit", "never") == ["/etc"]


def test_all_of_stdin_as_one_message():
    one = json.loads(run("def f(x):\n\n    return x\n", "--whole", "--json").stdout)
    same = json.loads(run('"""def f(x):\n\n    return x\n\n"""\n', "--json").stdout)
    assert one["read"] >= same["read"] and one["kept"] == 0 and run(" \n", "--whole").stdout == ""


def test_a_conversation_goes_on_from_its_file_as_if_it_had_never_stopped(tmp_path):
    path = tmp_path / "talk.json"
    first = run(f"Hello\n/save {path}\nAgain\n", "--json", "--temperature", 0, "--system", "Be brief.").stdout.splitlines()
    later = run(f"/load {path}\nAgain\n", "--json", "--temperature", 0).stdout
    assert json.loads(later)["content"] == json.loads(first[1])["content"]
    assert [m["role"] for m in json.loads(path.read_text())["messages"]] == ["system", "user", "assistant"]


def test_saving_keeps_every_setting_and_message():
    talk = Talk({"role": "system", "content": "s", "tools": [{"type": "function", "function": {"name": "now"}}]},
                {"role": "user", "content": "日本 \u2028 \x1b[2J"}, {"role": "assistant", "content": "", "tool_calls": CALLS})
    talk.settings |= {"thinking": True, "effort": "max", "drop_thinking": False}
    other = Talk({"role": "user", "content": "gone"})
    from_file(other, json.loads(file_text(talk)), "file")
    assert (other.messages, other.settings) == (talk.messages, talk.settings)


DAMAGED = {
    "another format": ({"format": "2"}, "expected a conversation that /save wrote"),
    "more fields": ({"more": 1}, "got the field 'more'"),
    "no messages": ({"messages": None}, "expected a list of messages"),
    "no role": ({"messages": [{}]}, "expected a dict whose role"),
    "an order unknown": ({"messages": [{"role": "assistant", "content": "x"}]}, "expected a user before the assistant"),
    "thinking is a word": ({"thinking": "yes"}, "expected true or false as thinking"),
    "an effort of others": ({"thinking": True, "effort": "most"}, "expected an effort out of low, high, max"),
    "an effort without thinking": ({"effort": "high"}, "beside thinking"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_file_is_refused_and_the_conversation_stays(what, tmp_path):
    change, words = DAMAGED[what]
    path = tmp_path / "talk.json"
    path.write_text(json.dumps(json.loads(file_text(Talk({"role": "user", "content": "q"}))) | change))
    talk = Talk({"role": "user", "content": "mine"})
    before = file_text(talk)
    assert asked(f"/load {path}", talk=talk) == [] and file_text(talk) == before
    result = run(f"/load {path}\n")
    assert words in result.stderr and result.exit_code == 0


@pytest.mark.parametrize("text", ["/load", "/save", "/load /nowhere/x.json", "/save /nowhere/x.json", "/save /dev/null",
                                  "/load ."])
def test_a_file_that_is_none_is_one_sentence(text):
    result = run(f"{text}\nHello\n", "--json")
    assert result.exit_code == 0 and "v4mini: " in result.stderr and len(result.stdout.splitlines()) == 1, "and the chat goes on"


def test_results_of_tools_come_one_by_one_and_go_back_together():
    talk = Talk({"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": CALLS})
    (results,) = asked("/result 21 degrees", "/result noon", talk=talk)
    assert results == [{"role": "tool", "content": text, "tool_call_id": f"call_{n}"}
                       for n, text in enumerate(("21 degrees", "noon"))]
    assert "<tool_result>21 degrees</tool_result>\n\n<tool_result>noon" in encode_chat(talk.messages + results).text
    assert asked("/result of nothing", talk=Talk()) == []


def test_tools_are_told_to_the_model_and_calls_are_shown_apart(tmp_path, monkeypatch):
    from v4mini.text.marks import to_ids
    from v4mini.text.tokenizer import Tokenizer

    def scripted(model, ids, max_new_tokens, **_):
        yield from to_ids("Looking.\n\n" + write_calls(CALLS), Tokenizer.load(MINI_FOLDER))
    monkeypatch.setattr("v4mini.generate", scripted)
    (tmp_path / "tools.json").write_text(json.dumps({"tools": [{"type": "function", "function": {"name": "weather"}}]}))
    result = run("What weather?\n", "--tools", tmp_path / "tools.json", "-n", 500)
    assert result.stdout == "Looking.\n" and 'call weather {"city": "Paris"}' in result.stderr and "DSML" not in result.output
    (message,) = map(json.loads, run("q\n", "--json", "-n", 500).stdout.splitlines())
    assert [call["function"] for call in message["tool_calls"]] == [call["function"] for call in CALLS] and message["fault"] == ""


def test_wrong_tools_are_one_sentence(tmp_path):
    (tmp_path / "tools.json").write_text('{"tools": [{"name": "weather"}]}')
    result = run("", "--tools", tmp_path / "tools.json")
    assert result.exit_code == 2 and "tools: expected" in result.stderr


def test_a_chat_streams_a_model_that_is_larger_than_its_memory():
    beside = resident_bytes() + (1 << 30)               # this process holds more than a chat of its own would
    streamed, whole = (run("Hello\n", "--temperature", 0, *more) for more in (("--memory", beside), ()))
    assert streamed.stdout == whole.stdout and "[memory: peak" in streamed.stderr and "[memory" not in whole.stderr
    assert run("Hello\n", "--memory", "1").exit_code == 2


def test_an_error_ends_the_turn_and_not_the_conversation(monkeypatch):
    from v4mini.inference.generate import generate

    broken = iter([MemoryError(), OSError(5, "Input/output error"), FloatingPointError("not finite"), KeyError("layers.3"), None])

    def sometimes(*arguments, **more):
        error = next(broken)
        if error is not None:
            raise error
        return generate(*arguments, **more)
    monkeypatch.setattr("v4mini.generate", sometimes)
    result = run("a\nb\nc\nd\ne\n", "--json")
    assert result.exit_code == 2 and len(result.stdout.splitlines()) == 1
    words = "out of memory", "Input/output error", "FloatingPointError not finite. The conversation", "KeyError 'layers.3'"
    assert [word for word in words if word not in result.stderr] == [] and "Traceback" not in result.stderr


@pytest.mark.parametrize("temperature", [0, 1])
def test_numbers_that_are_none_end_the_turn_and_not_the_conversation(monkeypatch, tmp_path, temperature):
    model = v4.load(MINI_FOLDER, backend="numpy")
    codes, (row,) = np.array(model.weights.embed.codes), v4.Tokenizer.load(MINI_FOLDER).encode("\x07")
    codes[row, 3] = np.nan
    model.weights = replace(model.weights, embed=Matrix(codes, name="embed"))
    monkeypatch.setattr("v4mini.load", lambda *_, **__: model)
    result = run(f"Hello\n\x07\nAnd now?\n/save {tmp_path / 'talk.json'}\n", "--temperature", temperature, "-n", 3)
    assert result.exit_code == 2 and result.stderr.count(f"embed.weight has nan at [{row}, 3]") == 1
    assert result.stderr.count("tokens remembered") == 2 and "Traceback" not in result.stderr
    saved = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [message["role"] for message in saved] == ["user", "assistant"] * 2 and saved[2]["content"] == "And now?"
    once = CliRunner().invoke(main, ["generate", "a\x07", "--temperature", str(temperature)])
    assert once.exit_code == 2 and once.stdout == "" and once.stderr.startswith("v4mini: logits: expected finite numbers, got ")


@pytest.mark.parametrize("command", ["save", "load"])
def test_an_error_of_a_command_ends_the_command_alone(monkeypatch, command):
    def broken(*_):
        raise RuntimeError("the disk \x1b[2J is gone")
    monkeypatch.setattr(f"v4mini.cli.chat_commands.Commands.{command}", broken)
    result = run(f"/{command} x\nHello\n")
    assert result.exit_code == 0 and "RuntimeError the disk" in result.stderr and "\x1b" not in result.stderr
    assert "tokens remembered" in result.stderr


def chat(stdin, **more):
    code = "from v4mini.cli import main; main(['chat', '--backend', 'numpy', '-n', '2', '--json'])"
    return subprocess.run([sys.executable, "-c", code], stdin=stdin, capture_output=True, **more)


@pytest.mark.skipif(sys.platform == "win32", reason="closes a file descriptor before the command starts")
def test_a_closed_stdin_is_an_empty_one():
    result = chat(None, preexec_fn=lambda: os.close(0))
    assert result.returncode == 0 and result.stdout == b"" and b"Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["~nosuchuser/x.json", "none/x.json", ".", "\0"])
@pytest.mark.parametrize("command", ["/save", "/load"])
def test_a_name_that_is_no_place_is_one_sentence(name, command):
    from types import SimpleNamespace

    from v4mini.cli.chat_commands import Commands

    talk = SimpleNamespace(messages=[], settings={"thinking": False, "effort": None, "drop_thinking": True})
    with pytest.raises(Refused, match="cannot be written|no file|cannot read|regular file"):
        getattr(Commands(talk), command[1:])(name)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_bytes_that_are_no_text_are_replaced(tmp_path, encoding):
    (tmp_path / "in").write_bytes(b"caf\xe9 \xff\x81\nhello\n")
    with open(tmp_path / "in", "rb") as stdin:
        result = chat(stdin, env=os.environ | {"PYTHONIOENCODING": encoding})
    assert result.returncode == 0 and b"Traceback" not in result.stderr and len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize("encoding", ["cp1252", "cp437"])           # click takes "ascii" for a mistake and writes UTF-8
def test_what_the_terminal_cannot_show_is_replaced(encoding):
    shown, whole = (subprocess.run([sys.executable, "-m", "v4mini", "tour"], capture_output=True,
                                   env=os.environ | {"PYTHONIOENCODING": name}) for name in (encoding, "utf-8"))
    assert shown.returncode == 0 and shown.stderr == b""
    assert len(shown.stdout.decode(encoding)) == len(whole.stdout.decode()) and "?need" in shown.stdout.decode(encoding)


def test_odd_words_of_a_file_do_nothing_to_the_terminal(monkeypatch):
    import contextlib
    from types import SimpleNamespace

    monkeypatch.setattr("v4mini.weights.store.open_store",
                        lambda path: contextlib.nullcontext(SimpleNamespace(metadata={"weights": "\x1b[2J" + "x" * 999})))
    stderr = run("").stderr
    assert "⟨1b⟩[2J" in stderr and "\x1b" not in stderr and len(stderr) < 400
