"""How much may still be read, how much was, and how fast it came. Not here: who reads."""

import threading
from typing import NamedTuple

from v4mini.shapes import Refused
from v4mini.viz.tables import human_bytes

LIMIT = 50_000_000                      # bytes: what may be read without being asked twice
TELLING = 1 << 18                       # bytes: less than this says more of waiting than of speed


class Listed(NamedTuple):
    """One file as its server or folder lists it. digest: SHA-256, or git's SHA-1 of a small file, or "" where none is given."""

    size: int
    digest: str = ""


class ReadBudget:
    """Counts what was read; refuses before `limit` would be passed. Shared by threads."""

    def __init__(self, limit=LIMIT):
        self.limit, self.nbytes, self.requests = limit, 0, 0
        self._promised = 0
        self._seconds = 0.0
        self._lock = threading.Lock()

    def reserve(self, what, nbytes):
        """Before each reading. Raises Refused if it would pass the limit."""
        with self._lock:
            if self._promised + nbytes > self.limit:
                raise Refused(f"{what}: expected to read {human_bytes(self.limit)} in all at most, got {human_bytes(nbytes)} "
                              f"more after {human_bytes(self._promised)}. Ask for less, or give a higher limit.")
            self._promised += nbytes

    def count(self):
        with self._lock:
            self.requests += 1

    def add(self, nbytes, seconds):
        with self._lock:
            self.nbytes += nbytes
            self._seconds += seconds

    @property
    def left(self):                                     # -> bytes that may still be asked for
        return self.limit - self._promised

    @property
    def speed(self):                    # -> bytes a second of one connection, or None before enough has come to tell
        return self.nbytes / self._seconds if self.nbytes >= TELLING and self._seconds else None
