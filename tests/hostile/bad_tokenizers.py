"""Tokenizers that somebody edited: fields of a valid tokenizer.json changed, removed, added, in one to three places.

None reaches the `tokenizers` package unless text would survive it; that is what the case asks of each that is accepted.
"""

import json

from hostile.mutate import change, damaged_bytes

FULL = 2000
TEXT = "def f(x):\n    return 2026  # naïve 中文 👍 <think>\t\0 é\r\n"


def prepare(folder):
    from v4mini.lessons.places import data_folder
    from v4mini.text.tokenizer import Tokenizer

    text = (data_folder() / "mini" / "tokenizer.json").read_text(encoding="utf-8")
    return text, Tokenizer(text).encode(TEXT)


def case(state, rng, folder):
    from v4mini.text.tokenizer import Tokenizer

    valid, ids = state
    path = folder / "tokenizer.json"
    if rng.random() < 0.25:
        raw = damaged_bytes(valid.encode(), rng)
    else:
        fields = json.loads(valid)
        for _ in range(rng.integers(1, 4)):
            change(fields, rng)
        raw = json.dumps(fields).encode()
    path.write_bytes(raw)
    tokenizer = Tokenizer.load(folder)
    got = tokenizer.encode(TEXT)
    if tokenizer.decode(got) != TEXT:
        return "WRONG text was lost"
    return "the same ids" if got == ids else "other ids: a consistent vocabulary, which no one can tell from the right one"
