"""Training a vocabulary, and the texts it learns from."""

import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.text.bpe import LONGEST, tokenizer_config, train
from v4mini.text.special import SPECIALS
from v4mini.text.stdlib import PROSE, is_held_out, stdlib_texts
from v4mini.text.tokenizer import Tokenizer

FOLDER = Path(__file__).parents[2] / "data" / "mini"
TRAINED_WITH = "3.11.7"
SOME = ["def area(width, height):\n    return width * height\n", "The area of a rectangle is its width times its height.\n",
        "for number in range(100):\n    print(number, number * number)\n"] * 3


def bytes_per_token(tokenizer, texts):
    texts = list(texts)
    return sum(len(text.encode()) for text in texts) / sum(len(tokenizer.encode(text)) for text in texts)


def test_a_vocabulary_has_exactly_the_size_asked_for():
    tokenizer = Tokenizer(train(SOME, 300))
    assert tokenizer.vocab_size == 300
    assert tokenizer.special == {name: here for here, _, name in SPECIALS}
    assert bytes_per_token(tokenizer, SOME) > bytes_per_token(Tokenizer(train(SOME, 276)), SOME) == 1


def test_training_twice_gives_the_same_file():
    assert train(SOME, 330) == train(iter(SOME), 330)


def test_rulers_do_not_become_ever_longer_tokens():
    tokenizer = Tokenizer(train(["-" * 1000] * 9 + SOME, 330))
    ordinary = [tokenizer.token_bytes(id) for id in range(len(SPECIALS), 330)]
    assert b"-" * LONGEST in ordinary and max(map(len, ordinary)) == LONGEST


def test_text_unlike_anything_seen_still_encodes():
    tokenizer = Tokenizer(train(["aaaa"], 277))
    assert tokenizer.decode(tokenizer.encode("日本語 \0 ∀x ÿ")) == "日本語 \0 ∀x ÿ"


@pytest.mark.parametrize("size", [0, 275, -1, 300.0, "2048", None])
def test_a_vocabulary_too_small_for_all_bytes_is_refused(size):
    with pytest.raises(Refused, match="^train: vocab_size must be an integer of at least 276"):
        train(SOME, size)


def test_too_little_text_is_refused():
    with pytest.raises(Refused, match=r"^train: expected 2048 tokens, but the texts hold pairs for \d+ only"):
        train(SOME, 2048)


@pytest.mark.parametrize("texts", ["one text", [("name", "text")], [b"bytes"], [None]])
def test_what_are_no_texts_are_refused(texts):
    with pytest.raises(Refused, match="^train: expected an iterable of texts"):
        train(texts, 300)


# ---- the texts ----

def test_held_out_is_told_by_the_name_alone():
    assert [name for name in ("fractions", "mimetypes", "pty") if is_held_out(name)] == ["fractions", "mimetypes", "pty"]
    assert not any(map(is_held_out, ("os", "json", "random", PROSE)))


def test_about_one_module_in_twenty_is_held_out():
    share = sum(is_held_out(f"package{n // 50}.module{n}") for n in range(10_000)) / 10_000
    assert 0.04 < share < 0.06


def test_texts_are_the_library_in_order_without_tests():
    train_names, held_names = ([name for name, _ in stdlib_texts(held_out)] for held_out in (False, True))
    assert not set(train_names) & set(held_names)
    assert train_names == sorted(set(train_names)) and held_names == sorted(set(held_names))
    assert {"argparse", "json", "json.decoder", "asyncio.events"} <= {*train_names, *held_names}
    banned = {"test", "tests", "encodings", "tkinter", "site-packages"}
    assert not any(banned & set(name.split(".")) for name in train_names)
    assert 0.02 < len(held_names) / len(train_names + held_names) < 0.08


def test_texts_hold_english_prose_as_prose():
    prose = dict(stdlib_texts())[PROSE]
    assert "Assert statements are a convenient way to insert debugging assertions\ninto a program" in prose


# ---- the bundled vocabulary ----

def test_the_bundled_vocabulary_fits_the_bundled_model():
    tokenizer, config = Tokenizer.load(FOLDER), Config.mini()
    assert (tokenizer.vocab_size, tokenizer.bos_id, tokenizer.eos_id) == (config.vocab_size, config.bos_id, config.eos_id)
    assert (FOLDER / "tokenizer_config.json").read_text(encoding="utf-8") == tokenizer_config(config.max_seq_len)
    ordinary = range(len(SPECIALS), tokenizer.vocab_size)
    assert max(len(tokenizer.token_bytes(id)) for id in ordinary) <= LONGEST
    assert (FOLDER / "tokenizer.json").stat().st_size < 45_000


def test_the_bundled_vocabulary_shortens_code_it_never_saw():
    tokenizer = Tokenizer.load(FOLDER)
    held_out = bytes_per_token(tokenizer, (text for _, text in stdlib_texts(held_out=True)))
    assert held_out == pytest.approx(3.1, abs=0.2), "other Python versions hold other modules out"


def test_the_bundled_vocabulary_shortens_english():
    prose = ("A tokenizer turns text into numbers. It was trained on the sources of a programming language, so it knows "
             "the words that programmers use, and spells out the others in shorter pieces.")
    assert bytes_per_token(Tokenizer.load(FOLDER), [prose]) > 2.5


def test_the_bundled_file_has_the_rules_of_the_code():
    bundled, fresh = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8")), json.loads(train(SOME, 300))
    for file in (bundled, fresh):
        del file["model"]
    assert bundled == fresh


@pytest.mark.slow
@pytest.mark.skipif(platform.python_version() != TRAINED_WITH, reason=f"trained on the library of Python {TRAINED_WITH}")
def test_the_bundled_vocabulary_can_be_made_again():
    assert train((text for _, text in stdlib_texts()), 2048) == (FOLDER / "tokenizer.json").read_text(encoding="utf-8")


def test_importing_the_rooms_does_not_import_tokenizers():
    code = "import sys, v4mini.text.tokenizer, v4mini.text.bpe, v4mini.text.stdlib; sys.exit('tokenizers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_bundled_files_are_plain_json():
    for path in FOLDER.glob("*.json"):
        assert isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
