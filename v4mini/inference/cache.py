"""Cache: all that a sequence's past leaves behind, layer by layer.

    window       the rows of the last window_size tokens            fixed
    kv, score, index_kv, index_score    unfinished blocks           fixed, nothing lost
    entries      one row per 4 (CSA) or 128 (HCA) tokens            grows
    index_keys   one row per 4 tokens (CSA)                         grows

`length` alone says what is past: rows at and beyond it are scratch. A call writes there, and only its end moves `length`.
So an interrupted call leaves no trace, going back is subtraction, and copies can share what both hold for past.

Not here: what a layer does with it (layers/), how rows look (numerics/rows.py), where they lie (cache_storage.py), sizes before
there is a cache (planning/memory.py).
"""

from typing import NamedTuple

import numpy as np

from v4mini.inference.cache_file import read_cache, write_cache
from v4mini.inference.cache_storage import MemoryRoom, SavedRoom, Store, file_rooms
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
        self._endings, self._growing = _parts(config, self.layers, formats(config, storage))
        self._owner, self._scratch, rooms = object(), None, {}          # the owner: who may add to a store
        if path is not None:
            self._must_lie_on_host("path")
            most = {key: (part.format, config.max_seq_len // part.ratio) for key, part in self._growing.items()}
            self._scratch, rooms = file_rooms(path, most)
        self._stores = {key: (Store(rooms.get(key) or MemoryRoom(part.format), 0, self._owner),)
                        for key, part in self._growing.items()}
        self._past = _Past(0, 0, {key: _Ending(part.empty(reserve), 0) for key, part in self._endings.items()}, {})

    def __repr__(self):
        return f"Cache of {self.length:,} tokens, {self.nbytes:,} bytes ({self.storage})"

    @property
    def length(self):
        """Tokens of the past."""
        return self._open().length

    @property
    def rewindable(self):
        """Tokens that `rewind` can take back now: up to `reserve`."""
        return self._open().rewindable

    @property
    def nbytes(self):
        """Bytes of the fixed parts in full and of the growing parts' rows in use, shared with a copy or not."""
        return sum(self.breakdown().values())

    def breakdown(self):                                # -> {kind: bytes}, kinds as in planning.memory.cache_breakdown
        past, kinds = self._open(), dict.fromkeys(("window", "csa", "index_keys", "hca", "unfinished"), 0)
        for (_, name), ending in past.endings.items():
            kinds["window" if name == "window" else "unfinished"] += ending.codes.nbytes
        for (layer, name), part in self._growing.items():
            pieces = self._pieces((layer, name), past.length // part.ratio)
            kinds["index_keys" if name == "index_keys" else self.config.layer_kind(layer)] += sum(p.nbytes for p in pieces)
        return kinds

    # ---- what layers and the model call ----

    def extend(self, layer, name, rows):                # -> [kept before + n, ...], float32
        """See layers.sequences.Memory.extend. Rows come as their format's `decode` and `joined` give them."""
        key = layer, name
        return self._grow(key, rows) if key in self._growing else self._slide(key, rows)

    def commit(self, tokens):
        """The running call is done: what it added is past now. One assignment, so it happens or it does not."""
        past = self._open()
        self._past = _Past(past.length + tokens, min(self.reserve, past.rewindable + tokens),
                           {**past.endings, **past.staged}, {})

    def abandon(self):
        """The running call was interrupted: forget what it added."""
        self._open().staged.clear()

    # ---- what users call ----

    def rewind(self, tokens):
        """Take the last tokens back, as if they had never been there: going on gives the same bits.

        Refused beyond `rewindable`: older rows of the window are gone.
        """
        past = self._open()
        if not isinstance(tokens, int | np.integer) or not 0 <= tokens <= past.rewindable:
            raise Refused(f"rewind: expected 0 to {past.rewindable} tokens, got {tokens!r}. The cache holds {past.length:,}, "
                          f"with reserve={self.reserve}; to go back further, make that larger or keep a copy().")
        self._past = past._replace(length=past.length - int(tokens), rewindable=past.rewindable - int(tokens), staged={})

    def copy(self):                                     # -> Cache
        """A second cache with the same past; both go on independently, so one long text can be asked many questions.

        Only the fixed parts are copied. Growing rows are shared: the first cache goes on adding where it did, the copy adds
        to rows of its own, in memory, even if the first one's lie in a file.
        """
        past, twin = self._open(), object.__new__(Cache)
        twin.config, twin.storage, twin.reserve, twin.layers = self.config, self.storage, self.reserve, self.layers
        twin._endings, twin._growing, twin._owner, twin._scratch = self._endings, self._growing, object(), None
        for key, part in self._growing.items():
            newest = self._stores[key][-1]
            newest.floor = max(newest.floor, past.length // part.ratio)
        twin._stores = dict(self._stores)
        twin._past = past._replace(endings={key: self._copied(key) for key in past.endings}, staged={})
        return twin

    def save(self, path, progress=None):
        """Write all of it to a safetensors file with a checksum, complete or not at all. progress(bytes so far) may watch."""
        past, tensors = self._open(), {}
        for (layer, name), part in self._endings.items():
            codes, first = past.endings[layer, name]
            live = codes[part.first(past.length - past.rewindable) - first: past.length - first]
            tensors[f"layers.{layer}.{name}"] = part.format, [part.format.to_host(live)]
        for (layer, name), part in self._growing.items():
            pieces = self._pieces((layer, name), past.length // part.ratio)
            tensors[f"layers.{layer}.{name}"] = part.format, [part.format.to_host(piece) for piece in pieces]
        numbers = {"reserve": self.reserve, "length": past.length, "rewindable": past.rewindable}
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
        length, rewindable = saved.length, saved.rewindable
        endings = {}
        for (layer, name), part in cache._endings.items():
            first = part.first(length - rewindable)
            codes = part.empty(cache.reserve, at_least=length - first)
            stored = saved.tensor(f"layers.{layer}.{name}", part.format, length - first)
            codes[: length - first] = part.format.from_host(stored)
            endings[layer, name] = _Ending(codes, first)
        for (layer, name), part in cache._growing.items():
            codes = saved.tensor(f"layers.{layer}.{name}", part.format, length // part.ratio)
            if mapped:
                cache._stores[layer, name] = (Store(SavedRoom(codes), 0, None),)
            else:
                cache._stores[layer, name][0].write(0, part.format.from_host(codes))
        cache._past = _Past(length, rewindable, endings, {})
        return cache

    def close(self):
        """Let go of everything, the scratch file too. Copies keep what they share; this cache cannot be used any more."""
        self._past, self._stores = None, {}
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
        if self._past is None:
            raise Refused("cache: it was closed. Make a new one with new_cache(), or load_cache() one that was saved.")
        return self._past

    def _copied(self, key):                             # -> _Ending: the rows in use alone; a reserve may be far more
        past, part = self._past, self._endings[key]
        codes, first = past.endings[key]
        live = slice(part.first(past.length - past.rewindable) - first, past.length - first)
        twin = part.format.empty(len(codes))
        twin[live] = codes[live]
        return _Ending(twin, first)

    def _slide(self, key, rows):                        # the last rows before this call, and the new ones
        part, past = self._endings[key], self._open()
        (codes, first), length, stop = past.endings[key], past.length, past.length + len(rows)
        if stop - first > len(codes):                   # at the end of the array: on to a fresh one
            oldest = part.first(length - past.rewindable)
            live = codes[oldest - first: length - first]
            codes, first = part.empty(self.reserve, at_least=stop - oldest), oldest
            codes[: len(live)] = live
        codes[length - first: stop - first] = part.format.encode(rows)
        past.staged[key] = part.cut(_Ending(codes, first), stop, min(self.reserve, past.rewindable + len(rows)), self.reserve)
        return part.format.decode(codes[part.first(length) - first: stop - first])

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
            stores = (*older, Store(MemoryRoom(self._growing[key].format), count, self._owner))
            self._stores[key] = stores
        return stores[-1]

    def _pieces(self, key, count):                      # -> [codes], at least one, together `count` rows
        stores = [store for store in self._stores[key] if store.start < count] or self._stores[key][:1]
        ends = [*(store.start for store in stores[1:]), count]
        return [store.rows(end) for store, end in zip(stores, ends)]


class _Ending(NamedTuple):
    codes: np.ndarray           # [room, columns]
    first: int                  # the token whose row is codes[0]


class _Past(NamedTuple):
    length: int
    rewindable: int
    endings: dict               # key -> _Ending
    staged: dict                # the same after the running call


class _EndingPart:
    """Rows of which only the last are needed. They slide along an array a little longer than they are.

    An array has room for `span` rows, as in the reference, and twice the reserve: so many rows more are kept for a rewind,
    and so many can be written before the kept ones must move to a fresh array. Live rows are never overwritten, as
    they would be in a ring; and they lie in order. A window or a reserve of millions gets its room only as the text grows.
    """

    def __init__(self, format, span, ratio=1, blocks_before=None):
        self.format, self.span, self.ratio, self.blocks_before = format, span, ratio, blocks_before

    def first(self, length):                            # the oldest token whose row the next call needs after `length` tokens
        if self.blocks_before is None:
            return max(0, length - self.span + 1)                                   # window
        return max(0, length // self.ratio - self.blocks_before) * self.ratio       # unfinished block, in CSA one more

    def empty(self, reserve, at_least=0):
        return self.format.empty(max(at_least, min(self.span + 2 * reserve, max(FIRST_ROWS, 2 * at_least))))

    def cut(self, ending, stop, rewindable, reserve):   # -> _Ending of the usual size
        if len(ending.codes) <= self.span + 2 * reserve:
            return ending
        first = self.first(stop - rewindable)
        codes = self.empty(reserve, at_least=stop - first)
        codes[: stop - first] = ending.codes[first - ending.first: stop - ending.first]
        return _Ending(codes, first)


class _GrowingPart(NamedTuple):
    format: object
    ratio: int                  # tokens a row stands for


def _parts(config, layers, formats):                    # -> {(layer, name): _EndingPart}, {(layer, name): _GrowingPart}
    endings, growing = {}, {}
    row, key, state = formats
    for layer in layers:
        kind, ratio = config.layer_kind(layer), config.ratio(layer)
        endings[layer, "window"] = _EndingPart(row, config.window_size)
        if kind == "window":
            continue
        overlap = int(kind == "csa")
        growing[layer, "entries"] = _GrowingPart(row, ratio)
        if kind == "csa":
            growing[layer, "index_keys"] = _GrowingPart(key, ratio)
        wide = {"kv": config.head_dim, "score": config.head_dim}
        wide |= {"index_kv": config.index_head_dim, "index_score": config.index_head_dim} if kind == "csa" else {}
        for name, width in wide.items():
            endings[layer, name] = _EndingPart(state(width * (1 + overlap)), ratio * (1 + overlap), ratio, overlap)
    return endings, growing
