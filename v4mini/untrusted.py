"""What strangers made, taken in without harm: files, JSON, values to be named in a sentence.

A checkpoint, a tokenizer, a cache or an answer of a server may be anything. Its size is known before it is read, and what
reading it costs before it is parsed; whatever is amiss is one sentence.

Not here: what any of it means, one tensor's bytes (weights/file.py), how text is shown (printable.py).
"""

import json
import os
import stat

from v4mini.shapes import Refused

# A value of parsed JSON takes up to 180 bytes (a key, a place in a dict, a pair on the way there), so these take 360 MB at most.
# The index and headers of V4-Pro, 140,000 tensors, have 1.2 million in one file.
MAX_VALUES = 2_000_000


def read_file(path, most, what, hint):  # -> bytes
    """All of a regular file of at most `most` bytes. Refused unread: a pipe, a device, a folder, anything larger.

    what: who asks, as in "config"; hint: what to do where there is no such file.
    """
    try:
        mode = os.stat(path).st_mode    # asked first: opening a pipe would wait for ever, opening a device may do things
        if stat.S_ISREG(mode):
            with open(path, "rb", opener=_unwaiting) as file:
                size = os.fstat(file.fileno()).st_size
                raw = file.read(most + 1) if size <= most else b""
                size = max(size, len(raw))
    except FileNotFoundError:
        raise Refused(f"{what}: no file {path}. {hint}") from None
    except (OSError, ValueError) as error:                      # ValueError: a zero byte inside the path
        raise Refused(f"{what}: cannot read {path}: {getattr(error, 'strerror', None) or error}. {hint}") from None
    if not stat.S_ISREG(mode):
        raise Refused(f"{what}: expected a regular file, got {path}, which is {kind_of(mode)}. {hint}")
    if size > most:
        raise Refused(f"{what}: expected at most {most:,} bytes, got {path} of {size:,} bytes. {hint}")
    return raw


def _unwaiting(path, flags):            # a pipe that took the file's place after it was looked at does not stop us either
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def kind_of(mode):                      # st_mode -> "a folder", "a pipe", ...
    """What stands at a path, in words."""
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
             (stat.S_ISBLK, "a device"))
    return next((words for fits, words in kinds if fits(mode)), "no regular file")


def parse_json(raw, what, most=MAX_VALUES):     # bytes -> dict
    """One JSON object from bytes that may be anything; a repeated key or NaN is Refused, like everything else amiss.

    More than `most` values are refused unparsed, by a count of commas and brackets.
    """
    values = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if values > most:
        raise Refused(f"{what}: expected JSON of at most {most:,} values, got about {values:,}. Is it a checkpoint's?")
    try:
        parsed = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except RecursionError:
        raise damaged(what, "a flat JSON object", "one nested too deeply") from None
    except UnicodeDecodeError:
        raise damaged(what, "UTF-8 text", "other bytes") from None
    except ValueError as error:
        raise damaged(what, "JSON", f"a fault ({str(error)[:160]})") from None
    if not isinstance(parsed, dict):
        raise damaged(what, "a JSON object", brief(parsed))
    return parsed


def damaged(where, wanted, got):        # -> Refused, to raise
    """The sentence for a stranger's file that does not add up."""
    return Refused(f"{where}: expected {wanted}, got {got}; is the file damaged?")


def _without_repeats(pairs):
    found = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {brief(key)} stands there twice")
        found[key] = value
    return found


def _no_constant(word):
    raise ValueError(f"{word} is not a JSON number")


def is_text(value):
    """Whether this is a str that UTF-8 can hold: JSON can smuggle in half a surrogate pair."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def brief(value):                       # -> str, printable, short
    """A stranger's value as it may stand in a sentence."""
    try:
        if isinstance(value, list | tuple) and len(value) > 8:
            return f"a list of {len(value)}"
        if isinstance(value, dict) and len(value) > 8:
            return f"an object of {len(value)} fields"
        if isinstance(value, str):
            value = value[:200]
        text = ascii(value)
    except (ValueError, RecursionError):                        # an integer with more digits than Python prints
        return f"a {type(value).__name__} too large to print"
    return text if len(text) <= 120 else text[:117] + "..."
