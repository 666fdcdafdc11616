"""A checkpoint in a folder, read as if it were far away. Not here: opening one to compute with it (weights/store.py)."""

import time
from pathlib import Path

from v4mini.shapes import Refused
from v4mini.weights.remote.budget import LIMIT, Listed, ReadBudget

CHUNK = 1 << 20                         # bytes


class Folder:
    """The files of one folder. Same methods as Hub: `files`, `path`, `read`, `stream`, `budget`; it has no revisions."""

    def __init__(self, folder, limit=LIMIT):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Refused(f"{folder}: expected hf://owner/name or a folder, got neither. Check the spelling.")
        self.name = str(folder)
        self.origin = str(folder)
        self.revision = ""
        self.files = {path.name: Listed(path.stat().st_size) for path in sorted(self.folder.iterdir())
                      if path.is_file() and not path.name.startswith(".")}
        self.cache = None
        self.budget = ReadBudget(limit)
        self._whole = set()

    def path(self, name):               # -> Path of a small file
        size = self.listed(name).size
        if name not in self._whole:     # counted once, as a Hub keeps it
            self._whole.add(name)
            self.budget.reserve(f"{self.name}/{name}", size)
            self.budget.add(size, 0)
        return self.folder / name

    def listed(self, name):             # -> Listed
        if name not in self.files:
            raise Refused(f"{self.name}: expected a file {name}, got none. Is it a checkpoint in the released format?")
        return self.files[name]

    def read(self, name, start, stop):  # -> bytes
        return b"".join(self.stream(name, start, stop))

    def stream(self, name, start, stop):        # yields bytes, stop - start in all
        self.listed(name)
        self.budget.reserve(f"{self.name}/{name}", stop - start)
        self.budget.count()
        for chunk, seconds in read_slices(self.folder / name, start, stop):
            self.budget.add(len(chunk), seconds)
            yield chunk


def read_slices(path, start, stop):     # yields (bytes, seconds)
    """A range of a local file, some at a time. Refused if the file ends early."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            while start < stop:
                clock = time.perf_counter()
                chunk = file.read(min(CHUNK, stop - start))
                if not chunk:
                    raise Refused(f"{path}: expected {stop - start:,} bytes more, got the end of the file. Is it complete?")
                start += len(chunk)
                yield chunk, time.perf_counter() - clock
    except OSError as error:
        raise Refused(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error
