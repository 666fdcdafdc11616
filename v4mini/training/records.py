"""Cards and logs held to what is read out of them: a file of plain JSON comes from a disk, an editor, or somebody else.

Not here: what the numbers mean (card.py, loop.py), JSON itself (untrusted.py).
"""

import math

from v4mini.shapes import Refused
from v4mini.untrusted import brief, is_text

WHOLE, NUMBER, TEXT = "a whole number", "a number", "text"      # of JSON; whole ones are 0 or more, none is beyond LARGEST
LARGEST = 10**18
LONGEST = 2000
LEFT_OUT = ("index", "balance")


class Each:
    """An object with any keys, each value of one pattern; or a list where `is_list`."""

    def __init__(self, pattern, is_list=False):
        self.pattern, self.is_list = pattern, is_list


HELD_OUT = {"bits_per_byte": NUMBER, "bytes": WHOLE, "xz": NUMBER}
NEEDLES = {"tokens": WHOLE, "haystacks": WHOLE, "questions": WHOLE, "right": NUMBER, "by_depth": Each(NUMBER, True),
           "others": WHOLE, "indexers": TEXT, "prefill_seconds": NUMBER, "question_seconds": NUMBER}
LENGTHS = {"longest": WHOLE, "questions": WHOLE, "right": NUMBER, "by_letter": Each(NUMBER, True), "commonest": NUMBER}
MEASURED = {"held_out": HELD_OUT, "router": Each(NUMBER), "mtp_agreement?": NUMBER, "lengths?": LENGTHS,
            "index_recall": Each(NUMBER), "needles": Each(NEEDLES, True)}
STAGE = {"name": TEXT, "steps": WHOLE, "rows": WHOLE, "length": WHOLE, "mix": Each(NUMBER), "layers": WHOLE, "seconds": NUMBER,
         "losses": Each(NUMBER)}
LACKS = Each(LEFT_OUT, True)
TRAINED = {"texts": TEXT, "text_bytes": WHOLE, "text_tokens": WHOLE, "steps": WHOLE, "tokens": WHOLE, "hours": NUMBER,
           "seed": WHOLE, "without?": LACKS, "from_released?": Each(TEXT, True), "stages": Each(STAGE, True), "version": TEXT,
           "machine": TEXT}
MODEL = {"name": TEXT, "parameters": NUMBER, "active": NUMBER, "layers": Each(TEXT, True), "experts": Each(WHOLE, True),
         "bytes": NUMBER}
BESIDE = {"without": LACKS, "steps": WHOLE, "tokens": WHOLE, "measured": MEASURED}
WITHOUT = {"part": TEXT, "what": TEXT, "operation": TEXT, "loss": NUMBER, "cost": NUMBER, "error": NUMBER, "right?": NUMBER,
           "lengths?": NUMBER, "mtp?": NUMBER}
ABLATIONS = {"date": TEXT, "command": TEXT, "tokens": WHOLE, "skipped": WHOLE, "haystack": WHOLE, "questions": WHOLE,
             "whole": {"loss": NUMBER, "right?": NUMBER, "lengths?": NUMBER, "mtp?": NUMBER}, "without": Each(WITHOUT, True)}
CARD = {"model": MODEL, "trained?": TRAINED, "measured?": MEASURED, "ablations?": ABLATIONS, "beside?": Each(BESIDE, True)}
LOG_LINE = {"step": WHOLE, "stage": TEXT, "batch": WHOLE, "tokens": WHOLE, "seconds": NUMBER, "rate": NUMBER, "norm": NUMBER,
            "losses": Each(NUMBER), "load": Each(NUMBER), "recall": Each(NUMBER), "accuracy?": NUMBER, "steps": WHOLE,
            "tokens_per_second": NUMBER}


def expect_like(value, pattern, where):
    """Refused, with the place inside, unless `value` has the pattern; fields beyond it are left alone. where: file and what."""
    if isinstance(pattern, Each):
        kind = list if pattern.is_list else dict
        _expect(isinstance(value, kind), where, "a list" if pattern.is_list else "an object", value)
        for key, one in enumerate(value) if pattern.is_list else value.items():
            expect_like(one, pattern.pattern, f"{where}.{_short(key)}")
    elif isinstance(pattern, dict):
        _expect(isinstance(value, dict), where, "an object", value)
        for name, inner in pattern.items():
            key = name.removesuffix("?")
            if key in value:
                expect_like(value[key], inner, f"{where}.{key}")
            else:
                _expect(name.endswith("?"), f"{where}.{key}", "a value", "none")
    elif isinstance(pattern, tuple):
        _expect(isinstance(value, str) and value in pattern, where, f"one of {', '.join(pattern)}", value)
    else:
        _expect(_is(value, pattern), where, pattern, value)


def _is(value, kind):
    if kind == TEXT:
        return is_text(value) and len(value) <= LONGEST
    if kind == WHOLE:
        return type(value) is int and 0 <= value <= LARGEST
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST and math.isfinite(value)


def _short(key):
    return brief(key)[:42] if isinstance(key, str) else str(key)


def _expect(fits, where, wanted, got):
    if not fits:
        raise Refused(f"{where}: expected {wanted}, got {brief(got)}. Was it edited by hand?")
