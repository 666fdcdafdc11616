"""Training a small tokenizer that splits text as V4's does.

Byte-level BPE: start from 256 bytes, join the commonest neighbouring pair, again and again, never across a split.
Not here: reading and using a tokenizer (tokenizer.py), the texts (stdlib.py).
"""

import json

from v4mini.shapes import Refused
from v4mini.text.special import BOS, EOS, FLAGGED, SPECIALS

BYTES = 256
LONGEST = 16                                    # bytes in one token, so that rulers of dashes win no places

# Source: the pre-tokeniser of the released tokenizer.json, as other ports describe it. Each rule cuts what the one
# before it left whole.
NUMBERS = r"\p{N}{1,3}"                         # 2026 -> 202 6
CJK = "[\u3040-\u30ff\u4e00-\u9fa5]+"           # kana and Han
WORDS = "|".join((
    r"[!-/:-@\[-`{-~][A-Za-z]+",                # an ASCII mark glued to ASCII letters: .append  _name  (self
    r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+",    # letters, with the one character before them: most often a space
    r" ?[\p{P}\p{S}]+[\r\n]*",                  # marks, with a space before and the newlines after
    r"\s*[\r\n]+",                              # white space up to a newline
    r"\s+(?!\S)",                               # white space, except the one space that belongs to the next word
    r"\s+",
))


def train(texts, vocab_size):                   # strings -> the text of a tokenizer.json
    """Learn a vocabulary of exactly `vocab_size`: special tokens first, then the 256 bytes, then joined pairs."""
    from tokenizers import trainers
    least = len(SPECIALS) + BYTES
    if type(vocab_size) is not int or vocab_size < least:
        raise Refused(f"train: vocab_size must be an integer of at least {least} (special tokens and bytes), got {vocab_size!r}.")
    engine, alphabet = _untrained()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=_added_tokens(), initial_alphabet=alphabet,
                                  max_token_length=LONGEST + 1, show_progress=False)      # the trainer stays below it
    engine.train_from_iterator(_strings(texts), trainer)
    if engine.get_vocab_size() != vocab_size:
        raise Refused(f"train: expected {vocab_size} tokens, but the texts hold pairs for {engine.get_vocab_size()} only. "
                      "Give more text or a smaller vocab_size.")
    return _shortest(json.loads(engine.to_str()))


def tokenizer_config(max_seq_len):              # -> the text of a tokenizer_config.json
    """What transformers reads beside tokenizer.json. As in the release: no automatic BOS or EOS, and EOS pads."""
    fields = {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": False, "add_eos_token": False,
              "bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "clean_up_tokenization_spaces": False,
              "model_max_length": max_seq_len}
    return json.dumps(fields, ensure_ascii=False, indent=1) + "\n"


def _strings(texts):                            # a (name, text) pair would be taken for two texts, and a str for letters
    for text in (None,) if isinstance(texts, str) else texts:
        if not isinstance(text, str):
            raise Refused("train: expected an iterable of texts, each a str. From stdlib_texts(): (text for _, text in ...).")
        yield text


def _untrained():                               # -> engine, the 256 letters that stand for bytes
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    engine = Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.Sequence([
        *(pre_tokenizers.Split(Regex(rule), "isolated") for rule in (NUMBERS, CJK, WORDS)),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    engine.decoder = decoders.ByteLevel()
    return engine, pre_tokenizers.ByteLevel.alphabet()


def _added_tokens():
    from tokenizers import AddedToken
    return [AddedToken(name, normalized=False, special=name in FLAGGED) for _, _, name in SPECIALS]


def _shortest(fields):                          # the same tokenizer in fewer bytes
    # the trainer flags every special token it is given; the release does not
    for token in fields["added_tokens"]:
        token["special"] = token["content"] in FLAGGED
    # no byte-level token holds a space, so "a b" is a pair, as tokenizers wrote until 0.20 and reads to this day
    fields["model"]["merges"] = [" ".join(pair) for pair in fields["model"]["merges"]]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")) + "\n"
