"""Text to learn from in a folder of one's own: every file in it that is text.

Not here: what every reader has (stdlib.py), tokens.
"""

import os
import stat
from pathlib import Path

from v4mini.shapes import Refused

LARGEST_FILE = 64 << 20                         # bytes; a longer one is data rather than text
LARGEST_FOLDER = 2 << 30                        # bytes in all: it is held in memory, as text and as tokens


def folder_texts(path, apart=None):             # -> [(name, text)], [(name, why it was left out)]
    """All UTF-8 files below a folder, in a fixed order; hidden ones, links and `apart` are passed over. Raises Refused."""
    root = Path(path)
    if not root.is_dir():
        raise Refused(f"--text: expected a folder, got {path}. Name one that holds text files.")
    texts = []
    left_out = []
    total = 0
    for file in _files(root, apart):
        name = file.relative_to(root).as_posix()
        text, why = _text(file)
        if text is None:
            left_out.append((name, why))
            continue
        total += len(text)
        if total > LARGEST_FOLDER:
            raise Refused(f"--text: expected at most {LARGEST_FOLDER:,} characters in all, got more in {path}. "
                          "Name a part of it.")
        texts.append((name, text))
    if not texts:
        raise Refused(f"--text: expected text files in {path}, got {len(left_out)} that are none. They must be UTF-8.")
    return texts, left_out


def _files(root, apart):                        # yields Path, folder by folder, each in the order of names
    apart = apart and Path(apart).resolve()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (Path(folder) / name).resolve() != apart)
        yield from (Path(folder) / name for name in sorted(names) if not name.startswith("."))


def _text(file):                                # -> text or None, why not
    try:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode):
            return None, "no regular file"
        if not 0 < found.st_size <= LARGEST_FILE:
            return None, "empty" if found.st_size == 0 else f"over {LARGEST_FILE:,} bytes"
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None, "not UTF-8"
    except OSError as error:
        return None, error.strerror or "cannot be read"
    return (None, "zero bytes in it") if "\0" in text else (text, "")
