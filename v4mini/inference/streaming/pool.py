"""Pool: the weights that are in memory just now, within two rooms, brought by threads of its own.

    others      what every token needs, in an order that hardly changes. If not all of it fits, what was used last goes first:
                its turn is furthest off. So most of the room keeps the same units, and the rest pass through what is left
    experts     equal places; a Shelf says who goes

Not here: reading (read.py), what the units are (weights.py), dividing the memory (budget.py).
"""

import itertools
import threading
import time
from dataclasses import dataclass, field

from v4mini.inference.streaming.eviction import Shelf
from v4mini.inference.streaming.read import Buffer, Files, read_rows
from v4mini.shapes import Refused

READERS = 2                     # threads: while one waits for the disk the other asks for the next
LOOK_AHEAD = 8                  # others that are read before their turn: each drives out one whose turn is a pass away


@dataclass
class Tally:
    """What was used, what of it had to be read, and how long the engine stood still for it."""

    uses: dict = field(default_factory=lambda: {"experts": 0, "others": 0})
    reads: dict = field(default_factory=lambda: {"experts": 0, "others": 0})
    read_bytes: dict = field(default_factory=lambda: {"experts": 0, "others": 0, "rows": 0})
    waited: float = 0.0         # seconds


class Pool:
    """The units in memory. One engine asks with `look`, from one thread; readers fill in the background.

    Keys of experts are (layer, number); all others are names, given in about the order of their use. `table`: a unit that is
    never held, of which `rows` are read. What an array looks at is never overwritten: a buffer is used again only when nobody
    looks at it any more.
    """

    def __init__(self, units, table, other_bytes, places, policy="lru", files=None, readers=READERS):
        self.units, self.table, self.files, self.tally = units, table, files or Files(), Tally()
        self._held, self._loading, self._failed = {}, set(), set()      # key -> Buffer, complete; keys being read; that could not
        self.shelf, self.other_bytes = Shelf(places, policy, busy=self._loading), other_bytes
        self._last = self._current = None               # the unit used last; of the others
        self._after = dict(itertools.pairwise([None, *(key for key in units if _is_other(key))]))       # key -> what comes next
        self._spent = {}                                # others used, the latest last
        self._change, self._open = threading.Condition(), True
        self._readers = [threading.Thread(target=self._work, daemon=True) for _ in range(readers)]
        for reader in self._readers:
            reader.start()

    # ---- what the engine calls ----

    def begin(self, known=()):
        """A pass through the model begins; `known`: experts of which that is known already, in the order of their use."""
        with self._change:
            self.shelf.begin_pass()
            self.shelf.announce(known)
            self._change.notify_all()

    def announce(self, keys):
        """A layer has chosen: these experts come next, in this order."""
        with self._change:
            self.shelf.announce(keys)
            self._change.notify_all()

    def look(self, key, name):                          # -> array, read-only
        """A tensor of a unit, as soon as it is there. It stays valid as long as it is held."""
        with self._change:
            if key != self._last or key not in self._held:
                self._use(key)
            return self.units[key].array(self._held[key], name)

    def rows(self, name, ids):                          # -> array [n, ...]
        """Rows of the table, straight from the file: a token reads one."""
        found = read_rows(self.files, self.table, name, ids)
        with self._change:
            self.tally.read_bytes["rows"] += found.nbytes
        return found

    def resize(self, other_bytes, places):
        """Other rooms from now on. What is too much goes, but nothing that is in use or announced."""
        with self._change:
            self.other_bytes, shrinks = other_bytes, True
            self._free_others(0, self._may_go())
            while shrinks and self.shelf.capacity > places:
                shrinks, victim = self.shelf.shrink()
                self._held.pop(victim, None)
            self.shelf.capacity = max(self.shelf.capacity, places)
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
        self.tally.waited += time.perf_counter() - started
        self.tally.uses[_kind(key)] += 1
        self._last = key
        if not _is_other(key):
            self.shelf.use(key)
        elif key != self._current:
            self._after[self._current] = key
            self._spent.pop(key, None)
            if self._current is not None:
                self._spent[self._current] = None
            self._current = key
        self._change.notify_all()                       # room may have come free

    # ---- loading ----

    def _load(self, key, forced=False):                 # with the lock, let go while reading; -> whether there was room
        buffer = (self._room_of_other if _is_other(key) else self._room_of_expert)(key, forced)
        if buffer is None:
            return False
        self._loading.add(key)
        kind, unit, done = _kind(key), self.units[key], False
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
                self.tally.reads[kind] += 1
                self.tally.read_bytes[kind] += unit.payload
            elif kind == "experts":
                self.shelf.remove(key)
            self._change.notify_all()
        return True

    def _room_of_expert(self, key, forced):             # -> Buffer, or None if there is no room now
        is_room, victim = self.shelf.room(key, forced)
        if not is_room:
            return None
        old = None
        if victim is not None:
            old = self._held.pop(victim)
            self.shelf.remove(victim)
        self.shelf.place(key)
        return _again(old, self.units[key].nbytes)

    def _room_of_other(self, key, forced):              # -> Buffer, or None if there is no room now
        needed = self.units[key].nbytes
        is_room, old = self._free_others(needed, self._may_go(None if forced else key))
        # one larger than the whole room gets in as well, alone
        if not is_room and not (forced and not any(map(_is_other, self._loading))):
            return None
        return _again(old, needed)

    def _may_go(self, key=None):                        # -> [others], whose turn is furthest off first
        """For one that is read ahead: those used since, but none that is due before it. None: it is needed now, so any."""
        if key is not None:
            due = set(itertools.takewhile(lambda other: other != key, self._ahead()))
            return [other for other in reversed(self._spent) if other in self._held and other not in due]
        used = [other for other in (self._current, *reversed(self._spent)) if other in self._held]
        return used + [other for other in reversed(self._held) if _is_other(other) and other not in used]

    def _free_others(self, needed, may_go):             # -> whether there is room now for so many bytes, the last Buffer to go
        taken = sum(self.units[key].nbytes for key in (*self._held, *self._loading) if _is_other(key))
        free, old = self.other_bytes - taken, None
        for victim in may_go:
            if free >= needed:
                break
            old = self._held.pop(victim)
            self._spent.pop(victim, None)
            free += old.nbytes
        return free >= needed, old

    def _ahead(self):                                   # -> [others] that come next, by the order of the last pass
        ahead, key = [], self._after.get(self._current)
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
        experts = (key for key in self.shelf.wanted if key not in self.shelf)
        others = (key for key in self._ahead() if key not in self._held and key not in self._loading)
        for missing in (experts, others):               # of each kind what is needed first
            key = next((key for key in missing if key not in self._failed), None)
            try:
                if key is not None and self._load(key):
                    return True
            except Refused:                             # the engine will meet it too, and say it
                self._failed.add(key)
                return True
        return False


def _is_other(key):
    return not isinstance(key, tuple)


def _kind(key):
    return "others" if _is_other(key) else "experts"


def _again(old, nbytes):                                # -> a buffer of that size: the old one, if nobody looks at it any more
    return old if old is not None and old.nbytes == nbytes and old.is_idle else Buffer(nbytes)
