"""The texts of a release are read from its source, which is never run; anything else is refused."""

import json
from pathlib import Path

import pytest

from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.instructions import MINI, Instructions, instructions_for, load_instructions
from v4mini.text.marks import spelled
from v4mini.text.special import DSML, THINK
from v4mini.text.tokenizer import Tokenizer

DATA = Path(__file__).parents[2] / "data"
TOKENIZER = Tokenizer.load(DATA / "mini")
# made up, in the form of the release's file
FIRST = '''
"""Docstring."""
import os
os.environ["THIS_FILE_WAS_RUN"] = "yes"
dsml_token: str = "｜DSML｜"
eos_template = "{content}" + dsml_token
a = b = "two names"
REASONING_EFFORT_MAX = (
    "Think hard.\\n"
    "Harder.\\n\\n"
)
response_format_template: str = "JSON:\\n{schema}"
TOOLS_TEMPLATE = """Call so: <{dsml_token}tool_calls> after {thinking_start_token}..{thinking_end_token}
{tool_schemas}
"""
raise SystemExit("never reached")
'''
LATER = FIRST.replace("REASONING_EFFORT_MAX = (", 'REASONING_EFFORT_PROMPTS: dict = {"low": "", "high": "H ", "max": (').replace(
    "Harder.\\n\\n\"\n)", "Harder.\\n\\n\"\n)}")


@pytest.fixture
def release(tmp_path):
    def write(source):
        (tmp_path / "encoding").mkdir(exist_ok=True)
        (tmp_path / "encoding" / "encoding_dsv4.py").write_text(source, encoding="utf-8")
        return tmp_path
    return write


def test_the_first_release_has_one_effort(release, monkeypatch):
    monkeypatch.delenv("THIS_FILE_WAS_RUN", raising=False)
    folder = release(FIRST)
    found = load_instructions(folder)
    assert found.efforts == {"high": "", "max": "Think hard.\nHarder.\n\n"}
    assert found.source == str(folder / "encoding" / "encoding_dsv4.py")
    assert spelled(found.with_tools(["{1}", "{2}"])) == "Call so: <｜DSML｜tool_calls> after <think>..</think>\n{1}\n{2}\n"
    assert found.with_schema('{"a": 1}') == 'JSON:\n{"a": 1}'
    assert found == load_instructions(folder / "encoding" / "encoding_dsv4.py") == instructions_for(folder)
    import os
    assert "THIS_FILE_WAS_RUN" not in os.environ


def test_later_ones_have_three(release):
    found = load_instructions(release(LATER))
    assert found.efforts == {"low": "", "high": "H ", "max": "Think hard.\nHarder.\n\n"}
    prompt = encode_chat([{"role": "user", "content": "?"}], True, effort="high", instructions=found)
    assert prompt.text == "<｜begin▁of▁sentence｜>H <｜User｜>?<｜Assistant｜><think>"


def test_a_folder_without_them_has_the_short_ones(tmp_path):
    assert instructions_for(tmp_path) is MINI and instructions_for(DATA / "mini") is MINI
    with pytest.raises(Refused, match="no such file. Name a folder of the release"):
        load_instructions(tmp_path)


def test_special_tokens_of_an_instruction_are_tokens_those_of_a_schema_are_letters():
    tool = {"type": "function", "function": {"name": "now", "description": f"{DSML} {THINK}"}}
    ids = encode_chat([{"role": "system", "content": "", "tools": [tool]}]).ids(TOKENIZER)
    assert ids.count(TOKENIZER.special[DSML]) == MINI.tools.count("{dsml_token}") == 8
    assert TOKENIZER.special[THINK] not in ids and f'"{DSML} {THINK}"' in TOKENIZER.decode(ids)


def test_a_special_token_may_also_stand_in_an_instruction_by_its_name(release):
    found = load_instructions(release(FIRST.replace("{thinking_start_token}", "<think>")))
    tool = {"type": "function", "function": {"name": "now"}}
    ids = encode_chat([{"role": "system", "content": "", "tools": [tool]}], instructions=found).ids(TOKENIZER)
    assert ids.count(TOKENIZER.special[THINK]) == 1


def test_the_short_example_of_a_call_is_one_that_can_be_parsed():
    from v4mini.text.parse import parse_answer
    text = spelled(MINI.with_tools([])).split("like this one:")[1].split("\n\nThe tools")[0]
    with pytest.raises(Refused, match="twice"):                     # KEY stands for any name
        parse_answer(text.replace("any other JSON value", "1") + "<｜end▁of▁sentence｜>")
    text = text.replace("KEY", "A", 1).replace("any other JSON value", "1")
    (call,) = parse_answer(text + "<｜end▁of▁sentence｜>")["tool_calls"]
    assert call["function"]["name"] == "NAME" and json.loads(call["function"]["arguments"]) == {"A": "any text", "KEY": 1}


BROKEN = {
    "empty": ("", "called TOOLS_TEMPLATE"),
    "another program": ("print('hello')", "called TOOLS_TEMPLATE"),
    "no effort": (FIRST.replace("REASONING_EFFORT_MAX", "EFFORT"), "called REASONING_EFFORT"),
    "effort is no text": (LATER.replace('"H "', "5"), "called REASONING_EFFORT"),
    "effort is computed": (FIRST.replace("REASONING_EFFORT_MAX = (", "REASONING_EFFORT_MAX = str("), "called REASONING_EFFORT"),
    "template is computed": (FIRST.replace('TOOLS_TEMPLATE = """', 'TOOLS_TEMPLATE = f"""'), "called TOOLS_TEMPLATE"),
    "template is bytes": (FIRST.replace('"JSON:', 'b"JSON:'), "called response_format_template"),
    "no schemas": (FIRST.replace("{tool_schemas}", ""), r"expected \{tool_schemas\}"),
    "another field": (FIRST.replace("{dsml_token}", "{secret}"), "expected {tool_schemas}.*got .*secret"),
    "a look inside": (FIRST.replace("{dsml_token}", "{tool_schemas.__class__}"), "expected {tool_schemas}"),
    "a width": (FIRST.replace("{dsml_token}", "{dsml_token:>999999999}"), "expected {tool_schemas}"),
    "odd braces": (FIRST.replace("{dsml_token}", "{"), "expected {tool_schemas}"),
    "cut short": (FIRST[:FIRST.index("Harder")], "expected Python source"),
    "zeros": ("\0" * 9, "expected Python source"),
    "very deep": ("x = " + "(" * 5000, "expected Python source"),
    "too large": ("#" * (2**20 + 1), "at most 1,048,576 bytes"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_encoding_of_v4_is_refused(release, what):
    source, words = BROKEN[what]
    with pytest.raises(Refused, match=words.replace("{", r"\{").replace("\\\\{", r"\{")):
        load_instructions(release(source))


def test_what_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "encoding" / "encoding_dsv4.py").mkdir(parents=True)
    with pytest.raises(Refused, match="expected a regular file, got .*, which is a folder"):
        load_instructions(tmp_path)
    (tmp_path / "latin.py").write_bytes(b"# \xff\xfe")
    with pytest.raises(Refused, match="expected Python source"):
        load_instructions(tmp_path / "latin.py")


def test_templates_are_checked_wherever_they_come_from():
    with pytest.raises(Refused, match="this test: expected"):
        Instructions("no field", "{schema}", {}, "this test")
