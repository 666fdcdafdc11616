"""Text to token ids and back: a byte-level BPE read from a tokenizer.json, V4's or the bundled one.

Encoding is the `tokenizers` package; decoding is a table of bytes per token, so that nothing is lost on the way.
Not here: where a chat puts its special tokens, training a vocabulary (bpe.py).
"""

import codecs
import json
import operator
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.text.marks import plain
from v4mini.text.special import BOS, EOS

LARGEST_FILE = 256 * 2**20                      # bytes; V4's tokenizer.json has 6 MB
SHOWN = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


class Tokenizer:
    """One vocabulary. `special` maps each special token's name to its id; BOS and EOS are never added unasked."""

    def __init__(self, text, source="tokenizer"):
        fields = _parsed(text, source)
        self._bytes, self.special, self._flagged = _tables(fields, source)
        self._with_special = _engine(fields, source)
        self._plain = _engine(fields | {"added_tokens": []}, source)
        for name in (BOS, EOS):
            if name not in self.special:
                raise Refused(f"{source}: expected the special token {name}, got none of that name. Is it DeepSeek's tokenizer?")
        moved = [name for name, id in self.special.items() if self._with_special.token_to_id(name) != id]
        if moved:
            raise Refused(f"{source}: the id of {moved[0]!r} is not the next free one. Was the file edited by hand?")
        self.bos_id, self.eos_id = self.special[BOS], self.special[EOS]
        self.vocab_size = max(self._bytes) + 1

    @classmethod
    def load(cls, path):                        # -> Tokenizer
        """Read a tokenizer.json, or the one in a checkpoint's folder. Raises Refused."""
        path = Path(path)
        path = path / "tokenizer.json" if path.is_dir() else path
        return cls(_read(path), f"tokenizer: {path}")

    def encode(self, text, special=False):      # -> list of ids
        """Text to ids. Only with special=True does '<think>' in it become the token; otherwise it is seven letters.

        Leave it off for whatever a user typed, or they can forge turns. A surrogate without its partner, which no
        UTF-8 can hold, becomes U+FFFD; everything else comes back from decode() as it was.
        """
        if not isinstance(text, str):
            raise Refused(f"encode: expected text, got {type(text).__name__}. Pass a str; decode bytes as UTF-8 first.")
        engine = self._with_special if special else self._plain
        return engine.encode(plain(text), add_special_tokens=False).ids

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

    def __repr__(self):
        return f"Tokenizer of {self.vocab_size:,} tokens, {len(self.special):,} of them special"


class StreamDecoder:
    """Text as tokens come, whole characters only: the pieces join to what decode() gives for all ids at once."""

    def __init__(self, tokenizer, skip_special=False):
        self._tokenizer, self._skip = tokenizer, skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def put(self, id):                          # -> text
        """The characters that this token completes; '' while one is unfinished."""
        return self._utf8.decode(self._tokenizer.token_bytes(id, self._skip))

    def end(self):                              # -> text
        """What is left at the end: U+FFFD for an unfinished character, else ''. Ready for a new stream."""
        return self._utf8.decode(b"", final=True)


def byte_letters():                             # -> {letter: byte}
    """The letters that stand for bytes in a tokenizer.json: printable bytes for themselves, the others from U+0100 on.

    Source: GPT-2's encoder.py, bytes_to_unicode.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _read(path):                                # -> the file's text
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= LARGEST_FILE else None
    except FileNotFoundError:
        raise Refused(f"tokenizer: no file {path}. Name a tokenizer.json or the folder that holds one.") from None
    except (OSError, ValueError) as error:
        raise Refused(f"tokenizer: cannot read {path}: {error}. Is it a tokenizer.json?") from None
    if text is None:
        raise Refused(f"tokenizer: expected a tokenizer.json, got {path} of {size:,} bytes. V4's has 6 million.")
    return text


def _parsed(text, source):                      # -> the file's fields, their types checked as far as they are used here
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{source} is not JSON ({error}). Was its download cut short?") from None
    model = fields.get("model") if isinstance(fields, dict) else None
    vocab = model.get("vocab") if isinstance(model, dict) else None
    added = fields.get("added_tokens") if isinstance(fields, dict) else None
    if not (isinstance(vocab, dict) and all(type(id) is int and id >= 0 for id in vocab.values())):
        raise Refused(f"{source}: expected a vocabulary at model.vocab, got none. Is it a tokenizer.json?")
    if not (isinstance(added, list) and all(isinstance(token, dict) and type(token.get("id")) is int and token["id"] >= 0
                                            and isinstance(token.get("content"), str) for token in added)):
        raise Refused(f"{source}: expected a list of {{id, content, ...}} at added_tokens, got something else. "
                      "Is it a tokenizer.json?")
    missing = byte_letters().keys() - vocab.keys()
    if missing:
        raise Refused(f"{source}: expected a byte-level vocabulary, got one that lacks {len(missing)} of 256 bytes. "
                      "Is it DeepSeek's?")
    return fields


def _tables(fields, source):                    # -> {id: bytes}, {special name: id}, flagged ids
    letters, table = byte_letters(), {}
    added = fields["added_tokens"]
    ordinary = fields["model"]["vocab"].items() - {(token["content"], token["id"]) for token in added}
    for token, id in ordinary:
        whole = all(letter in letters for letter in token)
        table[id] = bytes(letters[letter] for letter in token) if whole else _utf8(token, source)
    special = {token["content"]: token["id"] for token in added}
    names = {id: _utf8(name, source) for name, id in special.items()}
    if len(table) < len(ordinary) or len(names) < len(added) or table.keys() & names.keys():
        raise Refused(f"{source}: two tokens share an id or a name. Was the file edited by hand?")
    return table | names, special, frozenset(token["id"] for token in added if token.get("special"))


def _utf8(token, source):
    try:
        return token.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(f"{source}: the token {token!r:.80} is no valid text. Was the file edited by hand?") from None


def _engine(fields, source):
    from tokenizers import Tokenizer as Engine  # here, so that importing this file costs nothing
    try:
        engine = Engine.from_str(json.dumps(fields, ensure_ascii=False))
    except BaseException as error:              # the package raises bare Exceptions; its panics are not even those
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise Refused(f"{source} is no tokenizer.json ({error!s:.200}). Is it DeepSeek's?") from None
    engine.no_truncation()
    engine.no_padding()
    return engine
