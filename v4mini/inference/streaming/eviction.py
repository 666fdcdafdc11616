"""ExpertCache: a cache's bookkeeping without its bytes: what is in it, and who goes when something new needs its slot.

    lru       the one whose last use is longest ago
    fifo      the one that came first
    lfu       the one used least often so far, of equals by lru
    aged      as lfu, but what is HALF_LIFE passes back counts half, twice as far back a quarter
    belady    the one whose next use is furthest off: the fewest misses there can be, for those who know the future

Source: Belady, "A study of replacement algorithms for a virtual-storage computer" (1966).
Not here: bytes and files (pool.py), replaying a recorded text (replay.py).
"""

import heapq
import math

from v4mini.shapes import Refused

POLICIES = ("lru", "fifo", "lfu", "aged", "belady")
HALF_LIFE = 32                  # passes of the model, in decoding tokens: about a paragraph


class ExpertCache:
    """Slots for `capacity` keys. Beside the policy one rule holds: what is expected stays until it is used.

    A layer names its experts all at once, hash layers even before the pass begins; evicting one of them for another would
    read it twice. Only when all that is in the cache is expected does the one expected last have to go.

    future: for belady, the keys in the order in which they will be used. busy: a set of the caller's, keys that cannot go now.
    """

    def __init__(self, capacity, policy="lru", future=(), busy=frozenset()):
        if policy not in POLICIES:
            raise Refused(f"policy: expected {', '.join(POLICIES)}, got {policy!r}. lru is the plain choice.")
        if type(capacity) is not int or capacity < 1:
            raise Refused(f"capacity: expected 1 or more experts, got {capacity!r}. One must be there while it is used.")
        self.capacity, self.policy, self.busy = capacity, policy, busy
        self.expected = {}                              # expected and not yet used, in order
        self.current = None                             # in use now, stays as well
        self._rank = {}                                 # key -> rank, lowest goes first
        self._heap = []                                 # (rank, key), some outdated
        self._count = {}
        self._clock = 0
        self._passes = 0
        self._uses = _positions(future)

    def __contains__(self, key):
        return key in self._rank

    def __len__(self):
        return len(self._rank)

    def begin_pass(self):
        """A new pass through the model: wishes of an earlier one that was interrupted are void."""
        self.expected.clear()
        self.current = None
        self._passes += 1

    def expect(self, keys):
        """These will be used, in this order, before anything that is not expected."""
        for key in keys:
            self.expected.setdefault(key)

    def use(self, key):
        """`key`, which is in the cache, is used now; it stays at least until another is."""
        self.expected.pop(key, None)
        self.current = key
        self._clock += 1
        self._set(key, self._rank_of_use(key))

    def space_for(self, key, forced=False):             # -> whether there is room; and the key that has to go, or None
        """Whether `key` may come, and who goes for it. forced: it is needed now, so there must be room."""
        if forced:
            self.current = None                         # what was in use until now no longer is
        if len(self) < self.capacity:
            return True, None
        victim = self._lowest()
        if victim is None and forced:                   # all are expected: the last of them is needed last
            victim = next((k for k in reversed(self.expected) if k in self._rank and k not in self.busy), None)
        return victim is not None, victim

    def insert(self, key):
        """`key` comes, where `space_for` said there is room."""
        self._clock += 1
        self._set(key, self._rank_of_coming(key))

    def admit(self, key):                               # -> the key that had to go, or None
        """`key` is needed now and not there: it comes, whoever has to go."""
        _, victim = self.space_for(key, forced=True)
        if victim is not None:
            self.remove(victim)
        self.insert(key)
        return victim

    def remove(self, key):
        """`key` goes."""
        del self._rank[key]

    def shrink(self):                                   # -> whether it did; and the key that went, or None
        """One place fewer, unless it is the only one or all that is there must stay."""
        victim = self._lowest() if len(self) >= self.capacity else None
        if self.capacity <= 1 or (victim is None and len(self) >= self.capacity):
            return False, None
        self.capacity -= 1
        if victim is not None:
            self.remove(victim)
        return True, victim

    def _set(self, key, rank):
        self._rank[key] = rank
        heapq.heappush(self._heap, (rank, key))
        if len(self._heap) > 64 + 4 * len(self._rank):  # mostly outdated: sort out
            self._heap = [(rank, key) for key, rank in self._rank.items()]
            heapq.heapify(self._heap)

    def _lowest(self):                                  # -> the key to go by the policy, or None if all must stay
        kept = []
        found = None
        while self._heap and found is None:
            rank, key = heapq.heappop(self._heap)
            if self._rank.get(key) != rank:             # outdated
                continue
            kept.append((rank, key))
            if key not in self.expected and key != self.current and key not in self.busy:
                found = key
        for item in kept:
            heapq.heappush(self._heap, item)
        return found

    def _rank_of_coming(self, key):
        if self.policy == "belady":
            return self._next_use(key)
        if self.policy in ("lfu", "aged"):
            return self._count.get(key, 0 if self.policy == "lfu" else -math.inf), self._clock
        return self._clock

    def _rank_of_use(self, key):
        if self.policy == "fifo":
            return self._rank[key]
        if self.policy == "belady":
            self._uses[key].pop()
            return self._next_use(key)
        if self.policy == "lfu":
            self._count[key] = self._count.get(key, 0) + 1
            return self._count[key], self._clock
        if self.policy == "aged":
            # sum over uses of 2^(pass / HALF_LIFE), as a logarithm: grows for ever, but its order is that of the fading counts
            now = self._passes / HALF_LIFE
            before = self._count.get(key, -math.inf)
            high, low = max(now, before), min(now, before)
            self._count[key] = high + math.log2(1 + 2.0 ** (low - high))
            return self._count[key], self._clock
        return self._clock

    def _next_use(self, key):                           # -> rank: minus the place of the next use
        uses = self._uses.get(key)
        return -uses[-1] if uses else -math.inf


def _positions(future):                                 # -> {key: its places in the future, the next one last}
    places = {}
    for place, key in enumerate(future):
        places.setdefault(key, []).append(place)
    return {key: found[::-1] for key, found in places.items()}
