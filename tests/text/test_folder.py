"""Text files of a folder, and only those."""

import os

import pytest

from v4mini.shapes import Refused
from v4mini.text import folder
from v4mini.text.folder import folder_texts


def test_text_is_found_by_name_and_the_rest_is_told(tmp_path):
    for name, raw in {"b.txt": b"second", "a/z.py": "über\r\n".encode(), "a/data.bin": b"\xff\xfe", "zeros": b"a\0b", "empty": b"",
                      ".hidden": b"no", ".git/config": b"no"}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(raw)
    texts, left_out = folder_texts(tmp_path)
    assert texts == [("b.txt", "second"), ("a/z.py", "über\r\n")]
    assert dict(left_out) == {"a/data.bin": "not UTF-8", "zeros": "zero bytes in it", "empty": "empty"}
    assert folder_texts(tmp_path) == (texts, left_out), "the same folder, the same order"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_and_links_are_passed_over(tmp_path):
    (tmp_path / "a").write_text("text")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    texts, left_out = folder_texts(tmp_path)
    assert texts == [("a", "text")] and dict(left_out) == {"pipe": "no regular file", "link": "no regular file"}


def test_a_folder_without_text_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff")
    for path, words in ((tmp_path, "got 1 that are none"), (tmp_path / "x", "expected a folder"), (tmp_path / "no", "expected a folder")):
        with pytest.raises(Refused, match=words):
            folder_texts(path)


def test_too_much_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "LARGEST_FOLDER", 5)
    (tmp_path / "x").write_text("123456")
    with pytest.raises(Refused, match="expected at most 5 characters"):
        folder_texts(tmp_path)
    monkeypatch.setattr(folder, "LARGEST_FILE", 5)
    with pytest.raises(Refused, match="got 1 that are none"):
        folder_texts(tmp_path)
