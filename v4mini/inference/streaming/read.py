"""Reading weights from files into memory of one's own: what is read at once, where it goes, how it gets there.

Reads bypass the system's page cache where the system allows that (O_DIRECT), so that what this process does not hold is held
nowhere: a limit on its memory is then a limit indeed. Such reads want file offset, length and address to be multiples of a page.
Not here: what is in memory at a time (pool.py), which tensors belong together (weights.py).
"""

import errno
import itertools
import math
import mmap
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from v4mini.shapes import Refused
from v4mini.weights.slices import joined

PAGE = 4096


class Place(NamedTuple):
    """An array inside a unit's buffer."""

    start: int
    dtype: np.dtype
    shape: tuple


class Run(NamedTuple):
    """Neighbouring tensors of one file, read at once, in whole pages."""

    file: str
    offset: int                 # in the file, a multiple of PAGE
    nbytes: int                 # a multiple of PAGE; the last page may lie behind the file's end
    wanted: int                 # bytes up to the last that matters
    start: int                  # in the buffer, a multiple of PAGE


@dataclass(frozen=True)
class Unit:
    """What is read at once: one matrix with its scales, or the three of an expert. `payload`: bytes without padding.

    joined: a tensor that lies in pieces, in several files -> (names of the pieces, axis); the pieces have places.
    """

    key: object
    runs: tuple
    places: dict                # tensor name -> Place
    nbytes: int                 # of its buffer
    payload: int
    joined: dict = field(default_factory=dict)

    def array(self, buffer, name):                      # -> array, read-only
        """A tensor of this unit, which `buffer` holds."""
        if name not in self.joined:
            return buffer.array(self.places[name])
        pieces, axis = self.joined[name]
        return joined([buffer.array(self.places[piece]) for piece in pieces], axis)


class Tensor(NamedTuple):
    """Where a stored tensor lies, and what it is."""

    name: str
    file: str
    start: int
    stop: int
    dtype: np.dtype
    shape: tuple


def lay_out(key, tensors, joined=None):                 # [Tensor], {name: (names of pieces, axis)} -> Unit
    """Tensors that are neighbours in a file become one run; each run has pages of its own, so that no read meets another's."""
    runs = []
    places = {}
    at = 0
    for group in _neighbours(sorted(tensors, key=lambda t: (t.file, t.start))):
        offset = group[0].start // PAGE * PAGE
        stop = group[-1].stop
        nbytes = -(-(stop - offset) // PAGE) * PAGE
        runs.append(Run(group[0].file, offset, nbytes, stop - offset, at))
        places |= {t.name: Place(at + t.start - offset, t.dtype, t.shape) for t in group}
        at += nbytes
    return Unit(key, tuple(runs), places, at, sum(t.stop - t.start for t in tensors), joined or {})


def _neighbours(tensors):                               # sorted -> [[Tensor]], in each the next begins where one ends
    groups = [[tensors[0]]]
    for before, tensor in itertools.pairwise(tensors):
        if (before.file, before.stop) == (tensor.file, tensor.start):
            groups[-1].append(tensor)
        else:
            groups.append([tensor])
    return groups


class Buffer:
    """Memory straight from the system; it goes back when the last array that looks at it goes."""

    def __init__(self, nbytes):
        self.nbytes = nbytes
        memory = mmap.mmap(-1, nbytes)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            memory.madvise(mmap.MADV_HUGEPAGE)
        self._bytes = np.frombuffer(memory, np.uint8)

    @property
    def is_idle(self):
        """Whether no array looks at it. Each holds a reference to `_bytes`, beside this object's and the call's own."""
        return sys.getrefcount(self._bytes) <= 2

    def array(self, place):                             # -> read-only view
        """The array that lies there."""
        size = place.dtype.itemsize * math.prod(place.shape)
        view = self._bytes[place.start: place.start + size].view(place.dtype).reshape(place.shape)
        view.flags.writeable = False
        return view

    def fill(self, run, files):
        """Read a run to its place."""
        files.read(run, memoryview(self._bytes)[run.start: run.start + run.nbytes])


class Files:
    """Reads whole pages of files, past the page cache if the system can. Any thread may call."""

    def __init__(self, direct=True):
        self._flag = getattr(os, "O_DIRECT", 0) if direct else 0
        self._handles = {}
        self._old = []
        self._lock = threading.Lock()

    @property
    def is_direct(self):
        """Whether the page cache is left alone."""
        return bool(self._flag)

    def read(self, run, into):                          # Run, memoryview of run.nbytes
        """Read at least run.wanted bytes. Refused if the file ends before, or the disk fails."""
        got = 0
        while got < run.wanted:
            try:
                count = self._read_at(run.file, into[got:], run.offset + got)
            except OSError as error:
                if error.errno != errno.EINVAL or not self._flag:
                    raise Refused(f"{run.file}: cannot be read ({error.strerror}). Is the disk still there?") from error
                self._without_direct()                  # a file system with rules of its own for O_DIRECT
                continue
            if count == 0:
                raise Refused(f"{run.file}: expected {run.offset + run.wanted:,} bytes, got {run.offset + got:,}. "
                              "Was the file cut after it was opened?")
            got += count

    def _read_at(self, path, into, offset):             # -> bytes read
        if hasattr(os, "preadv"):
            return os.preadv(self._handle(path), [into], offset)
        with open(path, "rb", buffering=0) as file:     # Windows
            file.seek(offset)
            return file.readinto(into)

    def _handle(self, path):
        with self._lock:
            if path not in self._handles:
                try:
                    self._handles[path] = os.open(path, os.O_RDONLY | self._flag)
                except OSError as error:
                    if error.errno != errno.EINVAL or not self._flag:
                        raise
                    self._flag = 0
                    self._handles[path] = os.open(path, os.O_RDONLY)
            return self._handles[path]

    def _without_direct(self):
        with self._lock:
            self._flag = 0
            self._old += self._handles.values()         # another thread may be reading
            self._handles = {}

    def close(self):
        """Let the files go."""
        with self._lock:
            for handle in (*self._handles.values(), *self._old):
                os.close(handle)
            self._handles = {}
            self._old = []


def read_rows(files, unit, name, ids):                  # ints [n] -> array [n, ...]
    """Some rows of one tensor and no others, each from the page or pages it lies on."""
    if name in unit.joined:                             # pieces of some rows each
        return _rows_of_pieces(files, unit, unit.joined[name][0], ids)
    place = unit.places[name]
    run = next(run for run in unit.runs if run.start <= place.start < run.start + run.nbytes)
    first = run.offset + place.start - run.start
    size = place.dtype.itemsize * math.prod(place.shape[1:])
    rows = np.empty((len(ids), *place.shape[1:]), place.dtype)
    buffer = Buffer((size // PAGE + 2) * PAGE)
    for into, row in zip(rows, ids):
        start = first + int(row) * size
        offset = start // PAGE * PAGE
        whole = -(-(start + size - offset) // PAGE) * PAGE
        buffer.fill(Run(run.file, offset, whole, start + size - offset, 0), files)
        into[...] = buffer.array(Place(start - offset, place.dtype, place.shape[1:]))
    return rows


def _rows_of_pieces(files, unit, pieces, ids):
    found, first, ids = {}, 0, np.asarray(ids)
    for piece in pieces:
        mine = (ids >= first) & (ids < first + unit.places[piece].shape[0])
        rows = read_rows(files, unit, piece, ids[mine] - first)
        found.update(zip(np.flatnonzero(mine).tolist(), rows))
        first += unit.places[piece].shape[0]
    return np.stack([found[place] for place in range(len(ids))])
