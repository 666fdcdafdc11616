"""Room for rows that are added for good: in memory, or in a file that the system reads and writes behind our back.

Not here: how a row looks (numerics/rows.py), saving for later (cache_file.py).
"""

import contextlib
import mmap
import os
import weakref

import numpy as np

from v4mini.shapes import Refused
from v4mini.writing import open_new, remove

FIRST_ROWS = 64
PAGE = 1 << 16                  # bytes: each kind of row begins on a page of its own, on every system


class Store:
    """Rows number `start` and following of one kind. One cache, its owner, adds to it; copies of that cache read it too.

    Rows below `floor` belong to some copy's past and are never written again.
    """

    def __init__(self, storage, start, owner):
        self.storage, self.start, self.floor, self.owner = storage, start, start, owner

    def rows(self, stop):                               # int -> codes [stop - start, columns]
        return self.storage.rows(stop - self.start)

    def write(self, at, codes):
        """Put codes at row number `at`, in place of whatever is there and beyond."""
        self.storage.write(at - self.start, codes)


class MemoryStorage:
    """An array that doubles when it is full: a row is copied less than once on average, and only its own kind of row.

    The unused half costs nothing: the system gives memory to a page when it is first written.
    """

    def __init__(self, format):
        self.format = format
        self.codes = format.empty(0)

    def rows(self, count):
        return self.codes[:count]

    def write(self, at, codes):
        stop = at + len(codes)
        if stop > len(self.codes):
            larger = self.format.empty(max(FIRST_ROWS, 1 << (stop - 1).bit_length()))
            larger[:at] = self.codes[:at]
            self.codes = larger                         # views of the old one stay what they were
        self.codes[at:stop] = codes


class SavedStorage:
    """Rows that lie in a saved file, read when touched; nothing can be added."""

    def __init__(self, codes):
        self.codes = codes

    def rows(self, count):
        return self.codes[:count]


class FileStorage:
    """A stretch of a scratch file, with space for the longest text the config allows."""

    def __init__(self, scratch, start, format, most):
        self.scratch = scratch
        self.start = start
        self.shape = (most, format.columns)
        self.dtype = format.dtype

    def rows(self, count):                              # read-only view
        return np.ndarray((count, self.shape[1]), self.dtype, self.scratch.map, self.start)

    def write(self, at, codes):
        if at + len(codes) > self.shape[0]:             # the next kind's rows begin there
            raise Refused(f"cache: expected at most {self.shape[0]:,} rows of a kind (max_seq_len), got {at + len(codes):,}.")
        codes = np.ascontiguousarray(codes, self.dtype)
        self.scratch.write(self.start + at * self.shape[1] * self.dtype.itemsize, codes.view(np.uint8))


class ScratchFile:
    """A sparse file of `nbytes`: only what was written takes room on the disk. Written as a file, read as memory.

    Writing through the file and not through the map makes a full disk an error that can be told; through the map it would
    be a signal that kills the process. The file goes when nobody uses it any more, or at `close`; a killed process leaves it.
    """

    def __init__(self, path, nbytes):
        self.path = os.path.abspath(path)
        try:
            self.file = open_new(self.path)                 # closed by _remove
        except FileExistsError:
            raise Refused(f"{path}: expected a new file for the cache, got one that is there; does another cache use it? "
                          "Delete it or name another.") from None
        except (OSError, ValueError) as error:
            raise Refused(f"{path}: cannot be made ({error}); is the folder there, and yours?") from None
        self._remove = weakref.finalize(self, _remove, self.file, self.path)
        try:
            self.file.truncate(nbytes)
            self.map = mmap.mmap(self.file.fileno(), nbytes, access=mmap.ACCESS_READ) if nbytes else b""
        except (OSError, ValueError, OverflowError) as error:
            self.close()
            raise Refused(f"{path}: cannot hold {nbytes:,} bytes, even with holes ({error}); choose another disk, or "
                          "config.replace(max_seq_len=...) for shorter texts.") from None

    def write(self, at, codes):
        view = memoryview(codes.reshape(-1))
        try:
            self.file.seek(at)
            while view:                                             # one call takes at most 2 GiB on Linux
                view = view[self.file.write(view):]
        except OSError as error:
            raise Refused(f"{self.path}: no more room for the cache ({error.strerror}); choose another disk.") from None

    def close(self):
        """Give the file's name and handle back. Copies that read the rows keep them: the disk space goes with the last one."""
        self._remove()


def _remove(file, path):
    file.close()
    with contextlib.suppress(Refused):                              # Windows keeps a mapped file until the map is gone
        remove(path)


def file_storages(path, kinds):                         # {key: (format, most rows)} -> ScratchFile, {key: FileStorage}
    """One scratch file with a stretch for each kind of row."""
    starts = {}
    end = 0
    for key, (format, most) in kinds.items():
        starts[key] = end
        end += -(-format.columns * format.dtype.itemsize * most // PAGE) * PAGE
    scratch = ScratchFile(path, end)
    return scratch, {key: FileStorage(scratch, starts[key], *kinds[key]) for key in kinds}
