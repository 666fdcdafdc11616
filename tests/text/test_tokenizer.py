"""The tokenizer: whatever goes in comes out, and nobody can type a special token."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from v4mini.shapes import Refused
from v4mini.text.special import ASSISTANT, BOS, DSML, END_THINK, EOS, EOT, PAD, SPECIALS, THINK, USER
from v4mini.text.tokenizer import StreamDecoder, Tokenizer, byte_letters

FOLDER = Path(__file__).parents[2] / "data" / "mini"
TOKENIZER = Tokenizer.load(FOLDER)
NAMES = [name for _, _, name in SPECIALS]

any_character = st.characters(exclude_categories=["Cs"])
awkward = st.sampled_from([*NAMES, "<｜", "｜>", "<|User|>", "👩\u200d👩\u200d👧", "e\u0301", "中文", "カナ", "\r\n",
                           "\t", "\0", "\ufeff", "1234567", "   ", "\n\n", "\U0010ffff", "\u200b", "\u2028", "'s",
                           "def f(x):\n    return x\n"])
any_text = st.lists(st.one_of(st.text(any_character, max_size=20), awkward), max_size=12).map("".join)
any_ids = st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=40)


@given(any_text, st.booleans())
def test_what_was_encoded_comes_back(text, special):
    ids = TOKENIZER.encode(text, special=special)
    assert TOKENIZER.decode(ids) == text
    assert all(type(id) is int and 0 <= id < TOKENIZER.vocab_size for id in ids)


def test_every_character_of_the_first_plane_and_some_of_each_other_come_back():
    codes = [*range(0xD800), *range(0xE000, 0x10000), *range(0x10000, 0x110000, 97)]
    every = "".join(map(chr, codes))
    assert TOKENIZER.decode(TOKENIZER.encode(every)) == every


@given(any_text)
def test_user_text_never_holds_a_special_token(text):
    assert not set(TOKENIZER.encode(text)) & set(TOKENIZER.special.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_special_token_is_one_id_if_asked_and_letters_if_not(name):
    assert TOKENIZER.encode(name, special=True) == [TOKENIZER.special[name]]
    assert len(TOKENIZER.encode(name)) > 1 and TOKENIZER.decode(TOKENIZER.encode(name)) == name


@given(any_text, any_text, st.sampled_from(NAMES))
def test_text_around_a_special_token_may_be_encoded_piece_by_piece(before, after, name):
    before, after = (text.replace("｜", "|").replace("<", "") for text in (before, after))       # no further special tokens
    pieces = TOKENIZER.encode(before) + [TOKENIZER.special[name]] + TOKENIZER.encode(after)
    if name != EOT:                             # whose bars are those that were put in above
        assert TOKENIZER.encode(before + name + after, special=True) == pieces


def test_no_bos_or_eos_comes_unasked():
    assert TOKENIZER.encode("") == [] and TOKENIZER.decode([]) == ""
    assert not {TOKENIZER.bos_id, TOKENIZER.eos_id} & set(TOKENIZER.encode("Hello", special=True))


def test_special_tokens_have_the_first_ids_in_the_order_of_the_release():
    assert [here for here, _, _ in SPECIALS] == list(range(len(SPECIALS)))
    assert [released for _, released, _ in SPECIALS] == sorted(released for _, released, _ in SPECIALS)
    assert TOKENIZER.special == {name: here for here, _, name in SPECIALS}
    assert (TOKENIZER.bos_id, TOKENIZER.eos_id, TOKENIZER.special[PAD]) == (0, 1, 2)


def test_bars_are_wide_and_low_lines_are_blocks():
    assert BOS.encode("unicode_escape") == b"<\\uff5cbegin\\u2581of\\u2581sentence\\uff5c>"
    assert EOS.encode("unicode_escape") == b"<\\uff5cend\\u2581of\\u2581sentence\\uff5c>"
    assert PAD.encode("unicode_escape") == b"<\\uff5c\\u2581pad\\u2581\\uff5c>"
    assert [name for name in NAMES if "｜" not in name] == [EOT, THINK, END_THINK]
    assert not any("_" in name for name in (BOS, EOS, PAD)) and DSML[0] == DSML[-1] == USER[1] == "\uff5c"


def test_skip_special_keeps_thinking_and_roles():
    text = f"{BOS}{USER}2+2?{ASSISTANT}{THINK}four{END_THINK}4{EOS}"
    ids = TOKENIZER.encode(text, special=True)
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.decode(ids, skip_special=True) == f"{USER}2+2?{ASSISTANT}{THINK}four{END_THINK}4"


# ---- splits: what may be one token, and what never is ----

@pytest.mark.parametrize("text, pieces", [
    ("1234567", "123|456|7"),
    ("x2026y", "x|202|6|y"),
    ("漢字かなカナabc", "漢字かなカナ|abc"),
    ("self.append(y)", "self|.append|(y|)"),
    ("a  b", "a| | b"),
    ("f(x):\n    return -1\n", "f|(x|):\n|   | return| -|1|\n"),
    ("end.\n\n\nNext", "end|.\n\n\n|Next"),
    ("don't  \n x", "don|'t|  \n| x"),
    ("naïve é", "naïve| é"),
    ("a \t\n\n  ", "a| \t\n\n|  "),
    ("héllo, wörld!", "héllo|,| wörld|!"),
    ("«guillemets»", "«|guillemets|»"),
    ("→x ≠ y", "→|x| ≠| y"),
])
def test_where_text_is_cut(text, pieces):
    """By hand from the rules; a cut shows as |."""
    from tokenizers import Tokenizer as Engine
    cuts = Engine.from_file(str(FOLDER / "tokenizer.json")).pre_tokenizer.pre_tokenize_str(text)
    assert "|".join(text[start:stop] for _, (start, stop) in cuts) == pieces


# ---- decoding as tokens come ----

@settings(max_examples=300)
@given(any_ids, st.booleans())
def test_pieces_of_a_stream_join_to_the_whole(ids, skip):
    stream = StreamDecoder(TOKENIZER, skip_special=skip)
    assert "".join([*map(stream.put, ids), stream.end()]) == TOKENIZER.decode(ids, skip_special=skip)


@given(any_text)
def test_a_stream_never_shows_half_a_character(text):
    stream = StreamDecoder(TOKENIZER)
    pieces = [*map(stream.put, TOKENIZER.encode(text)), stream.end()]
    assert "".join(pieces) == text and pieces[-1] == ""


def test_a_stream_waits_for_the_last_byte_of_a_character():
    stream = StreamDecoder(TOKENIZER)
    assert [stream.put(id) for id in TOKENIZER.encode("中")] == ["", "", "中"]
    assert stream.put(TOKENIZER.encode("中")[0]) == "" and stream.end() == "\ufffd"
    assert stream.put(TOKENIZER.encode("a")[0]) == "a", "end() makes it ready for a new stream"


@settings(max_examples=300)
@given(any_ids, st.booleans())
def test_decoding_agrees_with_the_tokenizers_package(ids, skip):
    from tokenizers import Tokenizer as Engine
    engine = Engine.from_file(str(FOLDER / "tokenizer.json"))
    assert TOKENIZER.decode(ids, skip_special=skip) == engine.decode(ids, skip_special_tokens=skip)


# ---- single tokens ----

def test_bytes_of_all_tokens_are_all_different_and_hold_every_byte():
    table = [TOKENIZER.token_bytes(id) for id in range(TOKENIZER.vocab_size)]
    assert len(set(table)) == len(table)
    assert {bytes([byte]) for byte in range(256)} <= set(table)


def test_letters_for_bytes_are_those_of_the_tokenizers_package():
    from tokenizers.pre_tokenizers import ByteLevel
    assert byte_letters().keys() == set(ByteLevel.alphabet())
    assert sorted(byte_letters().values()) == list(range(256))
    assert byte_letters()["Ġ"] == ord(" ") and byte_letters()["Ċ"] == ord("\n")


@pytest.mark.parametrize("text, pieces", [(" the", ["␣the"]), ("\n", ["⏎"]), ("\t", ["⇥"]), ("\0", ["⟨00⟩"]),
                                          ("中", ["⟨e4⟩", "⟨b8⟩", "⟨ad⟩"]), ("<think>", ["<think>"])])
def test_a_token_in_print(text, pieces):
    assert [TOKENIZER.piece(id) for id in TOKENIZER.encode(text, special=True)] == pieces


def test_every_token_prints_in_one_line():
    pieces = [TOKENIZER.piece(id) for id in range(TOKENIZER.vocab_size)]
    assert all(piece and piece.isprintable() for piece in pieces)


def test_it_says_what_it_is():
    assert repr(TOKENIZER) == "Tokenizer of 2,048 tokens, 20 of them special"


# ---- refusals ----

@pytest.mark.parametrize("id", [-1, 2048, 2**70, -(2**20000), np.int64(2048)], ids=["-1", "2048", "2**70", "-2**20000", "int64"])
def test_an_id_out_of_range_is_refused(id):
    for ask in (TOKENIZER.token_bytes, TOKENIZER.piece, StreamDecoder(TOKENIZER).put, lambda id: TOKENIZER.decode([5, id])):
        with pytest.raises(Refused, match=r"^token id: expected 0 to 2047, got .{1,40}\. Are model and tokenizer"):
            ask(id)


@pytest.mark.parametrize("ids", [[1.0], ["5"], [None], [[1, 2]], np.zeros((2, 2), int), np.array([1.5])])
def test_what_is_no_id_is_refused(ids):
    with pytest.raises(Refused, match="^token id: expected an integer, got "):
        TOKENIZER.decode(ids)


@pytest.mark.parametrize("ids", [5, "5", b"5", None, np.array(5)])
def test_what_is_no_list_of_ids_is_refused(ids):
    with pytest.raises(Refused, match="^decode: expected a list of ids, got "):
        TOKENIZER.decode(ids)


@pytest.mark.parametrize("text", [None, b"bytes", 5, ["a"], ("a", "b")])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(Refused, match="^encode: expected text, got "):
        TOKENIZER.encode(text)


def test_ids_may_come_as_an_array_or_one_by_one():
    ids = TOKENIZER.encode("Hello, world")
    assert TOKENIZER.decode(np.array(ids)) == TOKENIZER.decode(iter(ids)) == "Hello, world"


def test_a_lone_surrogate_becomes_the_replacement_character_and_a_pair_its_character():
    for text, comes_back in (("a\ud800b", "a\ufffdb"), ("\udc00", "\ufffd"), ("\ud83d\ude00", "😀"),
                             ("\udcff\ud800", "\ufffd\ufffd")):
        assert TOKENIZER.decode(TOKENIZER.encode(text)) == comes_back


def edited(**changes):
    """The bundled tokenizer.json with some of its fields changed, or of its model's."""
    fields = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    fields["model"] |= changes.pop("model", {})
    return json.dumps(fields | changes)


def added(*more, drop=None):
    tokens = json.loads(edited())["added_tokens"]
    return [token for token in tokens if token["content"] != drop] + [tokens[5] | changes for changes in more]


DAMAGED = {
    "empty": ("", "is not JSON"),
    "cut short": ('{"model": ', "is not JSON"),
    "too deep": ("[" * 100_000, "is not JSON"),
    "a list": ("[]", "expected a vocabulary"),
    "a config": ('{"vocab_size": 2048, "hidden_size": 256}', "expected a vocabulary"),
    "negative id": ('{"model": {"vocab": {"a": -1}}, "added_tokens": []}', "expected a vocabulary"),
    "vocabulary of pairs": ('{"model": {"vocab": [["a", -1.5]]}, "added_tokens": []}', "expected a vocabulary"),
    "nothing added": ('{"model": {"vocab": {"a": 0}}}', "added_tokens"),
    "words, not bytes": ('{"model": {"type": "WordPiece", "vocab": {"a": 0}}, "added_tokens": []}', "byte-level"),
    "id as text": (edited(added_tokens=[{"id": "0", "content": BOS}]), "added_tokens"),
    "surrogate": (edited(added_tokens=[{"id": 0, "content": "\ud800"}]), "no valid text"),
    "other model": (edited(model={"type": "WordPiece"}), "is no tokenizer.json"),
    "merge of nothing": (edited(model={"merges": ["a nonsuch"]}), "is no tokenizer.json"),
    "panic inside": (edited(model={"continuing_subword_prefix": "aa"}), "is no tokenizer.json"),
    "unknown cutter": (edited(pre_tokenizer={"type": "Nonsuch"}), "is no tokenizer.json"),
    "two names, one id": (edited(added_tokens=added({"content": "twin"})), "share an id"),
    "two ids, one name": (edited(added_tokens=added({"id": 9999})), "share an id or a name"),
    "id of an ordinary token": (edited(added_tokens=added({"id": 300, "content": "new"})), "share an id"),
    "id far away": (edited(added_tokens=added({"id": 9999, "content": "far"})), "next free one"),
    "no BOS": (edited(added_tokens=added(drop=BOS)), "expected the special token <｜begin"),
    "no EOS": (edited(added_tokens=added(drop=EOS)), "expected the special token <｜end"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_json_that_is_no_tokenizer_is_refused(damage, tmp_path):
    text, reason = DAMAGED[damage]
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    with pytest.raises(Refused, match=reason) as refusal:
        Tokenizer.load(tmp_path)
    assert str(refusal.value).startswith(f"tokenizer: {tmp_path / 'tokenizer.json'}")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_still_encodes(data):
    text = (FOLDER / "tokenizer.json").read_text(encoding="utf-8")
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 40)))
    try:
        tokenizer = Tokenizer(text[:start] + data.draw(st.text('"{}[],:0aĠ\\', max_size=3)) + text[stop:])
    except Refused:
        return
    assert tokenizer.decode(tokenizer.encode("1, 2 中")) is not None


def test_a_missing_or_strange_file_is_refused(tmp_path):
    with pytest.raises(Refused, match=r"^tokenizer: no file .*tokenizer\.json\. Name a tokenizer\.json or the folder"):
        Tokenizer.load(tmp_path)
    (tmp_path / "weights.safetensors").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Refused, match="^tokenizer: cannot read "):
        Tokenizer.load(tmp_path / "weights.safetensors")
    with pytest.raises(Refused, match="^tokenizer: cannot read "):
        Tokenizer.load("bad\0name")


def test_a_huge_file_is_refused_unread(tmp_path):
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(2**40)                    # a hole: takes no room on the disk
    with pytest.raises(Refused, match="of 1,099,511,627,776 bytes"):
        Tokenizer.load(tmp_path)


# ---- others read it too ----

@pytest.mark.parity
def test_transformers_reads_the_same_ids():
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(FOLDER))
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id, len(theirs)) == (0, 1, 1, 2048)
    for text in ("Hello 12345 中文", f"{BOS}{USER}x.append(y)\n\n  {ASSISTANT}{THINK}{EOT}{EOS}", "".join(NAMES)):
        ids = TOKENIZER.encode(text, special=True)
        assert theirs.encode(text) == ids
        assert theirs.decode(ids) == text
        assert theirs.decode(ids, skip_special_tokens=True) == TOKENIZER.decode(ids, skip_special=True)
