"""ChatMemory: one conversation's cache, kept between turns, so that each turn reads only what is new.

The past of a chat changes: a new question drops older thoughts, and an answer read back as text may split into other tokens
than those that were said. So two caches are kept, one that ends where the past is sure to stay, one that goes on to the end
of the answer. The next turn goes on from whichever fits further, and reads the rest.

The model and its caches are arguments: a model has new_cache() and prefill(ids, cache), a cache has length, max_rewind,
rewind() and copy(). Not here: them (inference/), which ids a conversation has (chat.py), choosing tokens.
"""


class ChatMemory:
    """What a model remembers of a chat. `read` and `kept` count the tokens of the last turn that were read, and that were not."""

    def __init__(self, model):
        self._model = model
        self._lines = []
        self.read = self.kept = 0

    def open(self, ids, lasting=None, progress=None):       # -> cache that holds all of `ids` but the last one
        """Make ready to answer. Then generate from ids[-1:] with this cache, and tell `said` each token that comes.

        lasting: how many of `ids` will still be there, unchanged, when the next question comes (default: all).
        progress(tokens read so far) may watch. Interrupted, by Ctrl-C too, it still knows what its caches hold.
        """
        most = len(ids) - 1
        stop = most if lasting is None else min(lasting, most)
        line = max(self._lines, key=lambda line: line.fit(ids[:stop]), default=None)
        self.kept = line.fit(ids[:stop]) if line else 0
        if not self.kept:                       # not even its first token fits, or it lies beyond what rewinding can reach
            line = _Line(self._model.new_cache())
        self.read = most - self.kept
        line.back_to(self.kept)
        self._lines = [line]
        self._read(line, ids[:stop], progress)
        twin = line.copy()                      # copies share what is long, and the original goes on faster: it takes what stays
        stays, speaks = (line, twin) if lasting is not None and lasting < len(ids) else (twin, line)
        self._lines = [stays, speaks]
        self._read(speaks, ids[:most], progress)
        speaks.ids.append(ids[-1])
        return speaks.cache

    def said(self, id):
        """A token of the answer. Whether the cache holds it already, the cache says."""
        self._lines[-1].ids.append(id)

    def forget(self):
        """Begin anew."""
        self._lines = []
        self.read = 0
        self.kept = 0

    def _read(self, line, ids, progress):
        before = line.cache.length
        line.ids = list(ids)
        if len(ids) > before:
            self._model.prefill(ids[before:], line.cache, progress and (lambda count: progress(before - self.kept + count)))


class _Line:
    """A cache, and the tokens it was given: it holds as many of them as its length says."""

    def __init__(self, cache, ids=()):
        self.cache = cache
        self.ids = list(ids)

    def fit(self, expected):                      # -> how many of `expected` are there already, 0 if rewinding cannot reach them
        held = self.ids[: self.cache.length]
        differing = (place for place, (ours, theirs) in enumerate(zip(held, expected)) if ours != theirs)
        same = next(differing, min(len(held), len(expected)))
        return same if len(held) - same <= self.cache.max_rewind else 0

    def back_to(self, length):
        if length < self.cache.length:
            self.cache.rewind(self.cache.length - length)
        self.ids = self.ids[:length]

    def copy(self):
        return _Line(self.cache.copy(), self.ids)
