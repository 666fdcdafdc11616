"""What a layer asks of the past, and the past of a sequence that has none.

A sequence's memory has `length` (tokens seen before this call) and one method, `extend`. The kept rows of a layer have
names: "window", "entries", "index_keys", and the unfinished blocks "kv", "score", "index_kv", "index_score".
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
