"""What a layer asks of the past, and the past of a sequence that has none.

A sequence's memory has `length` (tokens seen before this call) and one method, `extend`. The kept rows of a layer have
names: "window", "entries", "index_keys", and the unfinished blocks "kv", "score", "index_kv", "index_score".
A memory whose tokens stand elsewhere than at 0, 1, 2, ... has a second method, `place`: training rows start and jump anywhere.
Not here: memory that lasts (inference/cache.py).
"""


class NoMemory:
    """A sequence that starts here and is forgotten afterwards."""

    length = 0

    def extend(self, layer, name, rows):                # [n, ...] -> [kept before + n, ...]
        """Append rows to those kept under (layer, name); give back old and new together.

        Kept are as many as the next call will ask for: window_size - 1 rows of the window, the unfinished block (in CSA
        the one before it too), all entries and keys.
        """
        return rows


def positions_of(memory, order):                        # [n] int, 0 for a sequence's first token -> [n] int
    """Where these tokens of a sequence stand, for its rotations: one after the other, unless its memory says otherwise."""
    return memory.place(order) if hasattr(memory, "place") else order
