"""What strangers made is bounded before it is read, and harmless when it is shown."""

import os
import sys
import unicodedata

import pytest

from v4mini.printable import printable
from v4mini.shapes import Refused
from v4mini.untrusted import MAX_VALUES, brief, parse_json, read_file

HARMFUL = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def test_no_control_bidi_or_line_character_is_left():
    assert {"\x1b", "\x9b", "\r", "\x7f", "\u202e", "\u2066", "\u2028", "\ufeff", "\ud800", "\U000e0041"} <= set(HARMFUL)
    shown = printable("".join(HARMFUL))
    assert not set(shown) & set(HARMFUL) and shown.startswith("⟨00⟩⟨01⟩")
    assert printable("a\x1b[31mb") == "a⟨1b⟩[31mb"


def test_letters_of_every_script_wide_spaces_and_emoji_stay():
    text = "naïve 中文\u3000カナ नमस्ते שלום\u00a0👍🏽 ½"
    assert printable(text) == text
    assert printable("a\nb\t👩\u200d👧", keep="\n\t\u200d") == "a\nb\t👩\u200d👧"


def test_a_refusal_is_harmless_whatever_it_quotes():
    assert str(Refused("no file \x1b]0;title\x07.\nIs it \u202ethere?")) == "no file ⟨1b⟩]0;title⟨07⟩.\nIs it ⟨e280ae⟩there?"


def test_a_pipe_a_device_a_folder_and_a_large_file_are_refused_unread(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with open(tmp_path / "large", "wb") as file:
        file.truncate(2**40)                    # a hole: takes no room on the disk
    for path, words in ((tmp_path / "pipe", "which is a pipe"), ("/dev/zero", "which is a device"),
                        (tmp_path, "which is a folder"), (tmp_path / "large", "at most 9 bytes, got .* of 1,099,511,627,776"),
                        (tmp_path / "none", "no file"),
                        ("a\0b", "cannot read .*null")):
        with pytest.raises(Refused, match=f"^thing: .*{words}"):
            read_file(path, 9, "thing", "Name a file.")
    (tmp_path / "nine").write_bytes(b"123456789")
    assert read_file(tmp_path / "nine", 9, "thing", "") == b"123456789"


def test_a_pipe_that_takes_a_files_place_does_not_stop_us(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    looked_at = os.stat(tmp_path / "file")
    monkeypatch.setattr(os, "stat", lambda path: looked_at)
    assert read_file(tmp_path / "pipe", 9, "thing", "") == b""


def test_json_of_too_many_values_is_refused_unparsed(monkeypatch):
    monkeypatch.setattr("json.loads", lambda *_, **__: pytest.fail("parsed"))
    for raw in (b"[[" + b"[]," * (MAX_VALUES // 2) + b"[]]]", b"{" * (MAX_VALUES + 1), b"," * (MAX_VALUES + 1)):
        with pytest.raises(Refused, match=r"expected JSON of at most 2,000,000 values, got about 2,000,00\d"):
            parse_json(raw, "x")


@pytest.mark.parametrize("raw, fault", [(b'{"a": 1, "a": 2}', "stands there twice"), (b'{"a": NaN}', "NaN is not"),
                                        (b"[]", "object"),
                                        (b"\xff{}", "UTF-8"), (b'{"a": ' + b"[" * 100_000, "nested"), (b"", "a fault")])
def test_json_that_is_amiss_is_refused(raw, fault):
    with pytest.raises(Refused, match=f"^x: expected .*{fault}"):
        parse_json(raw, "x")


def test_a_byte_order_mark_before_json_is_passed_over():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}', "x") == {"a": 1}


def test_a_value_in_a_sentence_is_short_ascii():
    for value in ("\x1b[2J", "x" * 10**6, list(range(9)), 10**5000, {"a": "\u202e"}):
        assert brief(value).isascii() and brief(value).isprintable() and len(brief(value)) <= 120
