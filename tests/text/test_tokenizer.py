"""The tokenizer: whatever goes in comes out, and nobody can type a special token."""

import json
import os
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
    asked = [TOKENIZER.token_bytes, TOKENIZER.piece, lambda id: TOKENIZER.decode([5, id])]
    for ask in asked + [StreamDecoder(TOKENIZER).put] * bool(id < 0):       # a stream shows a row of padding as U+FFFD
        with pytest.raises(Refused, match=r"^token id: expected 0 to 2047, got .{1,40}\. Are model and tokenizer"):
            ask(id)


def test_a_stream_shows_a_row_of_padding_as_one_character():
    decoder = StreamDecoder(TOKENIZER)
    assert decoder.put(2048) == decoder.put(np.int64(2**40)) == "\ufffd"


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


SPLITS = json.loads(edited())["pre_tokenizer"]["pretokenizers"]
VOCAB = json.loads(edited())["model"]["vocab"]
MERGES = json.loads(edited())["model"]["merges"]


def splits(*steps):
    return edited(pre_tokenizer={"type": "Sequence", "pretokenizers": list(steps)})


# None of these reaches the tokenizers package: see the test below. Some would end the process there.
DAMAGED = {
    "empty": ("", "expected JSON"),
    "cut short": ('{"model": ', "expected JSON"),
    "too deep": ('{"model":' + "[" * 100_000, "nested too deeply"),
    "a list": ("[]", "expected a JSON object"),
    "a key twice": ('{"model": {}, "model": {}}', "stands there twice"),
    "a config": ('{"vocab_size": 2048, "hidden_size": 256}', "a model of the type BPE"),
    "no types": ('{"model": 5}', "a model of the type BPE"),
    "no splits": ('{"model": {"vocab": {"a": 1}}, "added_tokens": []}', "pre_tokenizer: expected rules"),
    "negative id": (edited(model={"vocab": {"a": -1}}), "expected a vocabulary"),
    "vocabulary of pairs": (edited(model={"vocab": [["a", -1.5]]}), "expected a vocabulary"),
    "nothing added": (edited(added_tokens=None), "added_tokens"),
    "words, not bytes": (edited(model={"vocab": {"a": 0}}), "byte-level vocabulary, got one that lacks 255"),
    "id as text": (edited(added_tokens=[{"id": "0", "content": BOS}]), "added_tokens"),
    "surrogate": (edited(added_tokens=added({"content": "\ud800"})), "no valid text"),
    "no name": (edited(added_tokens=added({"content": ""})), "a name of 1 to 1,000"),
    "long name": (edited(added_tokens=added({"content": "n" * 1001})), "a name of 1 to 1,000"),
    "other model": (edited(model={"type": "WordPiece"}), "a model of the type BPE, got 'WordPiece'"),
    "merge of nothing": (edited(model={"merges": ["a nonsuch"]}), "pairs of tokens that make a token"),
    "merge of three": (edited(model={"merges": ["a b c"]}), "pairs of tokens that make a token"),
    "merge into nothing": (edited(model={"merges": [*MERGES, "ÿ ÿ"]}), "pairs of tokens that make a token"),
    "merge of no text": (edited(model={"merges": [*MERGES, [1, 2]]}), "pairs of tokens that make a token"),
    "merge lost": (edited(model={"merges": MERGES[1:]}), "merges that make each longer token"),
    "merge twice": (edited(model={"merges": [*MERGES, MERGES[0]]}), "each pair once"),
    "no merges": (edited(model={"merges": None}), "a list of pairs"),
    "prefix": (edited(model={"continuing_subword_prefix": "aa"}), "model.continuing_subword_prefix: expected none"),
    "suffix": (edited(model={"end_of_word_suffix": "</w>"}), "model.end_of_word_suffix: expected none"),
    "dropout": (edited(model={"dropout": 0.5}), "model.dropout: expected none"),
    "unknown token": (edited(model={"unk_token": "<unk>"}), "model.unk_token: expected none"),
    "fallback": (edited(model={"byte_fallback": True}), "model.byte_fallback: expected none"),
    "whole words": (edited(model={"ignore_merges": True}), "model.ignore_merges: expected none"),
    "truncation": (edited(truncation={"max_length": 3}), "truncation: expected none"),
    "padding": (edited(padding={"strategy": "BatchLongest"}), "padding: expected none"),
    "normalizer": (edited(normalizer={"type": "Lowercase"}), "normalizer: expected none"),
    "no cutter": (edited(pre_tokenizer=None), "pre_tokenizer: expected rules"),
    "unknown cutter": (edited(pre_tokenizer={"type": "Nonsuch"}), "pre_tokenizer: expected ByteLevel as the last step"),
    "no bytes": (splits(*SPLITS[:3]), "expected ByteLevel as the last step"),
    "a space before": (splits(*SPLITS[:3], SPLITS[3] | {"add_prefix_space": True}), "expected ByteLevel as the last step"),
    "other rules inside": (splits(SPLITS[3] | {"use_regex": True}), "expected ByteLevel as the last step"),
    "cut text lost": (splits(SPLITS[0] | {"behavior": "Removed"}, SPLITS[3]), "Split with the behavior Isolated"),
    "inverted": (splits(SPLITS[0] | {"invert": True}, SPLITS[3]), "Split with the behavior Isolated"),
    "other cutter": (splits({"type": "Whitespace"}, SPLITS[3]), "Split with the behavior Isolated"),
    "long rule": (splits(SPLITS[0] | {"pattern": {"Regex": "a" * 1001}}, SPLITS[3]), "a Regex of 1 to 1,000"),
    "no rule": (splits(SPLITS[0] | {"pattern": {"Regex": ""}}, SPLITS[3]), "a Regex of 1 to 1,000"),
    "many rules": (splits(*SPLITS[:1] * 17, SPLITS[3]), "at most 16 steps"),
    "strips": (edited(added_tokens=added({"id": 2048, "content": "<new>", "lstrip": True})), "lstrip of '<new>': expected none"),
    "single word": (edited(added_tokens=added({"id": 2048, "content": "<new>", "single_word": 1})), "single_word of '<new>'"),
    "other decoder": (edited(decoder={"type": "Metaspace"}), "ByteLevel as the decoder"),
    "other end": (edited(post_processor={"type": "BertProcessing"}), "none as the post_processor"),
    "two names, one id": (edited(added_tokens=added({"content": "twin"})), "the next free one"),
    "two ids, one name": (edited(added_tokens=added({"id": 9999})), "vocabulary's own id"),
    "one name twice": (edited(added_tokens=added({})), "share an id or a name"),
    "id of an ordinary token": (edited(added_tokens=added({"id": 300, "content": "<new>"})), "the next free one"),
    "id far away": (edited(added_tokens=added({"id": 9999, "content": "far"})), "the next free one"),
    "two tokens, one id": (edited(model={"vocab": VOCAB | {"a": VOCAB["b"]}}), "share an id"),
    "a hole": (edited(model={"vocab": VOCAB | {"a": 2048}}), "an id has no token"),
    "no BOS": (edited(added_tokens=added({"id": 0, "content": "<new>"}, drop=BOS), model={"vocab": {"<new>" if t == BOS else t: id
               for t, id in VOCAB.items()}}), "expected the special token <｜begin"),
    "no EOS": (edited(added_tokens=added({"id": 1, "content": "<new>"}, drop=EOS), model={"vocab": {"<new>" if t == EOS else t: id
               for t, id in VOCAB.items()}}), "expected the special token <｜end"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_a_file_may_not_ask_for_never_reaches_the_package(damage, monkeypatch):
    import tokenizers

    class Untouched:
        @staticmethod
        def from_str(_):
            raise AssertionError("the package was handed an unchecked file")

    monkeypatch.setattr(tokenizers, "Tokenizer", Untouched)
    with pytest.raises(Refused, match=DAMAGED[damage][1]):
        Tokenizer(DAMAGED[damage][0])


def test_the_package_is_handed_checked_fields_alone(monkeypatch):
    import tokenizers

    wanted = TOKENIZER.encode("<think>Hello", special=True)             # first: it makes an engine too
    seen, real = [], tokenizers.Tokenizer

    class Watched:
        @staticmethod
        def from_str(text):
            seen.append(json.loads(text))
            return real.from_str(text)

    monkeypatch.setattr(tokenizers, "Tokenizer", Watched)
    more = {"dropout": None, "ignore_merges": False, "end_of_word_suffix": "", "nonsuch": "x"}
    text = edited(model=more, nonsuch={"a": 1}, post_processor={"type": "TemplateProcessing", "single": "?"},
                  normalizer={"type": "Sequence", "normalizers": []})
    tokenizer = Tokenizer(text)
    assert tokenizer.encode("<think>Hello", special=True) == wanted
    assert len(seen) == 2
    assert not any("nonsuch" in text for text in map(json.dumps, seen)) and not any(fields["post_processor"] for fields in seen)
    assert [fields["model"]["merges"] for fields in seen] == [[list(pair) for pair in map(str.split, MERGES)]] * 2


def test_merges_may_be_pairs_as_newer_files_have_them():
    pairs = edited(model={"merges": [merge.split(" ") for merge in MERGES]})
    assert Tokenizer(pairs).encode("def f(x): return 2026") == TOKENIZER.encode("def f(x): return 2026")


def test_a_rule_that_cannot_be_read_is_refused():
    broken = splits(SPLITS[0] | {"pattern": {"Regex": "("}}, SPLITS[3])
    with pytest.raises(Refused, match="is no tokenizer.json .*Is it DeepSeek's"):
        Tokenizer(broken)


def test_a_tokenizer_that_would_lose_a_byte_is_refused(monkeypatch):
    table = {id: TOKENIZER.token_bytes(id) for id in range(TOKENIZER.vocab_size)}
    letter = VOCAB["é"]                       # the byte E9
    monkeypatch.setattr("v4mini.text.tokenizer._tables", lambda _: (table | {letter: b"?"}, TOKENIZER.special, frozenset()))
    with pytest.raises(Refused, match=r"expected decode\(encode\(text\)\) to be the text"):
        Tokenizer(edited())


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
    with pytest.raises(Refused, match="^tokenizer: .*weights.safetensors: expected UTF-8 text"):
        Tokenizer.load(tmp_path / "weights.safetensors")
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "a pipe"), ("/dev/zero", "a device")):
        with pytest.raises(Refused, match=f"^tokenizer: expected a regular file, got .* which is {kind}"):
            Tokenizer.load(path)
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
