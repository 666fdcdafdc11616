"""Text to token ids and back: a byte-level BPE read from a tokenizer.json, V4's or the bundled one.

Encoding is the `tokenizers` package; decoding is a table of bytes per token, so that nothing is lost on the way.
Not here: what a file may ask for (tokenizer_file.py), where a chat puts its special tokens, training a vocabulary (bpe.py).
"""

import codecs
import json
import operator
from functools import cached_property
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.text.marks import plain
from v4mini.text.special import BOS, EOS
from v4mini.text.tokenizer_file import byte_letters, check, for_package, read, with_added

SHOWN = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


class Tokenizer:
    """One vocabulary. `special` maps each special token's name to its id; BOS and EOS are never added unasked."""

    def __init__(self, text, source="tokenizer"):
        fields = check(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"), source)
        self._source = source
        self._bytes, self.special, self._flagged = _tables(fields)
        for name in (BOS, EOS):
            if name not in self.special:
                raise Refused(f"{source}: expected the special token {name}, got none of that name. Is it DeepSeek's tokenizer?")
        self._plain = _engine(for_package(fields), source)
        self._added = fields.added
        self.bos_id, self.eos_id = self.special[BOS], self.special[EOS]
        self.vocab_size = len(self._bytes)
        self._check_round_trip()

    @classmethod
    def load(cls, path):                        # -> Tokenizer
        """Read a tokenizer.json, or the one in a checkpoint's folder. Raises Refused."""
        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        return cls(read(path), f"tokenizer: {path}")

    def encode(self, text, special=False):      # -> list of ids
        """Text to ids. Only with special=True does '<think>' in it become the token; otherwise it is seven letters.

        Leave it off for whatever a user typed, or they can forge turns. A surrogate without its partner, which no
        UTF-8 can hold, becomes U+FFFD; everything else comes back from decode() as it was.
        """
        if not isinstance(text, str):
            raise Refused(f"encode: expected text, got {type(text).__name__}. Pass a str; decode bytes as UTF-8 first.")
        engine = self._with_special if special else self._plain
        return _asked(lambda: engine.encode(plain(text), add_special_tokens=False).ids, f"{self._source} cannot split this text")

    def decode(self, ids, skip_special=False):  # -> text
        """Ids to text; bytes that are no UTF-8 become U+FFFD.

        skip_special leaves out what the file flags as special: in V4 that is BOS, EOS and pad, not <think> or <｜User｜>.
        """
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
            raise Refused(f"decode: expected a list of ids, got {type(ids).__name__}. For one token: decode([id]).")
        return b"".join(self.token_bytes(id, skip_special) for id in ids).decode("utf-8", "replace")

    def token_bytes(self, id, skip_special=False):      # -> bytes
        """The bytes one token stands for: often part of a character only."""
        try:
            index = operator.index(id)
            found = self._bytes[index]
        except TypeError:
            raise Refused(f"token id: expected an integer, got {id!r:.80}. Pass a flat list of token ids.") from None
        except KeyError:
            got = index if abs(index) < 2**64 else f"a number of {index.bit_length()} bits"
            raise Refused(f"token id: expected 0 to {self.vocab_size - 1}, got {got}. "
                          "Are model and tokenizer from the same folder?") from None
        return b"" if skip_special and index in self._flagged else found

    def piece(self, id):                        # -> text
        """One token in printable form, for tables and plots: '␣the', '⏎', '⟨e4 b8⟩' for part of a character."""
        raw = self.token_bytes(id)
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            return f"⟨{raw.hex(' ')}⟩"
        return "".join(SHOWN.get(c, c if c.isprintable() else f"⟨{c.encode().hex(' ')}⟩") for c in text)

    @cached_property
    def _with_special(self):                    # made when it is asked for: a chat never does
        fields = json.loads(self._plain.to_str())
        return _engine(with_added(fields, self._added), self._source)

    def _check_round_trip(self):                # every byte there is, and what no UTF-8 holds by its token alone
        text = _every_byte()
        if self.decode(self.encode(text)) != text or {bytes([n]) for n in range(256)} - set(self._bytes.values()):
            raise Refused(f"{self._source}: expected decode(encode(text)) to be the text, got another one. Is it DeepSeek's?")

    def __repr__(self):
        return f"Tokenizer of {self.vocab_size:,} tokens, {len(self.special):,} of them special"


class StreamDecoder:
    """Text as tokens come, whole characters only: the pieces join to what decode() gives for all ids at once."""

    def __init__(self, tokenizer, skip_special=False):
        self._tokenizer, self._skip = tokenizer, skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def put(self, id):                          # -> text
        """The characters that this token completes; '' while one is unfinished. A row of padding, past all tokens, is U+FFFD."""
        if hasattr(id, "__index__") and operator.index(id) >= self._tokenizer.vocab_size:
            return self.end() + "\ufffd"
        return self._utf8.decode(self._tokenizer.token_bytes(id, self._skip))

    def end(self):                              # -> text
        """What is left at the end: U+FFFD for an unfinished character, else ''. Ready for a new stream."""
        return self._utf8.decode(b"", final=True)


def _tables(fields):                            # Fields -> {id: bytes}, {special name: id}, flagged ids
    letters = byte_letters()
    special = {token["content"]: token["id"] for token in fields.added}
    table = {id: bytes(letters[letter] for letter in token) for token, id in fields.vocab.items() if token not in special}
    table |= {id: name.encode() for name, id in special.items()}
    return table, special, frozenset(token["id"] for token in fields.added if token["special"])


def _engine(fields, source):
    from tokenizers import Tokenizer as Engine  # here, so that importing this file costs nothing

    text = json.dumps(fields, ensure_ascii=False)
    return _asked(lambda: Engine.from_str(text), f"{source} is no tokenizer.json")


def _asked(question, what):                     # the package raises bare Exceptions; its panics are not even those
    try:
        return question()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit | MemoryError):
            raise
        raise Refused(f"{what} ({str(error)[:200]}). Is it DeepSeek's tokenizer?") from None


def _every_byte():                              # -> text whose UTF-8 holds every byte that UTF-8 can hold
    return "".join(map(chr, (*range(0x800), *range(0x1000, 0xD000, 0x1000), 0xD7FF, 0xE000, 0xF000,
                             *range(0x10000, 0x110000, 0x10000))))
