"""A disk with room for so many bytes more, for tests of what is written when it fills up."""

import builtins
import errno


class FullDisk:
    """Its `open` is the built-in one, but files opened in one of `modes` (None: in any) share `room` bytes."""

    def __init__(self, room, modes=None):
        self.room, self.modes = room, modes

    def open(self, path, mode="r", *args, **how):
        file = builtins.open(path, mode, *args, **how)  # noqa: SIM115 - as the function it stands for
        return _File(self, file) if self.modes is None or mode in self.modes else file


class _File:
    def __init__(self, disk, file):
        self.disk, self.file = disk, file

    def write(self, raw):
        if len(raw) > self.disk.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.disk.room -= len(raw)
        return self.file.write(raw)

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
