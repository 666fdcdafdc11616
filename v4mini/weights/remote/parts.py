"""Which tensors a word means, and which names are near when it means none.

    layers.3.ffn.gate           all of layers.3.ffn.gate.*        embed, head, mtp.0, layers.3.ffn.experts.17
    layers.*.ffn.gate           the same in every layer           * stands for one or more letters, dots too
    tokenizer.json              a file as it is
    all                         every tensor, and the small files beside them

Not here: where they lie (release.py).
"""

import difflib
import fnmatch
import re

from v4mini.shapes import Refused

SHOWN = 6                               # names offered at most


def choose(part, names, files):         # -> [tensor names], [file names]
    """What `part` means among tensor names and other files. Raises Refused with the nearest names."""
    if part == "all":
        return list(names), [name for name in files if re.fullmatch(r"[^/]+\.json", name)]
    if part in files:
        return [], [part]
    pattern = re.compile(fnmatch.translate(part) + "|" + fnmatch.translate(part + ".*"))
    found = [name for name in names if pattern.match(name)]
    if not found:
        raise Refused(f"{part!r}: expected a tensor's name or its beginning, got none of {len(names):,}. "
                      + _advice(part, names, files))
    return found, []


def _advice(part, names, files):        # -> "Did you mean a or b?"
    near = difflib.get_close_matches(part, files, 2, 0.8) or _nearest(part.split("."), names) or _ending_so(part, names)
    return f"Did you mean {' or '.join(near[:SHOWN])}?" if near else "v4mini inspect --tensors lists them."


def _nearest(words, names):             # -> [names as far as they agree, with the nearest next words]
    tree = {}
    for name in names:
        node = tree
        for word in name.split("."):
            node = node.setdefault(word, {})
    agreed = []
    for word in words:
        if word not in tree:
            break
        agreed.append(word)
        tree = tree[word]
    wrong = words[len(agreed)] if len(agreed) < len(words) else ""
    numbers = sorted((word for word in tree if word.isdigit()), key=int)
    if wrong.isdigit() and numbers:     # layers.99: the last one there is
        near = numbers[-1:]
    else:
        near = difflib.get_close_matches(wrong, tree, SHOWN, 0.5)
    if not near and agreed:             # the folder is right: what is in it
        near = list(tree)[:SHOWN]
    return [_with_the_rest([*agreed, word], tree[word], words[len(agreed) + 1:]) for word in near]


def _with_the_rest(words, tree, rest):  # layers.5 for layers.99: then layers.5.ffn.gate for layers.99.ffn.gate
    for word in rest:
        if word not in tree:
            break
        words, tree = [*words, word], tree[word]
    return ".".join(words)


def _ending_so(part, names):            # gate -> layers.0.ffn.gate
    for name in names:
        place = f".{name}.".find(f".{part}.")
        if place >= 0:
            return [name[: place + len(part)]]
    return []
