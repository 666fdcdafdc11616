"""Letters for array sizes (LETTERS), and one check that explains itself (expect).

Not here: dtypes, devices, configs.
"""

import warnings

from v4mini.printable import printable

LETTERS = {                 # as in "# [T, H, hd] -> [T, D]": meaning, and the field of a Config that holds it, if one does
    "T": ("tokens now", ""), "S": ("positions stored", ""), "N": ("compressed entries", ""),
    "V": ("vocabulary", "vocab_size"), "D": ("width of a stream", "dim"), "M": ("residual streams", "hc_mult"),
    "L": ("layers", "n_layers"), "H": ("heads", "n_heads"), "hd": ("size of a head", "head_dim"),
    "rd": ("rotated part of a head", "rope_head_dim"), "Hi": ("heads of the indexer", "index_n_heads"),
    "di": ("size of an index head", "index_head_dim"), "E": ("routed experts", "n_routed_experts"),
    "K": ("experts chosen for a token", "n_activated_experts"), "k": ("entries picked by the indexer", "index_topk"),
}


class Refused(ValueError):
    """A user's mistake, told in one sentence: what was wanted, what came, what to try.

    Names and values of strangers stand in such sentences, so control characters are made harmless here, once for all.
    """

    def __init__(self, sentence=""):
        super().__init__(printable(str(sentence), keep="\n"))


class Notice(UserWarning):
    """Something was mended, or done in another way than usual; what is computed is right. Told in one line."""


def notify(sentence):
    """Warn with a Notice. It names no line of code, since none is to blame: so it takes one line wherever it is shown."""
    warnings.warn_explicit(printable(sentence), Notice, "v4mini", 0)


def expect(name, array, letters, hint="", **sizes):     # -> the letters' sizes, as a dict
    """Check that `array` has one axis per letter, and that letters named in `sizes` have those sizes.

    expect("weight", w, "D", D=8)  ->  {"D": 8}, or Refused:
    "weight: expected [D] with D = 8, got [9]. ..."
    """
    wanted = letters.split()
    found = dict(sizes)
    fits = len(wanted) == array.ndim
    if fits:
        for letter, size in zip(wanted, array.shape):
            fits = fits and found.setdefault(letter, size) == size
    if fits:
        return {letter: found[letter] for letter in wanted}
    known = ", ".join(f"{letter} = {sizes[letter]}" for letter in wanted if letter in sizes)
    message = f"{name}: expected [{', '.join(wanted)}]{' with ' + known if known else ''}, got {list(array.shape)}."
    raise Refused(f"{message} {hint}".rstrip())
