"""CachedModel: a Model that remembers, so that the next token costs one token.

Not here: what is remembered (cache.py), choosing the next token (sampling.py).
"""

from contextlib import contextmanager

import numpy as np

from v4mini.inference.cache import Cache
from v4mini.layers.finite import finite_logits
from v4mini.model import Model
from v4mini.planning.memory import RESERVE
from v4mini.shapes import Refused

CHUNK = 512             # tokens of a prompt at once: bounds scratch memory, changes no result


class CachedModel(Model):
    """What v4mini.load returns."""

    def new_cache(self, storage="float32", reserve=RESERVE, path=None):     # -> Cache
        """An empty cache for one sequence; see Cache for the choices."""
        return Cache(self.config, storage, reserve, path, formats=self.ops.formats)

    def load_cache(self, path, mapped=False):           # -> Cache
        """One that cache.save wrote; see Cache.load."""
        return Cache.load(path, self.config, mapped, self.ops.formats)

    def prefill(self, ids, cache, progress=None, chunk=CHUNK):      # [T] int, Cache -> [V] float32
        """Read a text, or more of it: appends to what `cache` holds. Gives the scores of the next token.

        `chunk` tokens are read at a time: more cost more memory, the result is the same. progress(tokens done) is called after
        each. Interrupted, by Ctrl-C or by an exception of `progress`, the cache keeps the chunks that were done and nothing
        else; to go on, prefill(ids[cache.length:], cache) if it was empty before.
        """
        ids, _ = self.flatten([ids])
        if not isinstance(chunk, int) or chunk < 1:
            raise Refused(f"chunk: expected 1 or more tokens, got {chunk!r}. Leave it out for {CHUNK}.")
        self._check(len(ids), cache)
        for start in range(0, len(ids), chunk):
            last = self.prefill_many([ids[start: start + chunk]], [cache])[0]
            if progress:
                progress(min(start + chunk, len(ids)))
        return last

    def step(self, token, cache):                       # int, Cache -> [V] float32
        """Append one token. Gives the scores of the next."""
        return self.prefill_many([[token]], [cache])[0]

    def prefill_many(self, sequences, caches, trace=None):      # [[T1], [T2], ...], one Cache each -> [n, V] float32
        """Append to several sequences at once, each as if it were alone. trace: a Trace of this call."""
        with self.appending(sequences, caches) as (ids, spans):
            def run(model):
                return model.head(model.streams(ids, spans, trace, logits_to_keep=1), model.weights.head)
            return finite_logits(self, run)

    def step_many(self, tokens, caches):                # [n] int, n caches -> [n, V] float32
        """One more token of each of n sequences."""
        return self.prefill_many(np.asarray(tokens).reshape(-1, 1), caches)

    @contextmanager
    def appending(self, sequences, caches):             # gives ids [T], [(slice, Cache), ...], as `streams` wants them
        """What runs inside becomes past when the block ends well. Otherwise no cache remembers any of it."""
        ids, spans = self.flatten(sequences)
        if len(spans) != len(caches) or len({id(cache) for cache in caches}) != len(caches):
            raise Refused(f"caches: expected one of its own for each of {len(spans)} sequences, got {len(caches)}. "
                          "Call new_cache() for each.")
        spans = list(zip(spans, caches))
        for span, cache in spans:
            self._check(span.stop - span.start, cache)
        try:
            yield ids, spans
        except BaseException:                           # Ctrl-C too
            for cache in caches:
                cache.abandon()
            raise
        for span, cache in spans:
            cache.commit(span.stop - span.start)

    def _check(self, tokens, cache):
        if cache.config != self.config or cache.layers != tuple(range(self.config.n_layers)):
            raise Refused("cache: it was made for a model of another config. Call new_cache() on this one.")
        if cache.length + tokens > self.config.max_seq_len:
            raise Refused(f"cache: {cache.length} tokens and {tokens} more are over this config's {self.config.max_seq_len} "
                          "(max_seq_len). Start a new cache.")
