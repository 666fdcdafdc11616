"""Where compiled kernels are kept on disk: the first folder that takes them; folders of old versions go after a while.

A folder holds the files of one version (`name`), so two versions never meet. Not here: what is in a file (compiled.py).
"""

import contextlib
import errno
import os
import shutil
import stat
import sys
import tempfile
import time
import uuid
from pathlib import Path

from v4mini.shapes import notify

UNUSED, KEPT = 30 * 86400, 4    # seconds until another version's folder is removed; how many younger ones may stay (20 MB each)
IN_USE = "in-use"               # every process that uses a folder holds a shared lock on this file, where the system has locks
WRITING = ".writing-"           # in the name of a file that is not complete yet
FULL = errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)


def usual_places(chosen, package):                      # NUMBA_CACHE_DIR or "", the package's own folder -> [Path], best first
    """Where to look and to write: the folder that the user chose, else the package's own and then the user's cache."""
    if chosen:
        return [Path(chosen)]
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA", "")
    elif sys.platform == "darwin":
        cache = os.path.join(home, "Library/Caches")
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return [package, Path(cache, "v4mini")] if os.path.isabs(cache) else [package]


def private_place():                                    # -> Path, which may not exist yet
    """This user's own folder among the system's temporary ones."""
    user = os.geteuid() if hasattr(os, "geteuid") else "kernels"
    return Path(tempfile.gettempdir(), f"v4mini-{user}")


class Folders:
    """Folders of one version: found() looks in all, write() goes to the first that takes the file.

    The last resort lies where every user may write. Machine code from there is run, so it must belong to this user alone.
    """

    def __init__(self, places, last_resort, name):
        self.places, self.last_resort, self.name = [*places, last_resort], last_resort, name
        self.untried, self.written, self.fault, self.locks = list(self.places), None, None, {}

    def found(self, file):                              # -> yields Path
        """Every folder's file of that name, best folder first."""
        for place in self.places:
            path = place / self.name / file
            if path.is_file() and (place != self.last_resort or _is_ours(place)):
                self._use(path.parent)
                yield path

    def write(self, file, content):                     # -> bool: is it kept?
        """Write a whole file or none. A folder that refuses is not tried again; what that means is told once, in one line."""
        while self.untried:
            place = self.untried[0]
            folder = place / self.name
            try:
                if place == self.last_resort:
                    _make_ours(place)
                folder.mkdir(parents=True, exist_ok=True)
                _write_whole(folder / file, content)
            except OSError as error:
                self.untried.pop(0)
                if self.fault is None or error.errno in FULL:
                    self.fault = f"{place} cannot be written ({error.strerror or error})", error.errno
                if not self.untried:
                    self._tell("Kernels are compiled anew in every process.")
                continue
            if self.written != folder:
                self.written = folder
                self._use(folder)
                sweep(place, folder)
                if self.fault and (place == self.last_resort or self.fault[1] in FULL):
                    self._tell(f"Compiled kernels are kept in {place} instead.")
            return True
        return False

    def _tell(self, consequence):
        notify(f"kernels: {self.fault[0]}. {consequence} To choose a folder, set NUMBA_CACHE_DIR.")

    def _use(self, folder):                             # the folder is in use until this process ends, and young again
        if folder not in self.locks:
            self.locks[folder] = _hold(folder)
            with contextlib.suppress(OSError):          # not ours: its owner sweeps there
                os.utime(folder)


def set_aside(path):
    """Rename a damaged file, if we may; where we may not, it is passed over every time."""
    with contextlib.suppress(OSError):
        os.replace(path, path.with_suffix(".damaged"))


def sweep(place, current):
    """Remove folders of other versions in `place`, but for those used within a month, the KEPT latest, and those in use now."""
    now = time.time()
    with contextlib.suppress(OSError):                  # another process may sweep too
        for unfinished in current.glob(f"*{WRITING}*"):
            if now - unfinished.stat().st_mtime > 86400:
                unfinished.unlink()
        others = [folder for folder in place.glob("v4mini-*")
                  if folder.is_dir() and folder != current and not folder.is_symlink()]
        ages = sorted((now - folder.stat().st_mtime, folder) for folder in others)
        for rank, (age, folder) in enumerate(ages):
            if (age > UNUSED or rank >= KEPT) and not _is_in_use(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _hold(folder):                                      # -> an open file's number, or None where nothing can be locked
    try:
        import fcntl

        number = os.open(folder / IN_USE, os.O_RDWR | os.O_CREAT)
        fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return number
    except (ImportError, OSError):
        return None


def _is_in_use(folder):                                 # by a process that holds it; where no locks are, age alone decides
    try:
        import fcntl

        number = os.open(folder / IN_USE, os.O_RDWR)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except OSError:
        return True
    finally:
        os.close(number)


def _write_whole(path, content):
    unfinished = path.with_name(f"{path.name}{WRITING}{uuid.uuid4().hex[:16]}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _make_ours(place):
    place.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(place):
        raise PermissionError(errno.EACCES, "another user may write there")


def _is_ours(place):                                    # a folder, not a link, that nobody else can write to
    try:
        found = os.lstat(place)
    except OSError:
        return False
    if not hasattr(os, "geteuid"):                      # Windows: temporary folders are each user's own
        return stat.S_ISDIR(found.st_mode)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
