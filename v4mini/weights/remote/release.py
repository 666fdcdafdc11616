"""A checkpoint whose bytes are elsewhere: names, headers, places, and one tensor at a time.

Not here: how bytes come (hub.py, folder.py), what a model needs (spec.py), putting parts into a folder (plan.py, fetch.py).
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from v4mini.config import Config
from v4mini.shapes import Refused
from v4mini.untrusted import brief
from v4mini.weights.file import DTYPES, MAX_HEADER_BYTES, parse_header
from v4mini.weights.remote.budget import LIMIT
from v4mini.weights.remote.folder import Folder
from v4mini.weights.remote.parts import choose
from v4mini.weights.store import INDEX, read_index
from v4mini.writing import make_folder, write_whole

AT_ONCE = 8                             # headers asked for at the same time
FIRST_GUESS = 1 << 17                   # bytes of a header of which nothing is known
ENTRY_BYTES = 84                        # what a header says of a tensor, its name aside: 78 letters on average in Flash


def open_release(where, endpoint=None, limit=LIMIT, cache=None, **more):        # -> Release
    """Open hf://owner/name[@revision], or a folder, without reading any tensor. Raises Refused.

    limit: bytes that may be read in all. cache, patience: as Hub has them.
    """
    if "://" not in str(where):
        return Release(Folder(where, limit))
    try:
        from v4mini.weights.remote.hub import Hub  # here, since it takes a second
    except ImportError as error:
        raise Refused(f'{where}: this needs a newer huggingface_hub ({error}). Run: python -m pip install -e ".[hub]"') from None
    return Release(Hub(where, endpoint, limit, cache, **more))


class Release:
    """What a checkpoint holds, from its index and the headers that were asked for; `source` is a Hub or a Folder."""

    def __init__(self, source):
        self.source, self.name = source, source.name
        self._headers = {}
        self._config = None
        self._shard_of = {}
        self._shard_of, self.metadata = self._index()

    @property
    def config(self):                   # -> Config
        if self._config is None:
            self._config = Config.load(self.source.path("config.json"))
        return self._config

    @property
    def names(self):                    # -> [tensor name], as the index has them
        return list(self._shard_of)

    @property
    def shards(self):                   # -> [file name]
        return sorted(set(self._shard_of.values()))

    @property
    def total_size(self):               # -> bytes of all tensors as the index counts them; 0: it does not say
        said = self.metadata.get("total_size")
        return said if type(said) is int and said > 0 else 0

    @property
    def others(self):                   # -> [file name]: tokenizer.json and the like
        return [name for name in self.source.files if not name.endswith(".safetensors") and name != INDEX]

    def where(self, name):              # -> file name of the shard
        """Which file holds a tensor. Raises Refused, with the nearest names."""
        if name not in self._shard_of:
            choose(name, self._shard_of, ())
            raise Refused(f"{name!r}: expected one tensor, got the beginning of several. Add .weight or what follows.")
        return self._shard_of[name]

    def header(self, shard):            # -> {name: TensorEntry}
        """What one file says it holds: read once, kept by commit."""
        if shard not in self._headers:
            size = self.source.listed(shard).size
            what = f"{self.name}/{shard}"
            kept = self.source.cache and self.source.cache / f"{shard}.header"
            with contextlib.suppress(Refused, OSError):         # kept bytes that are damaged are read again
                if kept:
                    self._headers[shard] = parse_header(kept.read_bytes(), size, what)[0]
                    return self._headers[shard]
            raw = self.header_bytes(shard)
            self._headers[shard] = parse_header(raw, size, what)[0]
            if kept:
                make_folder(kept.parent)
                write_whole(kept, raw)
        return self._headers[shard]

    def header_bytes(self, shard):      # -> 8 bytes of length and the JSON, unchecked
        """A file's header as it stands there."""
        size = self.source.listed(shard).size
        raw = self.source.read(shard, 0, min(size, self._guess(shard)))
        end = min(size, 8 + min(int.from_bytes(raw[:8], "little"), MAX_HEADER_BYTES))
        return raw[:end] + (self.source.read(shard, len(raw), end) if end > len(raw) else b"")

    def read_headers(self, shards=None, progress=None):
        """Read several headers, some at a time. progress(how many so far) is called after each."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for number, _ in enumerate(pool.map(self.header, self.shards if shards is None else shards), 1):
                    if progress:
                        progress(number)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def entry(self, name):              # -> TensorEntry, places counted from the beginning of its file
        """A tensor's dtype, shape and place. Reads one header."""
        shard = self.where(name)
        if name not in self.header(shard):
            raise Refused(f"{self.name}: expected {brief(name)} in {shard}, as the index says, got a file without it. "
                          "Is the release still being uploaded?")
        return self.header(shard)[name]

    def entries(self, names=None):      # -> {name: TensorEntry}
        return {name: self.entry(name) for name in (self._shard_of if names is None else names)}

    def tensor(self, name):             # -> array, read-only
        """Read one tensor, nothing else."""
        entry = self.entry(name)
        shape = (*entry.shape[:-1], entry.shape[-1] // 2) if entry.dtype == "F4" else entry.shape
        raw = self.source.read(self.where(name), entry.start, entry.stop)
        return np.ndarray(shape, DTYPES[entry.dtype], buffer=raw)

    def _index(self):                   # -> {name: shard}, metadata
        if INDEX in self.source.files:
            return read_index(self.source.path(INDEX))
        single = [name for name in self.source.files if name.endswith(".safetensors")]
        if len(single) != 1:
            raise Refused(f"{self.name}: expected {INDEX} or one .safetensors file, got {len(single)} files. Is it a checkpoint?")
        return dict.fromkeys(self.header(single[0]), single[0]), {}

    def _guess(self, shard):            # -> bytes: enough for most headers, so that one request will do
        names = [len(name) for name, place in self._shard_of.items() if place == shard]
        return 8 + sum(names) + ENTRY_BYTES * len(names) + 64 if names else FIRST_GUESS
