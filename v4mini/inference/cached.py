"""CachedModel: a Model that remembers, so that the next token costs one token.

Not here: what is remembered (cache.py), choosing the next token (sampling.py).
"""

import numpy as np

from v4mini.inference.cache import Cache
from v4mini.model import Model
from v4mini.shapes import Refused

CHUNK = 512             # tokens of a prompt at once: bounds scratch memory, changes no result


class CachedModel(Model):
    """What v4mini.load returns."""

    def new_cache(self):
        return Cache(self.config)

    def prefill(self, ids, cache, progress=None):       # [T] int, Cache -> [V] float32
        """Read a text, or more of it: appends to what `cache` holds. Gives the scores of the next token.

        progress(tokens done) is called after every chunk. Interrupted, the cache keeps the chunks that were done.
        """
        ids, _ = self.flatten([ids])
        for start in range(0, len(ids), CHUNK):
            last = self.prefill_many([ids[start: start + CHUNK]], [cache])[0]
            if progress:
                progress(min(start + CHUNK, len(ids)))
        return last

    def step(self, token, cache):                       # int, Cache -> [V] float32
        """Append one token. Gives the scores of the next."""
        return self.prefill_many([[token]], [cache])[0]

    def prefill_many(self, sequences, caches):          # [[T1], [T2], ...], one Cache each -> [n, V] float32
        """Append to several sequences at once, each as if it were alone."""
        ids, spans = self.flatten(sequences)
        if len(spans) != len(caches) or len({id(cache) for cache in caches}) != len(caches):
            raise Refused(f"caches: expected one of its own for each of {len(spans)} sequences, got {len(caches)}. "
                          "Call new_cache() for each.")
        for span, cache in zip(spans, caches):
            self._check_room(span.stop - span.start, cache)
        try:
            streams = self.streams(ids, list(zip(spans, caches)))
        except BaseException:
            for cache in caches:
                cache.abandon()
            raise
        for span, cache in zip(spans, caches):
            cache.commit(span.stop - span.start)
        return self.head(streams[[span.stop - 1 for span in spans]], self.weights.head)

    def step_many(self, tokens, caches):                # [n] int, n caches -> [n, V] float32
        """One more token of each of n sequences."""
        return self.prefill_many(np.asarray(tokens).reshape(-1, 1), caches)

    def _check_room(self, tokens, cache):
        if cache.config != self.config:
            raise Refused("cache: it was made for a model of another config. Call new_cache() on this one.")
        if cache.length + tokens > self.config.max_seq_len:
            raise Refused(f"cache: {cache.length} tokens and {tokens} more are over this config's {self.config.max_seq_len} "
                          "(max_seq_len). Start a new cache.")
