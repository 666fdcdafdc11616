"""A tokenizer.json, checked field by field, and the few fields that V4's tokenizers have built anew for the `tokenizers` package.

That package obeys whatever a file asks for: random splits, dropped spaces, cut text; some values make it end the process. So it
never sees the file. It sees what `check` leaves of it: a byte-level BPE that loses nothing, with no fields but those below.

    model           BPE: vocab of byte letters, merges that make exactly the vocab's longer tokens
    added_tokens    special tokens, taken as they are written
    pre_tokenizer   rules that split text and keep all of it, then the step from bytes to letters

Not here: ids and text (tokenizer.py), learning a vocabulary (bpe.py).
"""

from typing import NamedTuple

from v4mini.shapes import Refused
from v4mini.untrusted import brief, is_text, parse_json, read_file

LARGEST_FILE = 16 << 20                         # bytes; V4's tokenizer.json has 7.8 million
MOST_SPLITS = 16                                # V4 has 3
LONGEST_RULE = 1000                             # letters of one rule; V4's longest has 113
LONGEST_NAME = 1000                             # letters of a special token

# What must be absent, or say nothing, since each makes other text of the text or other tokens of the same text.
_ABSENT = {"truncation": "cuts text", "padding": "adds tokens"}
_ABSENT_IN_MODEL = {"dropout": "splits at random", "unk_token": "loses text", "continuing_subword_prefix": "renames tokens",
                    "end_of_word_suffix": "renames tokens", "fuse_unk": "loses text", "byte_fallback": "is not byte-level",
                    "ignore_merges": "splits otherwise"}
_ABSENT_IN_ADDED = ("single_word", "lstrip", "rstrip")          # each takes in, or leaves out, what stands beside the token


class Fields(NamedTuple):
    """What is left of a tokenizer.json."""

    vocab: dict                                 # {token in byte letters: id}, special tokens among them or not
    merges: list                                # [(left, right)], the earliest first
    added: list                                 # [{"id", "content", "special", "normalized"}]
    splits: list                                # [{"Regex": rule}], as the package spells it


def read(path):                                 # -> bytes
    """The bytes of a tokenizer.json. Raises Refused for what is no regular file, or too large."""
    return read_file(path, LARGEST_FILE, "tokenizer", "Name a tokenizer.json or the folder that holds one; V4's has 8 MB.")


def check(raw, source):                         # bytes, who they are -> Fields
    """All that must hold before anything is built. Raises Refused, naming the field."""
    fields = parse_json(raw, source)
    model = fields.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        got = brief(model.get("type")) if isinstance(model, dict) else brief(model)
        raise Refused(f"{source}: expected a model of the type BPE, got {got}. Is it a tokenizer.json, and DeepSeek's?")
    _absent(fields, _ABSENT, source)
    _absent(model, _ABSENT_IN_MODEL, f"{source}: model")
    if not _says_nothing(fields.get("normalizer"), "normalizers"):
        raise _not_v4s(f"{source}: normalizer", fields["normalizer"], "it makes other text of the text")
    splits = _splits(fields.get("pre_tokenizer"), f"{source}: pre_tokenizer")
    _check_ends(fields, source)
    added = _added(fields.get("added_tokens"), source)
    vocab = _vocab(model.get("vocab"), source)
    names = {token["content"] for token in added}
    merges = _merges(model.get("merges"), vocab, names, source)
    _check_ids(vocab, added, source)
    return Fields(vocab, merges, added, splits)


def for_package(fields):                        # Fields -> what the tokenizers package may see, as a dict
    """The fields of a tokenizer.json without special tokens, built from checked values alone."""
    steps = [{"type": "Split", "pattern": rule, "behavior": "Isolated", "invert": False} for rule in fields.splits]
    steps.append({"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False})
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": False, "byte_fallback": False, "vocab": fields.vocab, "merges": fields.merges}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None, "post_processor": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": steps}, "decoder": None, "model": model}


def with_added(fields, added):                  # the same with special tokens
    return fields | {"added_tokens": [token | dict.fromkeys(_ABSENT_IN_ADDED, False) for token in added]}


def byte_letters():                             # -> {letter: byte}
    """The letters that stand for bytes in a tokenizer.json: printable bytes for themselves, the others from U+0100 on.

    Source: GPT-2's encoder.py, bytes_to_unicode.
    """
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in kept]
    return {chr(byte): byte for byte in kept} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _absent(fields, names, source):
    for name, reason in names.items():
        if fields.get(name) not in (None, False, ""):
            raise _not_v4s(f"{source}.{name}" if ": model" in source else f"{source}: {name}", fields[name], f"it {reason}")


def _not_v4s(field, value, reason):             # -> Refused, to raise
    return Refused(f"{field}: expected none, as V4's tokenizers have none ({reason}), got {brief(value)}. "
                   "Take DeepSeek's tokenizer.json.")


def _says_nothing(step, parts):                 # null, or the release's empty sequence
    return step is None or step == {"type": "Sequence", parts: []}


def _splits(step, source):                      # the pre_tokenizer -> [{"Regex": rule}]
    steps = step.get("pretokenizers") if isinstance(step, dict) and step.get("type") == "Sequence" else [step]
    if not isinstance(steps, list) or not steps or not all(isinstance(one, dict) for one in steps):
        raise Refused(f"{source}: expected rules that split text, then ByteLevel, got {brief(step)}. Without it text is lost.")
    if len(steps) > MOST_SPLITS:
        raise Refused(f"{source}: expected at most {MOST_SPLITS} steps, got {len(steps):,}. V4 has 4.")
    last = steps[-1]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space", True) is not False or last.get("use_regex") is not False:
        raise Refused(f"{source}: expected ByteLevel as the last step, add_prefix_space and use_regex false, got {brief(last)}. "
                      "Without it text is lost or changed.")
    return [_rule(one, source) for one in steps[:-1]]


def _rule(step, source):
    if step.get("type") != "Split" or step.get("behavior") != "Isolated" or step.get("invert", False) is not False:
        raise Refused(f"{source}: expected Split with the behavior Isolated, which keeps all text, got {brief(step)}. "
                      "Take DeepSeek's tokenizer.json.")
    pattern = step.get("pattern")
    rule = pattern.get("Regex") if isinstance(pattern, dict) and set(pattern) == {"Regex"} else None
    if not is_text(rule) or not 0 < len(rule) <= LONGEST_RULE:
        raise Refused(f"{source}: expected a Regex of 1 to {LONGEST_RULE:,} letters as the pattern, got {brief(pattern)}.")
    return {"Regex": rule}


def _check_ends(fields, source):                # both are ours to do, so only what they would do is asked
    decoder, after = fields.get("decoder"), fields.get("post_processor")
    if decoder is not None and (not isinstance(decoder, dict) or decoder.get("type") != "ByteLevel"):
        raise Refused(f"{source}: expected ByteLevel as the decoder, got {brief(decoder)}. Is it DeepSeek's?")
    if after is not None and (not isinstance(after, dict) or after.get("type") not in ("ByteLevel", "TemplateProcessing")):
        raise Refused(f"{source}: expected ByteLevel or none as the post_processor, got {brief(after)}. Is it DeepSeek's?")


def _added(tokens, source):                     # -> [the fields of a token that count]
    wanted = {"id": int, "content": str, "special": bool, "normalized": bool}
    found = []
    for token in tokens if isinstance(tokens, list) else [tokens]:
        if not (isinstance(token, dict) and all(type(token.get(name)) is kind for name, kind in wanted.items())):
            raise Refused(f"{source}: expected a list of {{id, content, special, normalized, ...}} at added_tokens, got "
                          f"{brief(token)}. Is it a tokenizer.json?")
        if not is_text(token["content"]) or not 0 < len(token["content"]) <= LONGEST_NAME or token["id"] < 0:
            raise Refused(f"{source}: added_tokens: expected a name of 1 to {LONGEST_NAME:,} letters and an id, got "
                          f"{brief(token)}: no valid text, or no id. Was the file edited by hand?")
        for name in _ABSENT_IN_ADDED:
            if token.get(name, False) is not False:
                raise _not_v4s(f"{source}: added_tokens: {name} of {brief(token['content'])}", token[name],
                               "it takes spaces away, or passes over the token")
        found.append({name: token[name] for name in wanted})
    return found


def _vocab(vocab, source):
    if not isinstance(vocab, dict) or not all(type(id) is int and id >= 0 for id in vocab.values()):
        raise Refused(f"{source}: expected a vocabulary at model.vocab, got {brief(vocab)}. Is it a tokenizer.json?")
    missing = byte_letters().keys() - vocab.keys()
    if missing:
        raise Refused(f"{source}: expected a byte-level vocabulary, got one that lacks {len(missing)} of 256 bytes. "
                      "Is it DeepSeek's?")
    return vocab


def _merges(merges, vocab, names, source):      # -> [(left, right)]
    """Each pair is of known tokens and makes a known one, and every longer token is made by some pair.

    So in V4's file and in ours; a pair that is lost or misspelt would split text otherwise, and nobody would see it.
    """
    if not isinstance(merges, list):
        raise Refused(f"{source}: expected a list of pairs at model.merges, got {brief(merges)}. Is it a tokenizer.json?")
    pairs = []
    for merge in merges:
        pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) if isinstance(merge, list) else ()
        known = len(pair) == 2 and all(isinstance(half, str) and half in vocab for half in pair)
        if not known or pair[0] + pair[1] not in vocab:
            raise Refused(f"{source}: expected pairs of tokens that make a token at model.merges, got {brief(merge)}. "
                          "Was the file edited by hand?")
        pairs.append(pair)
    letters = byte_letters()
    longer = {token for token in vocab if token not in letters and token not in names}
    made = {left + right for left, right in pairs}
    if len(set(pairs)) < len(pairs) or made - longer or longer - made:
        odd = next(iter(sorted(longer ^ made)), "a pair")
        raise Refused(f"{source}: expected merges that make each longer token of the vocabulary, each pair once, got "
                      f"{len(pairs):,} for {len(longer):,} tokens, {brief(odd)} among those amiss. Was the file edited by hand?")
    return pairs


def _check_ids(vocab, added, source):           # every id from 0 on once; special tokens that the vocabulary lacks come last
    numbers = iter(range(len(vocab), len(vocab) + len(added)))
    moved = [token for token in added if token["id"] != (vocab[token["content"]] if token["content"] in vocab else next(numbers))]
    if moved:
        raise Refused(f"{source}: expected the vocabulary's own id or the next free one for each of added_tokens, got "
                      f"{brief(moved[0])}. Was the file edited by hand?")
    if len({token["content"] for token in added}) < len(added) or set(vocab.values()) != set(range(len(vocab))):
        raise Refused(f"{source}: two tokens share an id or a name, or an id has no token. Was the file edited by hand?")
