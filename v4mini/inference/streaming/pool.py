"""Pool: the weights that are in memory just now, within two budgets, brought by threads of its own.

    dense       what every token needs, in an order that hardly changes. If not all of it fits, what was used last goes first:
                its next use is furthest off. So most of the budget keeps the same units, the rest pass through what is left
    experts     equal slots; an ExpertCache says which expert goes

Not here: reading (read.py), what the units are (weights.py), dividing the memory (budget.py).
"""

import itertools
import threading
import time
from dataclasses import dataclass, field

from v4mini.inference.streaming.eviction import ExpertCache
from v4mini.inference.streaming.read import Buffer, Files, read_rows
from v4mini.shapes import Refused

READERS = 2                     # threads: while one waits for the disk the other asks for the next
LOOK_AHEAD = 8                  # dense units that are prefetched: each drives out one whose next use is a pass away


@dataclass
class Stats:
    """What was used, what of it had to be read, and how long the engine stood still for it."""

    uses: dict = field(default_factory=lambda: {"experts": 0, "dense": 0})
    reads: dict = field(default_factory=lambda: {"experts": 0, "dense": 0})
    read_bytes: dict = field(default_factory=lambda: {"experts": 0, "dense": 0, "rows": 0})
    waited: float = 0.0         # seconds


class Pool:
    """The units in memory. One engine calls `get`, from one thread; readers fill in the background.

    Keys of experts are (layer, number); those of dense units are names, in about the order of their use. `table`: a unit that is
    never held, of which `rows` are read. What an array looks at is never overwritten: a buffer is used again only when nobody
    looks at it any more.
    """

    def __init__(self, units, table, dense_bytes, slots, policy="lru", files=None, readers=READERS):
        self.units = units
        self.table = table
        self.files = files or Files()
        self.stats = Stats()
        self._held = {}                                 # key -> Buffer, complete
        self._loading = set()                           # keys being read
        self._failed = set()                            # keys that could not be
        self.experts = ExpertCache(slots, policy, busy=self._loading)
        self.dense_bytes = dense_bytes
        self._last = self._current = None               # the unit used last; the dense one used last
        self._after = dict(itertools.pairwise([None, *(key for key in units if _is_dense(key))]))       # key -> what comes next
        self._recently_used = {}                        # dense units used, the latest last
        self._change = threading.Condition()
        self._open = True
        self._readers = [threading.Thread(target=self._work, daemon=True) for _ in range(readers)]
        for reader in self._readers:
            reader.start()

    # ---- what the engine calls ----

    def begin_pass(self, known=()):
        """A pass through the model begins; `known`: experts of which that is known already, in the order of their use."""
        with self._change:
            self.experts.begin_pass()
            self.experts.expect(known)
            self._change.notify_all()

    def prefetch(self, keys):
        """A layer has chosen: these experts come next, in this order."""
        with self._change:
            self.experts.expect(keys)
            self._change.notify_all()

    def get(self, key, name):                           # -> array, read-only
        """A tensor of a unit, as soon as it is there. It stays valid as long as it is held."""
        with self._change:
            if key != self._last or key not in self._held:
                self._use(key)
            return self.units[key].array(self._held[key], name)

    def rows(self, name, ids):                          # -> array [n, ...]
        """Rows of the table, straight from the file: a token reads one."""
        found = read_rows(self.files, self.table, name, ids)
        with self._change:
            self.stats.read_bytes["rows"] += found.nbytes
        return found

    def resize(self, dense_bytes, slots):
        """Other budgets from now on. What is too much goes, but nothing that is in use or expected."""
        with self._change:
            self.dense_bytes, shrinks = dense_bytes, True
            self._free_dense(0, self._evictable())
            while shrinks and self.experts.capacity > slots:
                shrinks, victim = self.experts.shrink()
                self._held.pop(victim, None)
            self.experts.capacity = max(self.experts.capacity, slots)
            self._change.notify_all()

    @property
    def nbytes(self):
        """Bytes of the buffers held."""
        with self._change:
            return sum(buffer.nbytes for buffer in self._held.values())

    def close(self):
        """Stop the readers and let files and buffers go."""
        with self._change:
            self._open = False
            self._change.notify_all()
        for reader in self._readers:
            reader.join()
        self._held.clear()
        self.files.close()

    # ---- a use ----

    def _use(self, key):                                # with the lock; comes back when the unit is there
        if not self._open:
            raise Refused("streaming: expected an open model, got one that was closed. Open it again.")
        started = time.perf_counter()
        while key not in self._held:
            if key in self._loading or not self._load(key, forced=True):
                self._change.wait()
        self.stats.waited += time.perf_counter() - started
        self.stats.uses[_kind(key)] += 1
        self._last = key
        if not _is_dense(key):
            self.experts.use(key)
        elif key != self._current:
            self._after[self._current] = key
            self._recently_used.pop(key, None)
            if self._current is not None:
                self._recently_used[self._current] = None
            self._current = key
        self._change.notify_all()                       # room may have come free

    # ---- loading ----

    def _load(self, key, forced=False):                 # with the lock, let go while reading; -> whether there was room
        buffer = (self._buffer_for_dense if _is_dense(key) else self._buffer_for_expert)(key, forced)
        if buffer is None:
            return False
        self._loading.add(key)
        kind = _kind(key)
        unit = self.units[key]
        done = False
        self._change.release()
        try:
            for run in unit.runs:
                buffer.fill(run, self.files)
            done = True
        finally:                                        # Ctrl-C too
            self._change.acquire()
            self._loading.discard(key)
            if done:
                self._held[key] = buffer
                self.stats.reads[kind] += 1
                self.stats.read_bytes[kind] += unit.payload
            elif kind == "experts":
                self.experts.remove(key)
            self._change.notify_all()
        return True

    def _buffer_for_expert(self, key, forced):          # -> Buffer, or None if there is no room now
        fits, victim = self.experts.space_for(key, forced)
        if not fits:
            return None
        old = None
        if victim is not None:
            old = self._held.pop(victim)
            self.experts.remove(victim)
        self.experts.insert(key)
        return _reuse_buffer(old, self.units[key].nbytes)

    def _buffer_for_dense(self, key, forced):           # -> Buffer, or None if there is no room now
        needed = self.units[key].nbytes
        fits, old = self._free_dense(needed, self._evictable(None if forced else key))
        # one larger than the whole budget gets in as well, alone
        if not fits and not (forced and not any(map(_is_dense, self._loading))):
            return None
        return _reuse_buffer(old, needed)

    def _evictable(self, key=None):                     # -> [key], whose next use is furthest off first
        """For one that is read ahead: those used since, but none that is due before it. None: it is needed now, so any."""
        if key is not None:
            due = set(itertools.takewhile(lambda other: other != key, self._ahead()))
            return [other for other in reversed(self._recently_used) if other in self._held and other not in due]
        used = [other for other in (self._current, *reversed(self._recently_used)) if other in self._held]
        return used + [other for other in reversed(self._held) if _is_dense(other) and other not in used]

    def _free_dense(self, needed, evictable):           # -> whether there is room now for so many bytes, the last Buffer to go
        taken = sum(self.units[key].nbytes for key in (*self._held, *self._loading) if _is_dense(key))
        free = self.dense_bytes - taken
        old = None
        for victim in evictable:
            if free >= needed:
                break
            old = self._held.pop(victim)
            self._recently_used.pop(victim, None)
            free += old.nbytes
        return free >= needed, old

    def _ahead(self):                                   # -> [key] of dense units that come next, by the order of the last pass
        ahead = []
        key = self._after.get(self._current)
        while key is not None and key != self._current and len(ahead) < LOOK_AHEAD:
            ahead.append(key)
            key = self._after.get(key)
        return ahead

    # ---- readers ----

    def _work(self):
        with self._change:
            while self._open:
                if not self._read_something():
                    self._change.wait()

    def _read_something(self):                          # -> whether anything was read
        experts = (key for key in self.experts.expected if key not in self.experts)
        dense = (key for key in self._ahead() if key not in self._held and key not in self._loading)
        for missing in (experts, dense):                # of each kind what is needed first
            key = next((key for key in missing if key not in self._failed), None)
            try:
                if key is not None and self._load(key):
                    return True
            except Refused:                             # the engine will meet it too, and say it
                self._failed.add(key)
                return True
        return False


def _is_dense(key):
    return not isinstance(key, tuple)


def _kind(key):
    return "dense" if _is_dense(key) else "experts"


def _reuse_buffer(old, nbytes):                         # -> a buffer of that size: the old one, if nobody looks at it any more
    return old if old is not None and old.nbytes == nbytes and old.is_idle else Buffer(nbytes)
