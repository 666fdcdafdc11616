"""A byte-level BPE as one would explain it: cut by the file's own rules, then join the earliest-learned pair until none is left."""

import json

from v4mini.text.tokenizer import byte_letters


class NaiveBPE:
    def __init__(self, path):
        import regex

        fields = json.loads(path.read_text(encoding="utf-8"))
        self.vocab = fields["model"]["vocab"]
        merges = (pair if isinstance(pair, list) else pair.split(" ") for pair in fields["model"]["merges"])
        self.rank = {tuple(pair): rank for rank, pair in enumerate(merges)}
        self.special = {token["content"]: token["id"] for token in fields["added_tokens"]}
        names = sorted(map(regex.escape, self.special), key=len, reverse=True)
        self.names = regex.compile("(" + "|".join(names) + ")")
        self.rules = [regex.compile(step["pattern"]["Regex"]) for step in fields["pre_tokenizer"]["pretokenizers"][:-1]]
        self.letters = {byte: letter for letter, byte in byte_letters().items()}

    def encode(self, text, special=True):
        ids = []
        for part in self.names.split(text) if special else [text]:
            ids += [self.special[part]] if special and part in self.special else self._words(part)
        return ids

    def _words(self, text):
        words = [text]
        for rule in self.rules:                 # each cuts what the one before it left whole
            words = [piece for word in words for piece in _cut(rule, word)]
        return [id for word in words for id in self._pieces(word)]

    def _pieces(self, word):
        parts = [self.letters[byte] for byte in word.encode("utf-8")]
        while True:
            ranks = [self.rank.get(pair, len(self.rank)) for pair in zip(parts, parts[1:])]
            if not ranks or min(ranks) == len(self.rank):
                return [self.vocab[part] for part in parts]
            at = ranks.index(min(ranks))
            parts[at: at + 2] = [parts[at] + parts[at + 1]]


def _cut(rule, text):
    place = 0
    for found in rule.finditer(text):
        if found.start() > place:
            yield text[place: found.start()]
        if found.group():
            yield found.group()
        place = found.end()
    if place < len(text):
        yield text[place:]
