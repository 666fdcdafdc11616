"""generate: prompts from files and stdin, and texts that end an answer."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from v4mini import Tokenizer
from v4mini.cli import main

TOKENIZER = Tokenizer.load(Path(__file__).parents[2] / "data" / "mini")
GREEDY = ("-n", "24", "--temperature", "0", "--backend", "numpy")


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, ["generate", *map(str, arguments)], input=stdin)


def test_the_same_prompt_from_all_three_places(tmp_path):
    prompt = "import os\nüber = 1\n\nclass "
    (tmp_path / "prompt.txt").write_bytes(prompt.encode())
    found = [run(*GREEDY, prompt), run(*GREEDY, "-", stdin=prompt.encode()),
             run(*GREEDY, "--prompt-file", tmp_path / "prompt.txt")]
    assert [result.exit_code for result in found] == [0, 0, 0] and len({result.stdout for result in found}) == 1


def test_a_prompt_longer_than_a_command_line(tmp_path):
    text = "x = 1\n" * 30_000                          # 180 kB: Linux takes 128 KiB in one argument
    result = run("-", "-n", 1, "--json", stdin=text.encode()[:20_000])
    assert json.loads(result.stdout)["prompt_ids"][1:] == TOKENIZER.encode(text[:20_000])


@pytest.mark.parametrize("arguments, stdin, words", [
    ((), None, "expected PROMPT or --prompt-file, got neither"),
    (("x", "--prompt-file", __file__), None, "got both"),
    (("-",), b"caf\xe9", "expected text in UTF-8, got stdin with other bytes at 3"),
    (("-",), b"", "expected some text, got none"),
    (("--prompt-file", "/nowhere.txt"), None, "no file /nowhere.txt"),
    (("--prompt-file", "."), None, "a folder"),
    (("x", "--stop", ""), None, "stop: expected some text"),
    (("1 2", "--ids", "--stop", "x"), None, "--stop: expected text"),
])
def test_a_mistake_is_one_sentence(arguments, stdin, words):
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 2 and words in result.stderr and len(result.stderr.splitlines()) == 1 and result.stdout == ""


def test_a_prompt_file_of_other_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfea")
    assert "expected text in UTF-8" in run("--prompt-file", tmp_path / "x").stderr


def test_every_stop_text_ends_the_answer_before_it_across_tokens():
    whole = json.loads(run(*GREEDY, "import numpy", "--json").stdout)["text"]
    assert len(whole) > 30
    for start in range(1, len(whole) - 4, 5):
        stop = whole[start: start + 4]
        result = json.loads(run(*GREEDY, "import numpy", "--stop", "§", "--stop", stop, "--json").stdout)
        assert result["text"] == whole[: whole.index(stop)] and result["stop"] == stop
        assert TOKENIZER.decode(result["ids"]).startswith(result["text"] + stop), "ids are all that were drawn"
        assert run(*GREEDY, "import numpy", "--stop", stop).stdout == result["text"] + "\n"


def test_without_its_stop_text_an_answer_is_whole():
    assert run(*GREEDY, "import numpy", "--stop", "never said").stdout == run(*GREEDY, "import numpy").stdout
