"""A tokenizer for tests of what shows tokens: one token a letter."""


class Letters:
    """Ids 1 to 96 are the letters from the space on; 0 is BOS."""

    bos_id = 0

    def encode(self, text):
        return [1 + (ord(letter) - 32) % 96 for letter in text]

    def piece(self, id):
        return chr(id + 31)
