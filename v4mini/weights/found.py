"""What a checkpoint holds, under released names.

Not here: what must be there (spec.py), spellings (names.py).
"""

from typing import NamedTuple

from v4mini.weights.names import resolve


class Found(NamedTuple):
    """A released tensor as the model will see it: for experts stored together, one expert's slice."""

    dtype: str
    shape: tuple


def stored_tensors(store):                              # -> {released name: Found}
    """Every tensor of a store, whatever its spelling. Raises Refused as names.resolve does."""
    found = {}
    for name, source in resolve(store.entries()).items():
        entry = store.entry(source.name)
        shape = tuple(entry.shape)
        if source.index is not ...:
            rows = source.index[1]
            shape = (rows.stop - rows.start, *shape[2:])
        found[name] = Found(entry.dtype, shape)
    return found
