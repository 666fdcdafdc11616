"""Cache: all that a sequence's past leaves behind, layer by layer.

    window       the rows of the last window_size tokens            fixed
    kv, score, index_kv, index_score    unfinished blocks           fixed, nothing lost
    entries      one row per 4 (CSA) or 128 (HCA) tokens            grows
    index_keys   one row per 4 tokens (CSA)                         grows

Rows below `length` are committed; rows from `length` on belong to the running call and may be overwritten. Only the end of a
call moves `length`.
So an interrupted call leaves no trace, going back is subtraction, and copies can share the rows that both have committed.

Not here: what a layer does with it (layers/), how rows look (numerics/rows.py), where they lie (cache_storage.py), sizes before
there is a cache (planning/memory.py).
"""

from typing import NamedTuple

import numpy as np

from v4mini.inference.cache_file import read_cache, write_cache
from v4mini.inference.cache_storage import MemoryStorage, SavedStorage, Store, file_storages
from v4mini.layers.sequences import Memory
from v4mini.numerics.rows import formats
from v4mini.planning.memory import RESERVE, check_storage
from v4mini.shapes import Refused

FIRST_ROWS = 1 << 16            # of one kind, before there are more: no V4 has as wide a window


class Cache(Memory):
    """The memory of one sequence; see layers/sequences.py for what layers ask of it.

    storage: "float32", exact; "bfloat16"; or "released", DeepSeek's FP8 rows and FP4 index keys. With simulate="released"
        the model's rows are those numbers already, and only rotated dims lose what BF16 loses; with a plain float32 model
        the last two are lossy. Layers are handed rows as they will be remembered, so no way of chunking a text matters.
    reserve: how many tokens `rewind` can take back.
    path: a new file for the growing rows, so that a context may be larger than memory. It is scratch, gone after `close`.
    layers: those of the main model; an MTP block has its own length and takes a cache of its own, layers=[n_layers].
    formats: an engine's, see Backend.formats; NumPy's rows if left out.
    """

    def __init__(self, config, storage="float32", reserve=RESERVE, path=None, layers=None, formats=formats):
        check_storage(storage, reserve)
        self.config, self.storage, self.reserve = config, storage, reserve
        self.layers = tuple(range(config.n_layers) if layers is None else layers)
        self._sliding, self._growing = _parts(config, self.layers, formats(config, storage))
        self._owner = object()                          # who may add to a store
        self._scratch = None
        storages = {}
        if path is not None:
            self._must_lie_on_host("path")
            most = {key: (part.format, config.max_seq_len // part.ratio) for key, part in self._growing.items()}
            self._scratch, storages = file_storages(path, most)
        self._stores = {key: (Store(storages.get(key) or MemoryStorage(part.format), 0, self._owner),)
                        for key, part in self._growing.items()}
        self._state = _State(0, 0, {key: _SlidingRows(part.empty(reserve), 0) for key, part in self._sliding.items()}, {})

    def __repr__(self):
        return f"Cache of {self.length:,} tokens, {self.nbytes:,} bytes ({self.storage})"

    @property
    def length(self):
        """Tokens of the past."""
        return (self._state or self._open()).length

    @property
    def max_rewind(self):
        """Tokens that `rewind` can take back now: up to `reserve`."""
        return self._open().max_rewind

    @property
    def nbytes(self):
        """Bytes of the fixed parts in full and of the growing parts' rows in use, shared with a copy or not."""
        return sum(self.breakdown().values())

    def breakdown(self):                                # -> {kind: bytes}, kinds as in planning.memory.cache_breakdown
        state = self._open()
        kinds = dict.fromkeys(("window", "csa", "index_keys", "hca", "unfinished"), 0)
        for (_, name), rows in state.sliding.items():
            kinds["window" if name == "window" else "unfinished"] += rows.codes.nbytes
        for (layer, name), part in self._growing.items():
            pieces = self._pieces((layer, name), state.length // part.ratio)
            kinds["index_keys" if name == "index_keys" else self.config.layer_kind(layer)] += sum(p.nbytes for p in pieces)
        return kinds

    # ---- what layers and the model call ----

    def extend(self, layer, name, rows):                # -> [kept before + n, ...], float32
        """See layers.sequences.Memory.extend. Rows come as their format's `decode` and `joined` give them."""
        key = layer, name
        return self._slide(key, rows) if key in self._sliding else self._grow(key, rows)

    def commit(self, tokens):
        """The running call is done: what it added is past now. One assignment, so it happens or it does not."""
        state = self._open()
        self._state = _State(state.length + tokens, min(self.reserve, state.max_rewind + tokens),
                           {**state.sliding, **state.pending}, {})

    def abandon(self):
        """The running call was interrupted: forget what it added."""
        self._open().pending.clear()

    # ---- what users call ----

    def rewind(self, tokens):
        """Take the last tokens back, as if they had never been there: going on gives the same bits.

        Refused beyond `max_rewind`: older rows of the window are gone.
        """
        state = self._open()
        if not isinstance(tokens, int | np.integer) or not 0 <= tokens <= state.max_rewind:
            raise Refused(f"rewind: expected 0 to {state.max_rewind} tokens, got {tokens!r}. The cache holds {state.length:,}, "
                          f"with reserve={self.reserve}; to go back further, make that larger or keep a copy().")
        self._state = state._replace(length=state.length - int(tokens), max_rewind=state.max_rewind - int(tokens), pending={})

    def copy(self):                                     # -> Cache
        """A second cache with the same past; both go on independently, so one long text can be asked many questions.

        Only the fixed parts are copied. Growing rows are shared: the first cache goes on adding where it did, the copy adds
        to rows of its own, in memory, even if the first one's lie in a file.
        """
        state = self._open()
        twin = object.__new__(Cache)
        twin.config, twin.storage, twin.reserve, twin.layers = self.config, self.storage, self.reserve, self.layers
        twin._sliding = self._sliding
        twin._growing = self._growing
        twin._owner = object()
        twin._scratch = None
        for key, part in self._growing.items():
            newest = self._stores[key][-1]
            newest.floor = max(newest.floor, state.length // part.ratio)
        twin._stores = dict(self._stores)
        twin._state = state._replace(sliding={key: self._copied(key) for key in state.sliding}, pending={})
        return twin

    def save(self, path, progress=None):
        """Write all of it to a safetensors file with a checksum, complete or not at all. progress(bytes so far) may watch."""
        state = self._open()
        tensors = {}
        for (layer, name), part in self._sliding.items():
            codes, first = state.sliding[layer, name]
            live = codes[part.first(state.length - state.max_rewind) - first: state.length - first]
            tensors[f"layers.{layer}.{name}"] = part.format, [part.format.to_host(live)]
        for (layer, name), part in self._growing.items():
            pieces = self._pieces((layer, name), state.length // part.ratio)
            tensors[f"layers.{layer}.{name}"] = part.format, [part.format.to_host(piece) for piece in pieces]
        numbers = {"reserve": self.reserve, "length": state.length, "rewindable": state.max_rewind}
        write_cache(path, self.config, self.storage, self.layers, numbers, tensors, progress)

    @classmethod
    def load(cls, path, config, mapped=False, formats=formats):         # -> Cache
        """The cache that was saved there, bit for bit. Refused if it is another config's, or not the bytes that were saved.

        mapped: leave the growing rows in the file, which then must stay as it is. formats: as in Cache; another engine's may
        have saved it. Not checked: that the same weights will continue it.
        """
        saved = read_cache(path, config)
        cache = cls(config, saved.storage, saved.reserve, layers=saved.layers, formats=formats)
        if mapped:
            cache._must_lie_on_host("mapped=True")
        length, max_rewind = saved.length, saved.max_rewind
        sliding = {}
        for (layer, name), part in cache._sliding.items():
            first = part.first(length - max_rewind)
            codes = part.empty(cache.reserve, at_least=length - first)
            stored = saved.tensor(f"layers.{layer}.{name}", part.format, length - first)
            codes[: length - first] = part.format.from_host(stored)
            sliding[layer, name] = _SlidingRows(codes, first)
        for (layer, name), part in cache._growing.items():
            codes = saved.tensor(f"layers.{layer}.{name}", part.format, length // part.ratio)
            if mapped:
                cache._stores[layer, name] = (Store(SavedStorage(codes), 0, None),)
            else:
                cache._stores[layer, name][0].write(0, part.format.from_host(codes))
        cache._state = _State(length, max_rewind, sliding, {})
        return cache

    def close(self):
        """Let go of everything, the scratch file too. Copies keep what they share; this cache cannot be used any more."""
        self._state = None
        self._stores = {}
        if self._scratch is not None:
            self._scratch.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- inside ----

    def _must_lie_on_host(self, wish):
        if not all(part.format.on_host for part in self._growing.values()):
            raise Refused(f"cache: expected rows in main memory for {wish}, got rows on this engine's device. Leave it out.")

    def _open(self):
        if self._state is None:
            raise Refused("cache: it was closed. Make a new one with new_cache(), or load_cache() one that was saved.")
        return self._state

    def _copied(self, key):                             # -> _SlidingRows: the rows in use alone; a reserve may be far more
        state = self._state
        part = self._sliding[key]
        codes, first = state.sliding[key]
        live = slice(part.first(state.length - state.max_rewind) - first, state.length - first)
        twin = part.format.empty(len(codes))
        twin[live] = codes[live]
        return _SlidingRows(twin, first)

    def _slide(self, key, rows):                        # the last rows before this call, and the new ones
        part = self._sliding[key]
        state = self._open()
        held = state.sliding[key]
        stop = state.length + len(rows)
        if stop - held.first > len(held.codes):         # at the end of the array: on to a fresh one
            held = self._moved(part, held, stop)
        codes, first = held
        codes[state.length - first: stop - first] = part.format.encode(rows)
        if len(codes) > part.usual(self.reserve):
            held = part.cut(held, stop, min(self.reserve, state.max_rewind + len(rows)), self.reserve)
        state.pending[key] = held
        return part.format.decode(codes[part.first(state.length) - first: stop - first])

    def _moved(self, part, held, stop):                 # -> _SlidingRows with room up to token `stop`
        length = self._state.length
        oldest = part.first(length - self._state.max_rewind)
        codes = part.empty(self.reserve, at_least=stop - oldest)
        codes[: length - oldest] = held.codes[oldest - held.first: length - held.first]
        return _SlidingRows(codes, oldest)

    def _grow(self, key, rows):                         # all rows so far, the new ones too
        part = self._growing[key]
        count = self._open().length // part.ratio
        if len(rows):
            self._writable(key, count).write(count, part.format.encode(rows))
        return part.format.joined(self._pieces(key, count + len(rows)))

    def _writable(self, key, count):                    # -> the Store that row number `count` may be written to
        stores = self._stores[key]
        if stores[-1].owner is not self._owner or count < stores[-1].floor:         # a copy's past lies there
            older = [store for store in stores if store.start < count]
            stores = (*older, Store(MemoryStorage(self._growing[key].format), count, self._owner))
            self._stores[key] = stores
        return stores[-1]

    def _pieces(self, key, count):                      # -> [codes], at least one, together `count` rows
        stores = self._stores[key]
        if len(stores) == 1:
            return [stores[0].rows(count)]
        stores = [store for store in stores if store.start < count] or stores[:1]
        ends = [*(store.start for store in stores[1:]), count]
        return [store.rows(end) for store, end in zip(stores, ends)]


class _SlidingRows(NamedTuple):
    codes: np.ndarray           # [capacity, columns]
    first: int                  # the token whose row is codes[0]


class _State(NamedTuple):
    length: int
    max_rewind: int
    sliding: dict               # key -> _SlidingRows
    pending: dict               # the same after the running call


class _SlidingKind:
    """Rows of which only the last are needed. They slide along an array a little longer than they are.

    An array holds `span` rows, as in the reference, and twice the reserve: so many rows more are kept for a rewind,
    and so many can be written before the kept ones must move to a fresh array. Live rows are never overwritten, as
    they would be in a ring; and they lie in order. A window or a reserve of millions gets its memory only as the text grows.
    """

    def __init__(self, format, span, ratio=1, blocks_before=None):
        self.format, self.span, self.ratio, self.blocks_before = format, span, ratio, blocks_before

    def first(self, length):                            # the oldest token whose row the next call needs after `length` tokens
        if self.blocks_before is None:
            return max(0, length - self.span + 1)                                   # window
        return max(0, length // self.ratio - self.blocks_before) * self.ratio       # unfinished block, in CSA one more

    def usual(self, reserve):                           # -> int: rows of an array that no call of many tokens made longer
        return self.span + 2 * reserve

    def empty(self, reserve, at_least=0):
        return self.format.empty(max(at_least, min(self.usual(reserve), max(FIRST_ROWS, 2 * at_least))))

    def cut(self, rows, stop, max_rewind, reserve):     # -> _SlidingRows of the usual size
        first = self.first(stop - max_rewind)
        codes = self.empty(reserve, at_least=stop - first)
        codes[: stop - first] = rows.codes[first - rows.first: stop - rows.first]
        return _SlidingRows(codes, first)


class _GrowingKind(NamedTuple):
    format: object
    ratio: int                  # tokens a row stands for


def _parts(config, layers, formats):                    # -> {(layer, name): _SlidingKind}, {(layer, name): _GrowingKind}
    sliding, growing = {}, {}
    row, key, state = formats
    for layer in layers:
        kind, ratio = config.layer_kind(layer), config.ratio(layer)
        sliding[layer, "window"] = _SlidingKind(row, config.window_size)
        if kind == "window":
            continue
        overlap = int(kind == "csa")
        growing[layer, "entries"] = _GrowingKind(row, ratio)
        if kind == "csa":
            growing[layer, "index_keys"] = _GrowingKind(key, ratio)
        wide = {"kv": config.head_dim, "score": config.head_dim}
        wide |= {"index_kv": config.index_head_dim, "index_score": config.index_head_dim} if kind == "csa" else {}
        for name, width in wide.items():
            sliding[layer, name] = _SlidingKind(state(width * (1 + overlap)), ratio * (1 + overlap), ratio, overlap)
    return sliding, growing
