"""Against the release itself, where one is at hand: V4MINI_RELEASE names its folder, with encoding/ and tokenizer.json.

Without it these tests are skipped, and what is proven of the encoding is in test_chat.py: one published conversation by its
published hash, and the others written out. With it they fail rather than skip if something is missing there.
"""

import copy
import importlib.util
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.conversations import answers, conversations, ordinary

from v4mini.shapes import Refused
from v4mini.text.chat import encode_chat
from v4mini.text.instructions import load_instructions
from v4mini.text.parse import parse_answer
from v4mini.text.special import BOS, END_THINK, EOS, SPECIALS, THINK
from v4mini.text.tokenizer import Tokenizer

FOLDER = os.environ.get("V4MINI_RELEASE")
pytestmark = pytest.mark.skipif(not FOLDER, reason="V4MINI_RELEASE names no folder of a DeepSeek-V4 release")
ENCODING = Path(FOLDER or ".") / "encoding"


@pytest.fixture(scope="module")
def official():
    """The release's encoder as a module: here it is run, to be compared with. The library itself never runs it."""
    spec = importlib.util.spec_from_file_location("encoding_dsv4", ENCODING / "encoding_dsv4.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def instructions():
    return load_instructions(FOLDER)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_published_cases_give_the_published_bytes(number, instructions):
    case = json.loads((ENCODING / "tests" / f"test_input_{number}.json").read_text(encoding="utf-8"))
    wanted = (ENCODING / "tests" / f"test_output_{number}.txt").read_text(encoding="utf-8")
    messages = case if isinstance(case, list) else case["messages"]
    if isinstance(case, dict):
        messages[0]["tools"] = case["tools"]
    assert encode_chat(messages, thinking=number != 4, instructions=instructions).text == wanted


@given(data=st.data(), thinking=st.booleans(), drop=st.booleans(), bos=st.booleans())
def test_any_conversation_gives_the_same_bytes(official, instructions, data, thinking, drop, bos):
    messages = data.draw(conversations())
    effort = data.draw(st.sampled_from([None, *instructions.efforts]))
    cut = data.draw(st.integers(0, len(messages) - 1))
    context, rest = (messages[:cut], messages[cut:]) if messages[cut]["role"] == "user" else ([], messages)
    if messages[cut - 1]["role"] == "user" or cut == 0:
        context, rest = [], messages            # the release does not join user turns across this cut, and neither do we
    wanted = official.encode_messages(copy.deepcopy(rest), "thinking" if thinking else "chat", context=copy.deepcopy(context),
                                      drop_thinking=drop, add_default_bos_token=bos, reasoning_effort=effort)
    assert encode_chat(rest, thinking, effort, drop, context, instructions, bos).text == wanted


@given(message=answers(), thinking=st.booleans(), data=st.data())
def test_what_we_parse_the_release_parses_to_the_same(official, instructions, message, thinking, data):
    ask = [{"role": "user", "content": "?"}]
    text = encode_chat([*ask, message], thinking).text.removeprefix(encode_chat(ask, thinking).text)
    if data.draw(st.booleans()):                # damaged somewhere
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + data.draw(st.one_of(ordinary, st.sampled_from([BOS, EOS, THINK, END_THINK, "｜DSML｜", "<", '"'])))
        text += text[at + data.draw(st.integers(0, 20)):] + data.draw(st.sampled_from(["", EOS]))
    try:
        ours = parse_answer(text, thinking)
    except Refused:
        return                                  # we are stricter; never laxer
    assert ours == official.parse_message_from_completion_text(text, "thinking" if thinking else "chat")


def test_special_tokens_have_the_ids_of_the_release():
    path = Path(FOLDER) / "tokenizer.json"
    if not path.exists():
        pytest.skip("this folder has no tokenizer.json")
    special = Tokenizer.load(path).special
    assert {name: id for _, id, name in SPECIALS}.items() <= special.items()
